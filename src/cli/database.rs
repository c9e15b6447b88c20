//! The database that a command works on.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use parlance::config::postgres_url;
use parlance::embedded::postgres::{Error, Holder, Postgres};
use parlance::store::check_sessions;

#[derive(Debug, clap::Args)]
pub(super) struct Database {
    /// Postgres, as postgres://user:password@host:port/name. If not set, the private Postgres of a server is used
    #[arg(long, env, hide_env_values = true, value_name = "URL", value_parser = postgres_url)]
    database_url: Option<String>,
    /// Directory of the private Postgres
    #[arg(long, env, default_value = ".parlance", value_name = "DIR")]
    data_dir: PathBuf,
}

impl Database {
    /// Calls `work` with the URL of the database. If DATABASE_URL is not set, uses the private Postgres, and starts it
    /// unless a server already runs it. Never creates a private Postgres, because commands work on an existing
    /// database. Fails if DATABASE_URL is that of a connection pooler that shares the sessions of Postgres.
    pub(super) async fn with_url<T>(&self, work: impl AsyncFnOnce(&str) -> Result<T>) -> Result<T> {
        if let Some(url) = &self.database_url {
            check_sessions(url).await.context("DATABASE_URL")?;
            return work(url).await;
        }
        if !Postgres::exists(&self.data_dir)? {
            bail!("DATABASE_URL must be set, or DATA_DIR be the directory of a server with a private Postgres");
        }
        match Postgres::start(&self.data_dir, Holder::Command).await {
            Ok(postgres) => {
                let done = work(postgres.url()).await;
                let stopped = postgres.stop().await.context("stopping the private Postgres");
                done.and_then(|done| stopped.map(|()| done))
            }
            Err(locked @ Error::Locked { by: Holder::Server, .. }) => {
                match Postgres::url_of_running(&self.data_dir).await? {
                    Some(url) => work(&url).await,
                    None => Err(locked.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }
}
