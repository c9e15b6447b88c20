//! The migrations of the schema, which are embedded in the binary and run without libpq.

use diesel::RunQueryDsl as _;
use diesel::sql_types::BigInt;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::Connection;
use super::connection::Connector;
use super::pooler::require_own_sessions;
use crate::error::{Error, Result};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();
/// Key of the advisory lock for running migrations. The value of the key does not matter, but all versions must use the
/// same one.
const MIGRATION_LOCK: i64 = 0x7061_726c_616e_6365;

/// A synchronous connection, because Diesel's harness for migrations is not async.
type Harness = AsyncConnectionWrapper<Connection>;

/// Runs the pending migrations and returns their names. A lock ensures that only one node at a time runs migrations.
/// Fails if a connection pooler shares sessions, because the lock belongs to a session.
pub async fn migrate(url: &str) -> Result<Vec<String>> {
    with_harness(url, |harness| {
        // The lock is held until the connection is closed.
        diesel::sql_query("SELECT pg_advisory_lock($1)").bind::<BigInt, _>(MIGRATION_LOCK).execute(harness)?;
        let versions = harness.run_pending_migrations(MIGRATIONS).map_err(Error::Migration)?;
        Ok(versions.iter().map(ToString::to_string).collect())
    })
    .await
}

/// Returns the number of pending migrations. Fails if a connection pooler shares sessions.
pub async fn pending_migrations(url: &str) -> Result<usize> {
    with_harness(url, |harness| Ok(harness.pending_migrations(MIGRATIONS).map_err(Error::Migration)?.len())).await
}

/// Reverts all migrations, newest first, and returns the number of reverted migrations.
pub async fn revert_all(url: &str) -> Result<usize> {
    with_harness(url, |harness| Ok(harness.revert_all_migrations(MIGRATIONS).map_err(Error::Migration)?.len())).await
}

async fn with_harness<T: Send + 'static>(
    url: &str,
    work: impl FnOnce(&mut Harness) -> Result<T> + Send + 'static,
) -> Result<T> {
    let connector = Connector::new(url)?;
    require_own_sessions(&connector).await?;
    let connection = connector.open().await.map_err(Error::Connection)?;
    let done = tokio::task::spawn_blocking(move || work(&mut Harness::from(connection)));
    done.await.map_err(|error| Error::Migration(error.into()))?
}
