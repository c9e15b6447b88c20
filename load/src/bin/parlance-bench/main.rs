//! `parlance-bench` measures a Parlance server, and compares it with baselines on the same machine.
//!
//! The server, Postgres, Redis and the clients share the machine's processors. The clients are tasks of this process.
//! The bench also checks the server: if an acknowledged message does not reach every listener once and in order, the
//! exit code is 1.

mod accounts;
mod addresses;
mod bare;
mod bystanders;
mod database;
mod enumeration;
mod fanout;
mod files;
mod growth;
mod guesses;
mod idle;
mod latency;
mod logins;
mod mail_server;
mod options;
mod personal;
mod pgbench;
mod refusals;
mod report;
mod rooms;
mod sends;
mod stage;
mod stalled;
mod stock;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use parlance_load::process::raise_file_limit;
use parlance_load::report::NO_VIOLATIONS;

use options::{Options, Part};
use pgbench::Pgbench;
use report::Report;
use stage::{Scratch, Stage};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    raise_file_limit();
    let mut arguments = std::env::args_os().skip(1);
    // A baseline server is this program, started with `serve-bare` or `serve-stock`.
    let done = match arguments.next().as_deref().and_then(|first| first.to_str()) {
        Some("serve-bare") => bare::serve(bare::Options::parse_from(std::env::args_os().skip(1))).await.map(|()| 0),
        Some("serve-stock") => stock::serve(stock::Options::parse_from(std::env::args_os().skip(1))).await.map(|()| 0),
        _ => bench(&Options::parse()).await.inspect(|&violations| {
            if violations == 0 {
                println!("{NO_VIOLATIONS}");
            }
        }),
    };
    match done {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("parlance-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the parts and returns the number of violations.
async fn bench(options: &Options) -> Result<usize> {
    // pgbench is found first, so that a missing pgbench is an error at once and not after minutes.
    let pgbench = if options.includes(Part::Sends) { Some(Pgbench::find()?) } else { None };
    let scratch = Scratch::new()?;
    let mut report = Report::new(options, database::describe(&options.database_url).await?);
    println!("{}", report.heading());
    if options.includes(Part::Refusals) {
        report.refusals = refuse(options, &scratch).await.context("refusals")?;
        println!("{}", report.refusals_table());
    }
    if let Some(pgbench) = &pgbench {
        for redis in std::iter::once(None).chain(options.redis_url.as_deref().map(Some)) {
            let sends = sends::run(options, &scratch, redis, pgbench).await.context("sends")?;
            println!("{}", sends.table());
            report.sends.push(sends);
        }
    }
    if options.includes(Part::Fanout) {
        let fanout = fanout::run(options, &scratch).await.context("fanout")?;
        println!("{}", fanout.table());
        report.fanout = Some(fanout);
    }
    if options.includes(Part::Personal) {
        let personal = personal::run(options, &scratch).await.context("personal")?;
        println!("{}", personal.table());
        report.personal = Some(personal);
    }
    if options.includes(Part::Latency) {
        let latency = latency::run(options, &scratch).await.context("latency")?;
        println!("{}", latency.table());
        report.latency = Some(latency);
    }
    if options.includes(Part::Idle) {
        let idle = idle::run(options, &scratch).await.context("idle")?;
        println!("{}", idle.table());
        report.idle = Some(idle);
    }
    if options.includes(Part::Stalled) {
        let stalled = stalled::run(options, &scratch).await.context("stalled")?;
        println!("{}", stalled.table());
        report.stalled = Some(stalled);
    }
    if options.includes(Part::Growth) {
        let growth = growth::run(options, &scratch).await.context("growth")?;
        println!("{}", growth.table());
        report.growth = Some(growth);
    }
    if options.includes(Part::Files) {
        let s3 = options.s3()?;
        let files = files::run(options, &s3, &scratch).await.context("files")?;
        println!("{}", files.table());
        report.files = Some(files);
    }
    if options.includes(Part::Logins) {
        let logins = logins::run(options, &scratch).await.context("logins")?;
        println!("{}", logins.table());
        report.logins = Some(logins);
    }
    println!("{}", report.goals_table());
    if let Some(file) = &options.json {
        write(file, &serde_json::to_vec_pretty(&report)?)?;
    }
    if let Some(file) = &options.svg {
        write(file, report.svg().as_bytes())?;
    }
    Ok(report.print_violations())
}

/// Sends hostile requests to a server without other load.
async fn refuse(options: &Options, scratch: &Scratch) -> Result<Vec<refusals::Refusal>> {
    let stage = Stage::open(options, scratch, "refusals", None, &[]).await?;
    let measured = refusals::measure(&stage.server).await;
    stage.close().await?;
    measured
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(file, content).with_context(|| format!("{} cannot be written", file.display()))
}
