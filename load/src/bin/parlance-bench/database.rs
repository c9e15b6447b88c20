//! Creates a database for one server, and reads Postgres' settings.

use anyhow::{Context as _, Result};
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

pub(super) struct Database {
    admin_url: String,
    name: String,
    url: String,
}

/// A row with one text column.
#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Text)]
    answer: String,
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

/// Runs one statement on a new connection.
pub(super) async fn execute(url: &str, statement: &str) -> Result<()> {
    let mut connection = connect(url).await?;
    diesel::sql_query(statement).execute(&mut connection).await.with_context(|| statement.to_owned())?;
    Ok(())
}

/// Returns a statement that inserts copies of a row of `table`, with all columns. `from` is the FROM clause, in which
/// `original` is the row to copy. `values` is a jsonb expression with the columns in which each copy differs.
pub(super) async fn copies(url: &str, table: &str, values: &str, from: &str) -> Result<String> {
    let statement = format!(
        "SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position) AS answer
         FROM information_schema.columns WHERE table_name = '{table}' AND is_generated = 'NEVER'"
    );
    let Answer { answer: columns } = diesel::sql_query(statement).get_result(&mut connect(url).await?).await?;
    Ok(format!(
        "INSERT INTO {table} ({columns}) SELECT {columns} FROM (SELECT copy.* FROM {from},
         LATERAL jsonb_populate_record(NULL::{table}, to_jsonb(original) || {values}) copy) copies"
    ))
}

/// Returns Postgres' version, and the settings that decide how long a commit takes.
pub(super) async fn describe(url: &str) -> Result<String> {
    let row: Answer = diesel::sql_query(
        "SELECT format('Postgres %s, fsync %s, synchronous_commit %s', current_setting('server_version'),
                       current_setting('fsync'), current_setting('synchronous_commit')) AS answer",
    )
    .get_result(&mut connect(url).await?)
    .await?;
    Ok(row.answer)
}

pub(super) async fn connect(url: &str) -> Result<AsyncPgConnection> {
    Ok(parlance::store::connect(url).await?)
}

/// Replaces the database in a URL.
fn with_database(url: &str, name: &str) -> String {
    let (location, options) = url.split_once('?').map_or((url, None), |(location, options)| (location, Some(options)));
    let host_starts = location.find("://").map_or(0, |scheme| scheme + 3);
    let host_ends = location[host_starts..].find('/').map_or(location.len(), |slash| host_starts + slash);
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    format!("{}/{name}{options}", &location[..host_ends])
}
