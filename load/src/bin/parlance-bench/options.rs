//! The command line of the bench.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

/// Measures a Parlance server under load, and compares it with baselines on the same machine.
///
/// `scripts/services run --durable` starts the Postgres, the Redis and the S3 that the bench needs.
#[derive(Debug, Parser)]
#[command(name = "parlance-bench", version)]
pub(super) struct Options {
    /// Parts to measure; by default all parts
    #[arg(value_enum, value_name = "PART")]
    pub(super) parts: Vec<Part>,
    /// Time to measure each scenario after its warm-up, in seconds
    #[arg(long, default_value = "5", value_name = "1..600", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(super) seconds: u64,
    /// Number of senders in the scenarios with many senders, and number of clients of pgbench
    #[arg(long, default_value = "64", value_name = "2..400", value_parser = clap::value_parser!(u16).range(2..=400))]
    pub(super) senders: u16,
    /// fanout: numbers of listeners of one conversation
    #[arg(long, default_value = "1000,5000", value_name = "COUNT,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) listeners: Vec<u32>,
    /// personal: numbers of listeners of one conversation, with fields that depend on the viewer
    #[arg(long, default_value = "1000,2000,5000", value_name = "COUNT,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) personal_listeners: Vec<u32>,
    /// fanout: numbers of messages in flight
    #[arg(long, default_value = "1,4", value_name = "COUNT,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(super) in_flight: Vec<u16>,
    /// idle: number of sockets whose inbox gets no events
    #[arg(long, default_value = "10000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) idle_sockets: u32,
    /// stalled: number of sockets whose client does not read its inbox
    #[arg(long, default_value = "1000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) stalled_sockets: u32,
    /// growth: number of conversations, which is compared with 1,000; the goal is stated for 100,000
    #[arg(long, default_value = "20000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1000..=1_000_000))]
    pub(super) growth_conversations: u32,
    /// growth: number of stored messages, which is compared with an empty database; the goal is stated for 10,000,000
    #[arg(long, default_value = "1000000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1000..=100_000_000))]
    pub(super) growth_messages: u32,
    /// files: number of clients that upload and download at the same time
    #[arg(long, default_value = "20", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) file_clients: u32,
    /// files: size of each file in MiB
    #[arg(long, default_value = "100", value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(super) file_mib: u64,
    /// logins: number of requests of each kind for names with an account, and for names without one
    #[arg(long, default_value = "200", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(10..=5000))]
    pub(super) login_pairs: u32,
    /// logins: number of wrong passwords for one account. RATE_REQUESTS allows an address 12,000 at once
    #[arg(long, default_value = "10000", value_name = "COUNT", value_parser = clap::value_parser!(u32).range(100..=10_000))]
    pub(super) login_attempts: u32,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE", overrides_with = "json")]
    pub(super) json: Option<PathBuf>,
    /// Draw the results to this file as SVG
    #[arg(long, value_name = "FILE", overrides_with = "svg")]
    pub(super) svg: Option<PathBuf>,
    /// A setting of the server that differs from its default; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parlance_load::server::setting)]
    pub(super) settings: Vec<(String, String)>,
    /// URL of Postgres, with a user who may create databases
    #[arg(long, env = "TEST_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub(super) database_url: String,
    /// URL of Redis; if not set, the bench measures only a server without Redis
    #[arg(long, env = "TEST_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub(super) redis_url: Option<String>,
    /// files: URL of a separate S3
    #[arg(long, env = "TEST_S3_ENDPOINT", value_name = "URL")]
    s3_endpoint: Option<String>,
    #[arg(long, env = "TEST_S3_ACCESS_KEY_ID", value_name = "ID")]
    s3_access_key_id: Option<String>,
    #[arg(long, env = "TEST_S3_SECRET_ACCESS_KEY", hide_env_values = true, value_name = "SECRET")]
    s3_secret_access_key: Option<String>,
}

/// The S3 of the part `files`.
pub(super) struct S3 {
    pub(super) endpoint: String,
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
    /// Messages per second, compared with plain inserts into the same Postgres
    Sends,
    /// Deliveries per second, compared with a bare WebSocket server and with stock async-graphql
    Fanout,
    /// Deliveries per second with fields that depend on the viewer, compared with stock async-graphql
    Personal,
    /// Time from send to receipt at a tenth and at half of the maximum rate
    Latency,
    /// Memory for many idle sockets, and their effect on the latency of other clients
    Idle,
    /// Memory for clients that do not read, and their effect on other clients
    Stalled,
    /// Messages per second with many conversations and with many stored messages
    Growth,
    /// Time and memory that the server needs to refuse hostile requests
    Refusals,
    /// The server's memory while clients upload and download large files
    Files,
    /// Whether response times reveal accounts, and attacks with wrong passwords
    Logins,
}

impl Options {
    pub(super) fn includes(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }

    pub(super) fn s3(&self) -> Result<S3> {
        let given = |value: &Option<String>, name: &'static str| value.clone().context(name);
        Ok(S3 {
            endpoint: given(&self.s3_endpoint, "TEST_S3_ENDPOINT is missing")?,
            access_key_id: given(&self.s3_access_key_id, "TEST_S3_ACCESS_KEY_ID is missing")?,
            secret_access_key: given(&self.s3_secret_access_key, "TEST_S3_SECRET_ACCESS_KEY is missing")?,
        })
    }
}
