//! Redis, Postgres and node processes that belong to one test, which can kill or pause them. `HeldLog` holds the lock
//! of the log.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::QueryableByName;
use diesel::sql_types::{Integer, Text};
use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parlance::embedded::postgres::{Holder, Postgres};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::{Api, JWT_SECRET, PATIENCE, TestDatabase, eventually, eventually_some, redis_url};

/// Ports below the ephemeral ports of the system, and below the ports of the tests in tests/js.
const PORTS: Range<u16> = 10_000..20_000;

/// Returns a free port that is not ephemeral, so that no other program gets the port before its process listens or
/// while the process restarts. nextest runs each test in a separate process, which begins its search at another port.
pub fn free_port() -> u16 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    loop {
        let place = std::process::id().wrapping_mul(16).wrapping_add(CALLS.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(place % u32::from(PORTS.end - PORTS.start)).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn signal(process: &Child, signal: Signal) {
    let pid = process.id().expect("the process is not running");
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

pub struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    pub async fn start() -> Self {
        let port = free_port();
        Self { port, process: Self::spawn(port).await }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn spawn(port: u16) -> Child {
        let arguments = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let mut command = Command::new("redis-server");
        let process = command.args(arguments).stdout(Stdio::null()).kill_on_drop(true).spawn().unwrap();
        eventually("Redis accepts connections", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
        })
        .await;
        process
    }

    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    pub async fn restart(&mut self) {
        self.process = Self::spawn(self.port).await;
    }

    /// Stops the process with SIGSTOP: connections stay open, but Redis does not respond.
    pub fn pause(&self) {
        signal(&self.process, Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        signal(&self.process, Signal::SIGCONT);
    }
}

/// A node that runs as a process of the built binary, on a test's database and the Redis of the tests.
pub struct NodeProcess {
    launch: Launch,
    process: Child,
    /// Standard output of the process. Kept open, so that the server can write to the pipe.
    stdout: Lines<BufReader<ChildStdout>>,
}

/// Settings with which the process is started.
struct Launch {
    address: SocketAddr,
    database_url: String,
    prefix: String,
    directory: TempDir,
    /// Settings of this test, which override the settings of all tests.
    settings: Vec<(&'static str, &'static str)>,
    /// File with the only certificates that the process trusts. None means those of the system.
    trusted: Option<PathBuf>,
}

impl NodeProcess {
    pub async fn start(database: &TestDatabase, number: usize) -> Self {
        Self::start_with(database, number, &[]).await
    }

    /// Starts a node with additional settings. If LOG_LEVEL is set, the log goes to a pipe that is never read.
    pub async fn start_with(database: &TestDatabase, number: usize, settings: &[(&'static str, &'static str)]) -> Self {
        Self::launch(Launch::new(database, number, settings)).await
    }

    /// Starts a node with additional settings, which trusts only the certificates of this file.
    pub async fn start_trusting(
        database: &TestDatabase,
        certificates: PathBuf,
        settings: &[(&'static str, &'static str)],
    ) -> Self {
        Self::launch(Launch { trusted: Some(certificates), ..Launch::new(database, 0, settings) }).await
    }

    async fn launch(launch: Launch) -> Self {
        let (process, stdout) = launch.spawn().await;
        Self { launch, process, stdout }
    }

    pub fn address(&self) -> SocketAddr {
        self.launch.address
    }

    pub fn pid(&self) -> u32 {
        self.process.id().expect("the process is not running")
    }

    pub fn api(&self) -> Api {
        Api::new(format!("http://{}/graphql", self.launch.address))
    }

    pub async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Starts the process again at the same address.
    pub async fn restart(&mut self) {
        (self.process, self.stdout) = self.launch.spawn().await;
    }

    pub fn pause(&self) {
        signal(&self.process, Signal::SIGSTOP);
    }

    pub fn resume(&self) {
        signal(&self.process, Signal::SIGCONT);
    }

    /// Sends SIGTERM, which makes the process shut down.
    pub fn terminate(&self) {
        signal(&self.process, Signal::SIGTERM);
    }

    /// Waits until the process exits, and returns its exit status.
    pub async fn ended(&mut self) -> ExitStatus {
        timeout(4 * PATIENCE, self.process.wait()).await.expect("the process did not exit in time").unwrap()
    }
}

impl Launch {
    fn new(database: &TestDatabase, number: usize, settings: &[(&'static str, &'static str)]) -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], free_port())),
            database_url: url_of_node(database, number),
            prefix: database.name.clone(),
            directory: tempfile::tempdir().unwrap(),
            settings: settings.to_vec(),
            trusted: None,
        }
    }

    /// Starts the process and waits until the server is ready.
    async fn spawn(&self) -> (Child, Lines<BufReader<ChildStdout>>) {
        // Uses flags, because hidden settings, which tests change, have no environment variables.
        let settings: BTreeMap<_, _> = self.settings.iter().copied().collect();
        let flags = settings.iter().map(|(name, value)| format!("--{}={value}", name.to_lowercase().replace('_', "-")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_parlance"));
        command
            .arg("serve")
            .current_dir(&self.directory)
            .env("LISTEN_ADDR", self.address.to_string())
            .env("DATA_DIR", self.directory.path())
            .env("DATABASE_URL", &self.database_url)
            .env("REDIS_URL", redis_url())
            .env("REDIS_PREFIX", &self.prefix)
            .env("JWT_SECRET", JWT_SECRET)
            .env("LOG_LEVEL", "warn")
            .env("RATE_LIMITS", "off")
            // Uses the minimum, because a paused node with an open transaction blocks the other nodes for this time.
            .arg("--database-idle-timeout=1")
            // Uses the cheapest hashes that the settings allow.
            .env("PASSWORD_MEMORY_KIB", "19456")
            .env("PASSWORD_PASSES", "2")
            .args(flags)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if let Some(certificates) = &self.trusted {
            command.env("SSL_CERT_FILE", certificates);
        }
        if self.settings.iter().any(|(name, _)| *name == "LOG_LEVEL") {
            command.stderr(Stdio::piped());
        }
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("is ready") {
                    return true;
                }
            }
            false
        };
        assert!(timeout(PATIENCE, ready).await.expect("the server did not start in time"), "the server did not start");
        (process, lines)
    }
}

/// A Postgres that belongs to one test and keeps its address across restarts. Unlike in production, fsync is off.
pub struct OwnPostgres {
    postgres: Option<Postgres>,
    url: String,
    _directory: TempDir,
}

impl OwnPostgres {
    /// Starts Postgres and runs the migrations.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // The account that Postgres runs as needs access to the directory.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let postgres = Postgres::start(directory.path(), Holder::Server).await.unwrap();
        // Tests kill the processes of Postgres but not the machine, so fsync is not needed.
        let mut connection = AsyncPgConnection::establish(postgres.url()).await.unwrap();
        connection.batch_execute("ALTER SYSTEM SET fsync = off").await.unwrap();
        connection.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        parlance::store::migrate(postgres.url()).await.unwrap();
        Self { url: postgres.url().to_owned(), postgres: Some(postgres), _directory: directory }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops Postgres without a checkpoint, so that Postgres must recover at its next start.
    pub async fn crash(&self) {
        self.pg_ctl(&["stop", "--mode=immediate"]).await;
    }

    /// Starts Postgres again with these command-line options, which must include the port.
    pub async fn restart(&self, options: &str) {
        self.pg_ctl(&["start", "--wait", "--options", options]).await;
    }

    /// Returns the command-line options of the running Postgres.
    pub fn options(&self) -> String {
        self.command_line().split_once(' ').unwrap().1.to_owned()
    }

    pub async fn stop(mut self) {
        self.postgres.take().unwrap().stop().await.unwrap();
    }

    fn cluster(&self) -> &Path {
        self.postgres.as_ref().unwrap().directory()
    }

    fn command_line(&self) -> String {
        fs::read_to_string(self.cluster().join("postmaster.opts")).unwrap().trim().to_owned()
    }

    async fn pg_ctl(&self, arguments: &[&str]) {
        let command_line = self.command_line();
        let program = Path::new(command_line.split(' ').next().unwrap()).with_file_name("pg_ctl");
        let owner = fs::metadata(self.cluster()).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg("-D").arg(self.cluster()).current_dir("/").stdout(Stdio::null());
        if nix::unistd::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        assert!(command.status().await.unwrap().success(), "pg_ctl {arguments:?}");
    }
}

/// Returns a database URL that sets `application_name` to the number of the node, so that `pg_stat_activity` shows to
/// which node a connection belongs.
pub fn url_of_node(database: &TestDatabase, number: usize) -> String {
    format!("{}?application_name={number}", database.url)
}

/// The lock of the row of `log_head`. While a test holds this lock, transactions that append to the log wait before
/// their commit.
pub struct HeldLog<'a> {
    database: &'a TestDatabase,
    holder: AsyncPgConnection,
}

/// A Postgres backend whose transaction waits for the lock of `log_head`, its last statement before the commit.
#[derive(QueryableByName)]
pub struct Waiting {
    #[diesel(sql_type = Integer)]
    pub pid: i32,
    #[diesel(sql_type = Text)]
    application_name: String,
}

impl Waiting {
    /// Returns the number of the node to which the connection belongs.
    pub fn node(&self) -> usize {
        self.application_name.parse().unwrap()
    }
}

impl<'a> HeldLog<'a> {
    pub async fn new(database: &'a TestDatabase) -> Self {
        let mut holder = database.connection().await;
        holder.batch_execute("BEGIN; SELECT FROM log_head FOR UPDATE").await.unwrap();
        Self { database, holder }
    }

    /// Waits until a backend waits for the lock, and returns that backend.
    pub async fn waiting(&self) -> Waiting {
        let mut observer = self.database.connection().await;
        let query = "SELECT pid, application_name FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock' AND xact_start IS NOT NULL
                       AND query LIKE '%UPDATE log_head%'";
        eventually_some("a transaction waits for the log", async || {
            diesel::sql_query(query).load(&mut observer).await.unwrap().pop()
        })
        .await
    }

    pub async fn release(mut self) {
        self.holder.batch_execute("ROLLBACK").await.unwrap();
    }
}
