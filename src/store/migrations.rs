//! The schema's migrations, inside the binary, run without libpq.

use diesel_async::{AsyncConnection as _, AsyncMigrationHarness};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness as _, embed_migrations};

use super::Connection;
use crate::error::{Error, Result};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!();

/// Runs the migrations that the database has not seen, one node at a time, and returns their names.
pub async fn migrate(url: &str) -> Result<Vec<String>> {
    use diesel::sql_types::BigInt;
    use diesel_async::RunQueryDsl;

    /// Any number will do, as long as every Parlance takes the same.
    const MIGRATION_LOCK: i64 = 0x7061_726c_616e_6365;

    let mut connection = connect(url).await?;
    // Held until the connection is closed.
    diesel::sql_query("SELECT pg_advisory_lock($1)").bind::<BigInt, _>(MIGRATION_LOCK).execute(&mut connection).await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let versions = harness
        .run_pending_migrations(MIGRATIONS)
        .map_err(|error| Error::Corrupt(format!("migration failed: {error}")))?;
    Ok(versions.iter().map(ToString::to_string).collect())
}

/// How many migrations the database lacks.
pub async fn pending_migrations(url: &str) -> Result<usize> {
    let mut harness = AsyncMigrationHarness::new(connect(url).await?);
    let pending = harness
        .pending_migrations(MIGRATIONS)
        .map_err(|error| Error::Corrupt(format!("reading migrations: {error}")))?;
    Ok(pending.len())
}

/// Reverts every migration, newest first.
pub async fn revert_all(url: &str) -> Result<usize> {
    let mut harness = AsyncMigrationHarness::new(connect(url).await?);
    let reverted = harness
        .revert_all_migrations(MIGRATIONS)
        .map_err(|error| Error::Corrupt(format!("reverting migrations: {error}")))?;
    Ok(reverted.len())
}

async fn connect(url: &str) -> Result<Connection> {
    Connection::establish(url).await.map_err(|error| Error::Connection(error.to_string()))
}
