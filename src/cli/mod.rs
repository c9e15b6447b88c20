//! The commands of the program.

mod account;
mod check_documents;
mod database;
mod export;
mod health;
mod invite;
mod open_files;
mod push;
mod reindex;
mod seed;
mod serve;
mod signals;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use database::Database;
use parlance::config::{Config, postgres_url};
use parlance::domain::{App, OpenError};
use parlance::random::Random;

/// A chat backend: GraphQL, with subscriptions that never lose an event.
///
/// Without any configuration it starts with a private Postgres and keeps live state in memory.
#[derive(Debug, Parser)]
#[command(name = "parlance", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(Box<Config>),
    /// Bring the database's schema up to date
    Migrate(Migrate),
    /// After restoring a backup: make every client with a cursor fetch its state again
    ResetCursors(Database),
    /// Rebuild the search index, while servers run or not
    Reindex(reindex::Reindex),
    /// Write a user's own data as a JSON archive
    Export(export::Export),
    /// Fill a database with realistic users, groups and history, for demos and load tests
    Seed(seed::Seed),
    /// Create, list and revoke the codes that users need to register with REGISTRATION=invite
    Invite(invite::Invite),
    /// Help users who can no longer sign in
    Account(account::Account),
    /// Check push notifications
    Push(push::Push),
    /// Print the GraphQL schema
    Schema,
    /// Check GraphQL documents and variables as the server does; reads one JSON request from each line of the standard input
    CheckDocuments,
    /// Check whether a running server is ready; the exit code is 0 if the server is ready
    Health(health::Health),
}

/// Arguments of `parlance migrate`. The URL is required, because the server itself migrates a private Postgres at each
/// start.
#[derive(Debug, clap::Args)]
struct Migrate {
    /// Postgres, as postgres://user:password@host:port/name
    #[arg(long, env, hide_env_values = true, value_name = "URL", value_parser = postgres_url)]
    database_url: String,
}

impl Cli {
    /// Checks the settings that clap cannot check, because they depend on each other or on a file.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        match &self.command {
            Command::Serve(config) => App::check(config),
            _ => Ok(()),
        }
    }

    pub(crate) fn run(self) -> Result<()> {
        match self.command {
            Command::Schema => {
                print!("{}", parlance::graphql::sdl());
                Ok(())
            }
            Command::CheckDocuments => check_documents::run(),
            Command::Migrate(command) => runtime()?.block_on(migrate(&command.database_url)),
            Command::ResetCursors(database) => {
                let reset = async |url: &str| Ok(parlance::log::reset_cursors(url, &Random::system()).await?);
                runtime()?.block_on(database.with_url(reset))?;
                println!("All earlier cursors are invalid now. Restart the nodes.");
                Ok(())
            }
            Command::Reindex(reindex) => runtime()?.block_on(reindex.run()),
            Command::Export(export) => runtime()?.block_on(export.run()),
            Command::Invite(invite) => runtime()?.block_on(invite.run()),
            Command::Account(account) => runtime()?.block_on(account.run()),
            Command::Push(push) => runtime()?.block_on(push.run()),
            Command::Seed(seed) => runtime()?.block_on(seed.run()),
            Command::Health(health) => health.check(),
            Command::Serve(config) => serve::run(*config),
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")
}

async fn migrate(url: &str) -> Result<()> {
    let done = parlance::store::migrate(url).await.context("DATABASE_URL")?;
    match done.as_slice() {
        [] => println!("The schema is up to date."),
        names => names.iter().for_each(|name| println!("Ran migration {name}.")),
    }
    Ok(())
}

/// Makes a command ignore empty environment variables, because compose files and shells often set variables to empty.
pub(crate) fn without_empty_env(command: clap::Command) -> clap::Command {
    let unset = |arg: clap::Arg| match arg.get_env() {
        Some(name) if std::env::var_os(name).is_some_and(|value| value.is_empty()) => arg.env(None),
        _ => arg,
    };
    command.mut_args(unset).mut_subcommands(without_empty_env)
}

/// Reads settings from the environment, for a command that has no flags for them. Ignores empty variables.
fn from_environment<S: Parser>() -> Result<S> {
    let matches = without_empty_env(S::command()).try_get_matches_from(["parlance"])?;
    Ok(S::from_arg_matches(&matches)?)
}
