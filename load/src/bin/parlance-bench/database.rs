//! A database for one server, and what Postgres says of itself.

use anyhow::{Context as _, Result};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl as _};

pub(super) struct Database {
    admin_url: String,
    name: String,
    url: String,
}

impl Database {
    pub(super) async fn create(admin_url: &str, suffix: &str) -> Result<Self> {
        let name = format!("parlance_bench_{}_{suffix}", std::process::id());
        let database = Self { admin_url: admin_url.to_owned(), url: with_database(admin_url, &name), name };
        execute(admin_url, &format!("CREATE DATABASE {}", database.name)).await?;
        Ok(database)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) async fn remove(self) -> Result<()> {
        execute(&self.admin_url, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await
    }
}

/// Runs one statement on a connection of its own.
pub(super) async fn execute(url: &str, statement: &str) -> Result<()> {
    let mut connection = connect(url).await?;
    diesel::sql_query(statement).execute(&mut connection).await.with_context(|| statement.to_owned())?;
    Ok(())
}

/// Its version, and the settings that decide what a commit costs.
pub(super) async fn describe(url: &str) -> Result<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        description: String,
    }
    let row: Row = diesel::sql_query(
        "SELECT format('Postgres %s, fsync %s, synchronous_commit %s', current_setting('server_version'),
                       current_setting('fsync'), current_setting('synchronous_commit')) AS description",
    )
    .get_result(&mut connect(url).await?)
    .await?;
    Ok(row.description)
}

async fn connect(url: &str) -> Result<AsyncPgConnection> {
    AsyncPgConnection::establish(url).await.context("connecting to Postgres")
}

/// The same address with another database.
fn with_database(url: &str, name: &str) -> String {
    let (place, options) = url.split_once('?').map_or((url, None), |(place, options)| (place, Some(options)));
    let host_starts = place.find("://").map_or(0, |scheme| scheme + 3);
    let host_ends = place[host_starts..].find('/').map_or(place.len(), |slash| host_starts + slash);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{}/{name}{options}", &place[..host_ends])
}
