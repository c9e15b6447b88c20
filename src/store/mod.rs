//! Rows of Postgres and the queries over them, a file for each noun.

pub mod calls;
pub mod conversations;
pub mod export;
pub mod files;
pub mod locks;
pub mod messaging;
mod migrations;
pub mod people;
mod prepared;
pub mod schema;
pub mod seed;
mod text_enum;

use std::time::Duration;

pub use diesel_async::AsyncPgConnection as Connection;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod, bb8,
};
use diesel_async::{AsyncConnection as _, RunQueryDsl, SimpleAsyncConnection as _};
use futures_util::FutureExt as _;
use futures_util::future::ready;

pub use migrations::{migrate, pending_migrations, revert_all};
pub(crate) use prepared::Prepared;
pub(crate) use text_enum::text_enum;

use crate::config::Postgres;
use crate::error::{Error, Result};

/// How long a request waits for a free connection before UNAVAILABLE is answered.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

pub type PooledConnection<'a> = bb8::PooledConnection<'a, Connection>;

/// The pool of connections to Postgres.
#[derive(Clone)]
pub struct Database {
    pool: bb8::Pool<Connection>,
}

impl Database {
    /// Fails where no connection can be had at all: a server that cannot reach its database must not start.
    pub async fn connect(url: &str, settings: &Postgres) -> Result<Self> {
        let manager = AsyncDieselConnectionManager::<Connection>::new_with_config(url, manager_config(settings));
        let pool = bb8::Pool::builder()
            .max_size(settings.database_pool_size)
            .connection_timeout(CONNECTION_WAIT)
            .test_on_check_out(true)
            // The one that was used last has its statements and their tables at hand.
            .queue_strategy(::bb8::QueueStrategy::Lifo)
            .build(manager)
            .await
            .map_err(|error| Error::Connection(error.to_string()))?;
        let database = Self { pool };
        database.ping().await?;
        Ok(database)
    }

    /// Asks Postgres for an answer.
    pub async fn ping(&self) -> Result<()> {
        diesel::sql_query("SELECT 1").execute(&mut *self.connection().await?).await?;
        Ok(())
    }

    pub async fn connection(&self) -> Result<PooledConnection<'_>> {
        self.pool.get().await.map_err(|error| Error::Connection(error.to_string()))
    }
}

fn manager_config(settings: &Postgres) -> ManagerConfig<Connection> {
    // What Postgres itself ends. One transaction holds up all others at the log's head, so that a node that
    // stops in the middle of one must not keep it. And no statement is worth compiling, which takes longer than any of
    // them runs.
    let limits = format!(
        "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; SET jit = off;",
        settings.database_statement_timeout.as_millis(),
        settings.database_idle_timeout.as_millis(),
    );
    let mut config = ManagerConfig::default();
    // Without a round trip: a connection that Postgres has closed knows it.
    config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|connection: &mut Connection| {
        let broken = PoolableConnection::is_broken(connection);
        ready(if broken { Err(diesel::result::Error::BrokenTransactionManager) } else { Ok(()) }).boxed()
    }));
    config.custom_setup = Box::new(move |url| {
        let limits = limits.clone();
        async move {
            let mut connection = Connection::establish(url).await?;
            connection.batch_execute(&limits).await.map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        }
        .boxed()
    });
    config
}

/// Takes their meaning from the characters that LIKE gives one.
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
