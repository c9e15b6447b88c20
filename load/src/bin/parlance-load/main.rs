//! `parlance-load` sends messages in conversations of several sizes over the public API, and checks that no message is
//! lost, delivered twice or delivered out of order.

mod options;
mod results;
mod world;

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use parlance_load::load::{Pace, Plan, run};
use parlance_load::process::{raise_file_limit, resident_kib};
use parlance_load::report::{NO_VIOLATIONS, print_violations};
use parlance_load::server::{Server, Settings};
use tokio::time::sleep;

use options::Options;
use results::Results;
use world::World;

/// Pause in which the servers free memory that they needed for registrations.
const SETTLING: Duration = Duration::from_secs(1);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    raise_file_limit();
    match load(&Options::parse()).await {
        Ok(0) => {
            println!("{NO_VIOLATIONS}");
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("parlance-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts servers if the options say so, runs the load, and returns the number of violations.
async fn load(options: &Options) -> Result<usize> {
    let started = Started::start(options).await?;
    let done = drive(options, &started).await;
    for server in started.servers {
        for line in server.stop().await? {
            eprintln!("server: {line}");
        }
    }
    // If this fails, some small files stay in the system's temporary directory.
    let _ = std::fs::remove_dir_all(started.directory);
    done
}

async fn drive(options: &Options, started: &Started) -> Result<usize> {
    let nodes = if started.servers.is_empty() {
        options.url.iter().map(|url| address(url)).collect::<Result<Vec<_>>>()?
    } else {
        started.servers.iter().map(Server::address).collect()
    };
    let pids: Vec<u32> = options.pid.iter().copied().chain(started.servers.iter().filter_map(Server::pid)).collect();
    let world = World::make(&nodes, options).await?;
    println!("{}", world.description());
    let plan = Plan {
        nodes,
        pids: pids.clone(),
        rooms: world.rooms.iter().map(|room| room.conversation.clone()).collect(),
        senders: world.senders(options.senders),
        listeners: world.listeners(options.listeners),
        pace: options.rate.map_or(Pace::Acknowledged, Pace::Rate),
        warm_up: Duration::from_secs(options.warm_up),
        length: Duration::from_secs(options.seconds),
        churn: options.churn / 100.0,
        persistent: options.persistent,
    };
    sleep(SETTLING).await;
    let resident_before = resident_kib(&pids);
    let outcome = run(plan).await?;
    let results = Results::new(options, &world, resident_before, outcome);
    println!("{}", results.table());
    if let Some(file) = &options.json {
        let json = serde_json::to_vec_pretty(&results)?;
        std::fs::write(file, json).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if let Some(file) = &options.svg {
        std::fs::write(file, results.svg()).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let violations = results.outcome.violations();
    print_violations("load", &violations);
    Ok(violations.count)
}

/// The servers that this program has started, and the parent of their working directories.
struct Started {
    servers: Vec<Server>,
    directory: PathBuf,
}

impl Started {
    async fn start(options: &Options) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!("parlance-load-{}", std::process::id()));
        let mut servers = Vec::new();
        if let (true, Some(database_url)) = (options.start, &options.database_url) {
            std::fs::create_dir(&directory).with_context(|| format!("{} cannot be made", directory.display()))?;
            ensure!(options.nodes == 1 || options.redis_url.is_some(), "several nodes need a Redis: --redis-url");
            for node in 0..options.nodes {
                let directory = directory.join(node.to_string());
                let redis_url = options.redis_url.as_deref();
                let settings = Settings { database_url, redis_url, named: &options.settings, directory: &directory };
                servers.push(Server::start(&settings).await?);
            }
        }
        Ok(Self { servers, directory })
    }
}

/// Resolves the address of a URL such as `http://host:port`. A path after the port is ignored.
fn address(url: &str) -> Result<SocketAddr> {
    let authority = url.strip_prefix("http://").with_context(|| format!("{url} does not begin with http://"))?;
    let host = authority.split_once('/').map_or(authority, |(host, _)| host);
    let mut addresses = host.to_socket_addrs().with_context(|| format!("{host} is not HOST:PORT"))?;
    addresses.next().with_context(|| format!("{host} has no address"))
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn urls_are_resolved_to_addresses() {
        for url in ["http://127.0.0.1:8080", "http://127.0.0.1:8080/graphql"] {
            assert_eq!(address(url).unwrap(), ([127, 0, 0, 1], 8080).into());
        }
        for url in ["127.0.0.1:8080", "https://127.0.0.1:8080", "http://127.0.0.1"] {
            assert!(address(url).is_err(), "{url}");
        }
    }
}
