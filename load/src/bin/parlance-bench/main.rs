//! `parlance-bench`: messages a second and their latency, beside what the same Postgres does alone.
//!
//! Everything runs on this one machine and shares its processors: the server, Postgres, Redis and the clients, which
//! are this process. It also checks what it measures: a message that was acknowledged must reach every listener once
//! and in its place, or the exit code is 1.

mod check;
mod client;
mod database;
mod listener;
mod load;
mod pgbench;
mod refusals;
mod report;
mod scenarios;
mod server;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Parser;

use database::Database;
use pgbench::Pgbench;
use refusals::Refusal;
use report::{Block, Report};
use server::Server;

/// Measures a Parlance server under load, beside pgbench on the same Postgres.
///
/// `scripts/services run --durable` brings the Postgres and the Redis.
#[derive(Debug, Parser)]
#[command(name = "parlance-bench", version)]
struct Options {
    /// Seconds that each scenario is measured, after its warm-up
    #[arg(long, default_value = "5", value_name = "1..600", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Senders in the scenarios that have many, and clients of pgbench
    #[arg(long, default_value = "64", value_name = "2..400", value_parser = clap::value_parser!(u16).range(2..=400))]
    senders: u16,
    /// Write the results to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A setting of the server other than its default; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Postgres, where the user may create databases
    #[arg(long, env = "TEST_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    database_url: String,
    /// Redis; without it only a server without Redis is measured
    #[arg(long, env = "TEST_REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
}

fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("allowed is NAME=VALUE, such as DATABASE_POOL_SIZE=32")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// The one clock of all latencies: the time since the program began.
#[derive(Clone, Copy, Debug)]
struct Stopwatch(Instant);

impl Stopwatch {
    fn now(self) -> Duration {
        self.0.elapsed()
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match bench(&Options::parse()).await {
        Ok(0) => {
            println!("{}", report::ALL_WELL);
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("parlance-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Returns how often the server did what it must not.
async fn bench(options: &Options) -> Result<usize> {
    // Before the minute that the rest takes.
    let pgbench = Pgbench::find()?;
    let scratch = Scratch::new()?;
    let watch = Stopwatch(Instant::now());
    let mut report = Report::new(options, database::describe(&options.database_url).await?);
    println!("{}", report.heading());
    report.refusals = refuse(options, scratch.path()).await?;
    println!("{}", report.refusals_table());
    for redis in std::iter::once(None).chain(options.redis_url.as_deref().map(Some)) {
        let block = measure(options, redis, &pgbench, scratch.path(), watch).await?;
        println!("{}", block.table());
        report.blocks.push(block);
    }
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report)?)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(report.print_violations())
}

/// Hostile requests against a server that does nothing else.
async fn refuse(options: &Options, scratch: &Path) -> Result<Vec<Refusal>> {
    let database = Database::create(&options.database_url, "refusals").await?;
    let server = Server::start(database.url(), None, &options.settings, &scratch.join("refusals")).await?;
    let measured = refusals::measure(&server).await;
    for line in server.stop().await? {
        eprintln!("server (refusals): {line}");
    }
    database.remove().await?;
    measured
}

/// All scenarios against one server, and then pgbench on the database that it leaves.
async fn measure(
    options: &Options,
    redis: Option<&str>,
    pgbench: &Pgbench,
    scratch: &Path,
    watch: Stopwatch,
) -> Result<Block> {
    let name = if redis.is_some() { "redis" } else { "memory" };
    let database = Database::create(&options.database_url, name).await?;
    let server = Server::start(database.url(), redis, &options.settings, &scratch.join(name)).await?;
    let measured = scenarios::run_all(server.address(), options, watch).await;
    // First, for it may tell why the measurement failed.
    let complaints = server.stop().await?;
    for line in &complaints {
        eprintln!("server ({name}): {line}");
    }
    let rows = measured?;
    let pgbench = pgbench.run(database.url(), options, scratch).await?;
    database.remove().await?;
    Ok(Block { redis: redis.is_some(), rows, pgbench, complaints })
}

/// A directory that goes away.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("parlance-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays behind is small, and in a directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
