//! What is to be measured, and how.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// Measures a Parlance server under load, beside what the same machine does without it.
///
/// `scripts/services run --durable` brings the Postgres and the Redis.
#[derive(Debug, Parser)]
#[command(name = "parlance-bench", version)]
pub(super) struct Options {
    /// What to measure; everything, unless some are named
    #[arg(value_enum, value_name = "PART")]
    pub(super) parts: Vec<Part>,
    /// Seconds that each scenario is measured, after its warm-up
    #[arg(long, default_value = "5", value_name = "1..600", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(super) seconds: u64,
    /// Senders in the scenarios that have many, and clients of pgbench
    #[arg(long, default_value = "64", value_name = "2..400", value_parser = clap::value_parser!(u16).range(2..=400))]
    pub(super) senders: u16,
    /// fanout: listeners of one conversation
    #[arg(long, default_value = "1000,5000", value_name = "COUNT,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) listeners: Vec<u32>,
    /// fanout: messages under way at once
    #[arg(long, default_value = "1,4", value_name = "COUNT,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) in_flight: Vec<u16>,
    /// idle: sockets with an inbox where nothing happens
    #[arg(long, default_value = "10000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) idle_sockets: u32,
    /// stalled: sockets with an inbox that nobody reads
    #[arg(long, default_value = "1000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) stalled_sockets: u32,
    /// growth: conversations to compare with 1,000; the goal is stated for 100,000
    #[arg(long, default_value = "20000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1000..=1_000_000))]
    pub(super) growth_conversations: u32,
    /// growth: stored messages to compare with none; the goal is stated for 10,000,000
    #[arg(long, default_value = "1000000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    pub(super) growth_messages: u32,
    /// Write the results to this file too
    #[arg(long, value_name = "FILE", overrides_with = "json")]
    pub(super) json: Option<PathBuf>,
    /// Draw the results into this file
    #[arg(long, value_name = "FILE", overrides_with = "svg")]
    pub(super) svg: Option<PathBuf>,
    /// A setting of the server other than its default; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parlance_load::server::setting)]
    pub(super) settings: Vec<(String, String)>,
    /// Postgres, where the user may create databases
    #[arg(long, env = "TEST_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(super) database_url: String,
    /// Redis; without it only a server without Redis is measured
    #[arg(long, env = "TEST_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub(super) redis_url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Messages a second, beside bare inserts into the same Postgres
    Sends,
    /// Deliveries a second, beside a bare WebSocket server and beside stock async-graphql
    Fanout,
    /// From send to receipt, at a tenth and at half of the greatest rate
    Latency,
    /// What many idle sockets take, and whether others notice them
    Idle,
    /// What clients that do not read take, and whether others hear on
    Stalled,
    /// Messages a second, with many conversations and with many stored messages
    Growth,
    /// What hostile requests cost
    Refusals,
}

impl Options {
    pub(super) fn wants(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}
