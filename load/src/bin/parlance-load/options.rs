//! The command line of the load program.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use serde::Serialize;

/// Puts Parlance servers under load, and checks that every listener gets every message once and in order.
///
/// The program registers users and opens conversations. Then each user listens to an inbox while some users send.
/// The exit code is 1 if a message is lost, delivered twice, delivered out of order or not acknowledged.
#[derive(Debug, Parser)]
#[command(name = "parlance-load", version)]
pub(super) struct Options {
    /// Address of a server, as http://host:port; if it is given several times, users are spread over all servers
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(super) url: Vec<String>,
    /// Process id of a server on this machine, whose processor time and memory are reported
    #[arg(long, value_name = "PID")]
    pub(super) pid: Vec<u32>,
    /// Start the server program in the directory of this program, instead of using the servers at --url
    #[arg(long, conflicts_with_all = ["url", "pid"], requires = "database_url")]
    pub(super) start: bool,
    /// With --start: URL of a Postgres with an empty database
    #[arg(long, env = "TEST_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(super) database_url: Option<String>,
    /// With --start: number of servers
    #[arg(long, default_value = "1", value_name = "1..16", requires = "start", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(super) nodes: u8,
    /// With --start: URL of Redis, which several servers need
    #[arg(long, env = "TEST_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub(super) redis_url: Option<String>,
    /// With --start: a setting of the servers that differs from its default; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "start", value_parser = parlance_load::server::setting)]
    pub(super) settings: Vec<(String, String)>,
    /// Conversations, as number of participants x number of conversations; a conversation of 2 participants is direct
    #[arg(long, default_value = "2x100,10x20,100x5,1000x1", value_name = "10x20,…", value_delimiter = ',')]
    pub(super) conversations: Vec<Size>,
    /// Number of users; by default and at least as many as the largest conversation has participants
    #[arg(long, value_name = "COUNT")]
    pub(super) users: Option<usize>,
    /// Number of users who listen; by default all users
    #[arg(long, value_name = "COUNT")]
    pub(super) listeners: Option<usize>,
    /// Number of connections that send; each connection sends to its share of the conversations in turn
    #[arg(long, default_value = "16", value_name = "1..1000", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) senders: u16,
    /// Messages per second of all senders together; by default each sender sends its next message when its previous
    /// message is acknowledged
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    pub(super) rate: Option<f64>,
    /// Time to measure, in seconds
    #[arg(long, default_value = "10", value_name = "1..86400", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,
    /// Time of the same load before the measurement, in seconds
    #[arg(long, default_value = "2", value_name = "0..600", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(super) warm_up: u64,
    /// Percent of the listeners that reconnect each second and resume from their cursor
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = percent)]
    pub(super) churn: f64,
    /// Retry failed requests with the same clientId, and reconnect listeners that were disconnected: for tests in which
    /// servers fail
    #[arg(long)]
    pub(super) persistent: bool,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE", overrides_with = "json")]
    pub(super) json: Option<PathBuf>,
    /// Draw the results over time to this file as SVG
    #[arg(long, value_name = "FILE", overrides_with = "svg")]
    pub(super) svg: Option<PathBuf>,
}

/// A number of conversations of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Size {
    pub(super) size: usize,
    pub(super) count: usize,
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = "allowed is a size of 2 or more, an x and a number of conversations, such as 10x20";
        let (size, count) = text.split_once('x').ok_or(allowed)?;
        let (size, count) = (size.parse().map_err(|_| allowed)?, count.parse().map_err(|_| allowed)?);
        if size < 2 { Err(allowed) } else { Ok(Self { size, count }) }
    }
}

fn positive(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|rate| *rate > 0.0 && f64::is_finite(*rate)).ok_or("allowed are numbers above 0")
}

fn percent(text: &str) -> Result<f64, &'static str> {
    text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).ok_or("allowed are numbers from 0 to 100")
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn sizes_are_parsed() {
        assert_eq!("10x20".parse(), Ok(Size { size: 10, count: 20 }));
        for text in ["", "10", "1x5", "x5", "10x", "tenx5"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
