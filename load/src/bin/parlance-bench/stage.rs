//! A server with its own database, and helpers that several parts of the bench use.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use parlance_load::client::{Account, Client};
use parlance_load::load::{ListenerPlan, Outcome, Pace, Plan, Sender, run};
use parlance_load::server::{Server, Settings};
use tokio::process::Command;

use super::accounts;
use super::database::Database;
use super::options::Options;

/// Time before each measurement, in which caches, connections and query plans become warm.
pub(super) const WARM_UP: Duration = Duration::from_secs(2);

pub(super) struct Stage {
    name: &'static str,
    pub(super) database: Database,
    pub(super) server: Server,
}

/// A temporary directory, which is deleted when this value is dropped.
pub(super) struct Scratch(PathBuf);

/// A conversation with its senders and listeners.
pub(super) struct Room {
    pub(super) conversation: String,
    pub(super) senders: Vec<Account>,
    pub(super) listeners: Vec<Account>,
}

impl Scratch {
    pub(super) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("parlance-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // If this fails, some small files stay in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Stage {
    /// Creates a database and starts a server. `named` contains the settings of the part, which settings of the command
    /// line override.
    pub(super) async fn open(
        options: &Options,
        scratch: &Scratch,
        name: &'static str,
        redis_url: Option<&str>,
        named: &[(&str, String)],
    ) -> Result<Self> {
        let database = Database::create(&options.database_url, name).await?;
        let named = with_options(named, options);
        let directory = scratch.path().join(name);
        let settings = Settings { database_url: database.url(), redis_url, named: &named, directory: &directory };
        let server = Server::start(&settings).await?;
        Ok(Self { name, database, server })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(super) async fn client(&self) -> Result<Client> {
        Client::connect(self.address()).await
    }

    pub(super) async fn accounts(&self, prefix: &str, count: u32) -> Result<Vec<Account>> {
        accounts::make(self.database.url(), self.address(), prefix, count).await.context("making accounts")
    }

    /// Stops the server and prints its log, which may contain the cause of a failed measurement. Returns the number of
    /// log lines.
    pub(super) async fn stop(self) -> Result<(Database, usize)> {
        let complaints = self.server.stop().await?;
        for line in &complaints {
            eprintln!("server ({}): {line}", self.name);
        }
        Ok((self.database, complaints.len()))
    }

    pub(super) async fn close(self) -> Result<usize> {
        let (database, complaints) = self.stop().await?;
        database.remove().await?;
        Ok(complaints)
    }
}

/// Returns the settings of a part, followed by the settings of the command line, which override them.
fn with_options(named: &[(&str, String)], options: &Options) -> Vec<(String, String)> {
    let own = named.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    own.chain(options.settings.iter().cloned()).collect()
}

/// Starts stock async-graphql on the database, with the same settings as `Stage::open`.
pub(super) async fn start_stock(
    options: &Options,
    scratch: &Scratch,
    database: &Database,
    named: &[(&str, String)],
) -> Result<Server> {
    let directory = scratch.path().join("stock");
    start_other(&["serve-stock".to_owned()], database.url(), &with_options(named, options), &directory).await
}

/// Starts a baseline server: this program with `arguments`.
pub(super) async fn start_other(
    arguments: &[String],
    database_url: &str,
    named: &[(String, String)],
    directory: &Path,
) -> Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Server::spawn(command, &Settings { database_url, redis_url: None, named, directory }).await
}

/// Opens a direct conversation for each pair of accounts. The first account of a pair sends, and the second listens.
pub(super) async fn pairs(address: SocketAddr, accounts: &[Account]) -> Result<Vec<Room>> {
    try_join_all(accounts.as_chunks().0.iter().map(async |[sender, listener]: &[Account; 2]| {
        let conversation = Client::connect(address).await?.open_direct(sender, listener).await?;
        anyhow::Ok(Room { conversation, senders: vec![sender.clone()], listeners: vec![listener.clone()] })
    }))
    .await
}

/// Creates a plan with one connection for each sender and each listener of each room.
pub(super) fn plan(server: &Server, rooms: &[Room], pace: Pace, options: &Options) -> Plan {
    let numbered = || (0..).zip(rooms);
    let senders = numbered().flat_map(|(index, room)| room.senders.iter().map(move |account| (index, account)));
    let listeners = numbered().flat_map(|(index, room)| room.listeners.iter().map(move |account| (index, account)));
    Plan {
        nodes: vec![server.address()],
        pids: server.pid().into_iter().collect(),
        rooms: rooms.iter().map(|room| room.conversation.clone()).collect(),
        senders: senders.map(|(index, account)| Sender { turns: vec![(index, account.clone())] }).collect(),
        listeners: listeners
            .map(|(index, account)| ListenerPlan { account: account.clone(), rooms: vec![index], personal: false })
            .collect(),
        pace,
        warm_up: WARM_UP,
        length: Duration::from_secs(options.seconds),
        churn: 0.0,
        persistent: false,
    }
}

pub(super) async fn measure(server: &Server, rooms: &[Room], pace: Pace, options: &Options) -> Result<Outcome> {
    run(plan(server, rooms, pace, options)).await
}
