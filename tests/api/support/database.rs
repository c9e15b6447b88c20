//! The database of each test, a copy of a template. The migrations run only once, on the template.

use std::sync::Mutex;

use diesel::sql_types::BigInt;
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use parlance::random::Random;

use super::eventually;

/// Advisory lock that serializes the creation of the template. The number is arbitrary.
const TEMPLATE_LOCK: i64 = 7_261_155;

/// A database of one test. Dropping the value drops the database.
pub struct TestDatabase {
    pub url: String,
    pub name: String,
}

impl TestDatabase {
    pub async fn new() -> Self {
        let template = template().await;
        let database = Self::create(&format!(" TEMPLATE {template}")).await;
        // A copy needs its own log epoch, so that it rejects cursors of other copies.
        parlance::log::reset_cursors(&database.url, &Random::system()).await.unwrap();
        database
    }

    /// Creates a database without tables.
    pub async fn empty() -> Self {
        Self::create("").await
    }

    pub async fn connection(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url).await.unwrap()
    }

    /// Marks the e-mail address and phone number of the user as verified, without a code.
    pub async fn verify_contact_points(&self, username: &str) {
        let statement = format!(
            "UPDATE users SET email_verified_at = CASE WHEN email IS NOT NULL THEN now() END,
                 phone_verified_at = CASE WHEN phone IS NOT NULL THEN now() END
             WHERE username = '{username}'"
        );
        self.connection().await.batch_execute(&statement).await.unwrap();
    }

    /// Makes all scheduled messages due now. The scheduler of each node finds them at its next poll.
    pub async fn make_scheduled_messages_due(&self) {
        self.connection().await.batch_execute("UPDATE scheduled_messages SET send_at = now()").await.unwrap();
    }

    /// Waits until a statement waits for a lock that another transaction of this database holds.
    pub async fn statement_waits_for_lock(&self) {
        let mut connection = self.connection().await;
        let waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
        eventually("a statement waits for a lock", async || {
            diesel::sql_query(waiting).execute(&mut connection).await.unwrap() > 0
        })
        .await;
    }

    pub fn unused_name() -> String {
        format!("test_{}", unique())
    }

    async fn create(from: &str) -> Self {
        let name = Self::unused_name();
        let mut server = server().await;
        server.batch_execute(&format!("CREATE DATABASE {name}{from}")).await.unwrap();
        Self { url: url_of(&name), name }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let statement = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // The runtime of the test may be shutting down, so the statement runs in a thread with a separate runtime.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { server().await.batch_execute(&statement).await }).unwrap();
        });
        dropped.join().unwrap();
    }
}

/// Returns a string that is unique across test processes and calls.
pub fn unique() -> String {
    static CALLS: Mutex<u32> = Mutex::new(0);
    let mut calls = CALLS.lock().unwrap();
    *calls += 1;
    let random: [u8; 8] = Random::system().bytes();
    format!("{:016x}_{calls}", u64::from_be_bytes(random))
}

/// Creates the template if it does not exist, and returns its name. The name contains the name of the newest migration,
/// so that a new migration leads to a new template.
async fn template() -> String {
    let newest = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap();
    let newest = newest.map(|entry| entry.unwrap().file_name().into_string().unwrap()).max().unwrap();
    let name = format!("template_{}", newest.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let mut server = server().await;
    diesel::sql_query("SELECT pg_advisory_lock($1)")
        .bind::<BigInt, _>(TEMPLATE_LOCK)
        .execute(&mut server)
        .await
        .unwrap();
    let there = diesel::sql_query(format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"));
    if there.execute(&mut server).await.unwrap() == 0 {
        let partial = format!("{name}_partial");
        server.batch_execute(&format!("DROP DATABASE IF EXISTS {partial} WITH (FORCE)")).await.unwrap();
        server.batch_execute(&format!("CREATE DATABASE {partial}")).await.unwrap();
        parlance::store::migrate(&url_of(&partial)).await.unwrap();
        server.batch_execute(&format!("ALTER DATABASE {partial} RENAME TO {name}")).await.unwrap();
    }
    name
}

async fn server() -> AsyncPgConnection {
    AsyncPgConnection::establish(&server_url()).await.unwrap()
}

fn server_url() -> String {
    std::env::var("TEST_DATABASE_URL").expect("TEST_DATABASE_URL: run the tests with `make test`")
}

fn url_of(name: &str) -> String {
    let server = server_url();
    let (base, _) = server.rsplit_once('/').unwrap();
    format!("{base}/{name}")
}
