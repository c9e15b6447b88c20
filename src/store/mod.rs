//! Rows of Postgres and the queries on them, with one file for each noun.

pub mod calls;
mod connection;
pub mod conversations;
pub mod export;
pub mod files;
pub mod locks;
pub mod messaging;
mod migrations;
pub mod people;
mod pooler;
mod prepared;
pub mod push;
pub mod schema;
pub mod seed;
mod text_enum;
mod visibility;

use std::sync::Arc;
use std::time::Duration;

use diesel::ConnectionError;
pub use diesel_async::AsyncPgConnection as Connection;
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolableConnection, RecyclingMethod, bb8,
};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use futures_util::FutureExt as _;
use futures_util::future::ready;

pub use migrations::{migrate, pending_migrations, revert_all};
pub(crate) use prepared::Prepared;
pub(crate) use text_enum::text_enum;

use crate::config::Postgres;
use crate::error::{Error, Result};
use connection::Connector;
use pooler::require_own_sessions;

/// Time after which a request that waits for a free connection fails with UNAVAILABLE.
const CONNECTION_WAIT: Duration = Duration::from_secs(5);

pub type PooledConnection<'a> = bb8::PooledConnection<'a, Connection>;

/// Fails if the URL is that of a connection pooler that shares the sessions of Postgres. Commands call this before they
/// work on a database.
pub async fn check_sessions(url: &str) -> Result<()> {
    require_own_sessions(&Connector::new(url)?).await
}

/// Opens a connection outside the pool, for commands.
pub async fn connect(url: &str) -> Result<Connection> {
    Connector::new(url)?.open().await.map_err(Error::Connection)
}

/// The pool of connections to Postgres.
#[derive(Clone)]
pub struct Database {
    pool: bb8::Pool<Connection>,
}

impl Database {
    /// Creates the pool and checks that Postgres is available. Fails otherwise, because a server that cannot reach its
    /// database must not start.
    pub async fn connect(url: &str, settings: &Postgres) -> Result<Self> {
        let config = manager_config(Connector::new(url)?, settings);
        let manager = AsyncDieselConnectionManager::<Connection>::new_with_config(url, config);
        let pool = bb8::Pool::builder()
            .max_size(settings.database_pool_size)
            .connection_timeout(CONNECTION_WAIT)
            .test_on_check_out(true)
            // The connection that was used last is the most likely one to have statements and catalogs in its caches.
            .queue_strategy(::bb8::QueueStrategy::Lifo)
            .build(manager)
            .await
            .map_err(|error| Error::Connection(error.to_string()))?;
        let database = Self { pool };
        database.ping().await?;
        Ok(database)
    }

    /// Checks that Postgres answers a query.
    pub async fn ping(&self) -> Result<()> {
        diesel::sql_query("SELECT 1").execute(&mut *self.connection().await?).await?;
        Ok(())
    }

    pub async fn connection(&self) -> Result<PooledConnection<'_>> {
        self.pool.get().await.map_err(|error| Error::Connection(error.to_string()))
    }
}

fn manager_config(connector: Connector, settings: &Postgres) -> ManagerConfig<Connection> {
    // Postgres enforces these timeouts. A transaction that holds the head of the log blocks all other transactions that
    // append, so it must end even if its node hangs. JIT compilation is off because it takes longer than the execution
    // of any statement of the server.
    let limits = format!(
        "SET statement_timeout = {}; SET idle_in_transaction_session_timeout = {}; SET jit = off;",
        settings.database_statement_timeout.as_millis(),
        settings.database_idle_timeout.as_millis(),
    );
    let mut config = ManagerConfig::default();
    // This check needs no round trip: the client notices when Postgres closes a connection.
    config.recycling_method = RecyclingMethod::CustomFunction(Box::new(|connection: &mut Connection| {
        let broken = PoolableConnection::is_broken(connection);
        ready(if broken { Err(diesel::result::Error::BrokenTransactionManager) } else { Ok(()) }).boxed()
    }));
    let connector = Arc::new(connector);
    config.custom_setup = Box::new(move |_| {
        let (connector, limits) = (connector.clone(), limits.clone());
        async move {
            let mut connection = connector.open().await.map_err(ConnectionError::BadConnection)?;
            connection.batch_execute(&limits).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        }
        .boxed()
    });
    config
}

/// Escapes the characters that have a special meaning in LIKE patterns.
fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
