//! Who talks where, and for how long.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;
use serde::Serialize;

/// Puts Parlance servers under load, and checks that every listener gets every message once and in order.
///
/// It registers users, lets them open conversations, and each of them listens to an inbox while some of them send.
/// The exit code is 1 where a message was lost, doubled or out of order, or was not acknowledged.
#[derive(Debug, Parser)]
#[command(name = "parlance-load", version)]
pub(super) struct Options {
    /// Where a server listens, as http://host:port; given several times, users are spread over all of them
    #[arg(long, default_value = "http://127.0.0.1:8080", value_name = "URL")]
    pub(super) url: Vec<String>,
    /// Process id of such a server, where it is on this machine: its processor time and memory are told
    #[arg(long, value_name = "PID")]
    pub(super) pid: Vec<u32>,
    /// Start the server beside this program, in place of --url
    #[arg(long, conflicts_with_all = ["url", "pid"], requires = "database_url")]
    pub(super) start: bool,
    /// With --start: its Postgres, an empty database
    #[arg(long, env = "TEST_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(super) database_url: Option<String>,
    /// With --start: servers to start
    #[arg(long, default_value = "1", value_name = "1..16", requires = "start", value_parser = clap::value_parser!(u8).range(1..=16))]
    pub(super) nodes: u8,
    /// With --start: its Redis, which several need
    #[arg(long, env = "TEST_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub(super) redis_url: Option<String>,
    /// With --start: a setting other than its default; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "start", value_parser = parlance_load::server::setting)]
    pub(super) settings: Vec<(String, String)>,
    /// Conversations, as their number of participants and how many there are of such a size; those of 2 are direct
    #[arg(long, default_value = "2x100,10x20,100x5,1000x1", value_name = "10x20,…", value_delimiter = ',')]
    pub(super) conversations: Vec<Size>,
    /// Users; as many as the largest conversation has, unless more are asked for
    #[arg(long, value_name = "COUNT")]
    pub(super) users: Option<usize>,
    /// Users who listen; all of them, unless fewer are asked for
    #[arg(long, value_name = "COUNT")]
    pub(super) listeners: Option<usize>,
    /// Connections that send, each in its share of the conversations by turns
    #[arg(long, default_value = "16", value_name = "1..1000", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(super) senders: u16,
    /// Messages a second of all senders together, whatever becomes of them; without it each sender waits for its
    /// acknowledgement and sends again
    #[arg(long, value_name = "PER_SECOND", value_parser = positive)]
    pub(super) rate: Option<f64>,
    /// Seconds that are measured
    #[arg(long, default_value = "10", value_name = "1..86400", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,
    /// Seconds of the same load before
    #[arg(long, default_value = "2", value_name = "0..600", value_parser = clap::value_parser!(u64).range(0..=600))]
    pub(super) warm_up: u64,
    /// Percent of the listeners that break off each second and come back with their cursor
    #[arg(long, default_value = "0", value_name = "PERCENT", value_parser = percent)]
    pub(super) churn: f64,
    /// Send again what failed, with the same clientId, and let listeners come back that were cut off: for servers
    /// that are meant to fail meanwhile
    #[arg(long)]
    pub(super) persistent: bool,
    /// Write the results to this file too
    #[arg(long, value_name = "FILE", overrides_with = "json")]
    pub(super) json: Option<PathBuf>,
    /// Draw the run over time into this file
    #[arg(long, value_name = "FILE", overrides_with = "svg")]
    pub(super) svg: Option<PathBuf>,
}

/// So many conversations of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Size {
    pub(super) size: usize,
    pub(super) count: usize,
}

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = "allowed are a size of 2 or more and how many, such as 10x20";
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
    fn sizes_are_read() {
        assert_eq!("10x20".parse(), Ok(Size { size: 10, count: 20 }));
        for text in ["", "10", "1x5", "x5", "10x", "tenx5"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
