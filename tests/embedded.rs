//! Tests of the private Postgres that the server runs. The tests start, kill, adopt and repair a real Postgres. To test
//! a killed server, a test starts the server binary as a process and sends SIGKILL to it.

#![expect(clippy::unwrap_used, reason = "a panic fails the test")]

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use parlance::embedded::postgres::{Error, Holder, Postgres};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

/// A process of the server binary that a test can kill.
struct Server {
    process: Child,
    data_dir: PathBuf,
}

impl Server {
    fn spawn(data_dir: &Path) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_parlance"))
            .args(["serve", "--listen-addr", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self { process: process.unwrap(), data_dir: data_dir.to_owned() }
    }

    /// Waits until the server is ready. Returns the URL of its Postgres.
    fn url(&mut self) -> String {
        let mut lines = BufReader::new(self.process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("is ready")), "the server did not start");
        let password = fs::read_to_string(self.data_dir.join("postgres.password")).unwrap();
        let port = fs::read_to_string(pid_file(&self.data_dir.join("postgres"))).unwrap();
        let port = port.lines().nth(3).unwrap();
        format!("postgres://parlance:{}@127.0.0.1:{port}/parlance", password.trim())
    }

    fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Creates a directory for the cluster of a test. The account that runs Postgres has access to it.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(url: &str, query: &str) -> String {
    connect(url).await.query_one(query, &[]).await.unwrap().get(0)
}

async fn write(url: &str, text: &str) {
    let client = connect(url).await;
    client.batch_execute("CREATE TABLE IF NOT EXISTS kept (text text)").await.unwrap();
    client.execute("INSERT INTO kept VALUES ($1)", &[&text]).await.unwrap();
}

async fn written(url: &str) -> String {
    ask(url, "SELECT string_agg(text, ',' ORDER BY text) FROM kept").await
}

fn pid_file(cluster: &Path) -> PathBuf {
    cluster.join("postmaster.pid")
}

fn postmaster(cluster: &Path) -> String {
    let text = fs::read_to_string(pid_file(cluster)).unwrap();
    text.lines().next().unwrap().to_owned()
}

fn kill_9(pid: &str) {
    assert!(Command::new("kill").args(["-9", pid]).status().unwrap().success());
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|found| found.uid() == 0)
}

/// Starts Postgres. Panics if this takes longer than `limit`.
async fn start_within(limit: Duration, data_dir: &Path) -> Postgres {
    let began = Instant::now();
    let postgres = Postgres::start(data_dir, Holder::Server).await.unwrap();
    let took = began.elapsed();
    println!("started in {took:?}: {} from {}", postgres.version(), postgres.origin());
    assert!(took < limit, "{took:?}");
    postgres
}

const FIRST: Duration = Duration::from_secs(30);
const LATER: Duration = Duration::from_secs(5);

#[tokio::test]
async fn data_survives_a_stop_and_a_start() {
    let data_dir = open_directory();
    let postgres = start_within(FIRST, data_dir.path()).await;
    assert!(!postgres.adopted());
    write(postgres.url(), "a").await;
    let cluster = postgres.directory().to_owned();
    assert_eq!(cluster, data_dir.path().canonicalize().unwrap().join("postgres"));
    postgres.stop().await.unwrap();
    assert!(!pid_file(&cluster).exists());

    let postgres = start_within(LATER, data_dir.path()).await;
    assert!(!postgres.adopted());
    assert_eq!(written(postgres.url()).await, "a");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_is_private_durable_and_uses_utf_8() {
    let data_dir = open_directory();
    let postgres = Postgres::start(data_dir.path(), Holder::Server).await.unwrap();
    for (query, expected) in [
        ("SHOW fsync", "on"),
        ("SHOW synchronous_commit", "on"),
        ("SHOW full_page_writes", "on"),
        ("SHOW data_checksums", "on"),
        ("SHOW server_encoding", "UTF8"),
        ("SHOW listen_addresses", "127.0.0.1"),
        ("SHOW unix_socket_directories", ""),
        ("SHOW max_connections", "200"),
        ("SHOW shared_buffers", "128MB"),
        ("SHOW TimeZone", "UTC"),
        ("SELECT current_user || ' ' || current_database()", "parlance parlance"),
        ("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = 'parlance'", "parlance"),
        ("SELECT left(rolpassword, 13) FROM pg_authid WHERE rolcanlogin", "SCRAM-SHA-256"),
    ] {
        assert_eq!(ask(postgres.url(), query).await, expected, "{query}");
    }
    let (_, address) = postgres.url().split_once('@').unwrap();
    let guessed = format!("postgres://parlance:guess@{address}");
    assert!(tokio_postgres::connect(&guessed, NoTls).await.is_err());

    let cluster = postgres.directory();
    assert_eq!(fs::metadata(cluster).unwrap().mode() & 0o777, 0o700);
    assert!(postgres.log_file().is_file());
    assert!(!format!("{postgres:?}").contains("127.0.0.1"));
    postgres.stop().await.unwrap();
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn postgres_runs_in_its_own_session_without_privileges() {
    let data_dir = open_directory();
    let postgres = Postgres::start(data_dir.path(), Holder::Server).await.unwrap();
    let process = Path::new("/proc").join(postmaster(postgres.directory()));
    let session = |process: &Path| {
        let stat = fs::read_to_string(process.join("stat")).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1.to_owned();
        after_name.split(' ').nth(3).unwrap().to_owned()
    };
    assert_ne!(session(&process), session(Path::new("/proc/self")));

    let status = fs::read_to_string(process.join("status")).unwrap();
    let ids = |key| status.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim();
    let owner = fs::metadata(postgres.directory()).unwrap();
    assert!(owner.uid() != 0);
    assert_eq!(ids("Uid:"), vec![owner.uid().to_string(); 4].join("\t"));
    assert_eq!(ids("Gid:"), vec![owner.gid().to_string(); 4].join("\t"));
    if is_root() {
        assert_eq!(ids("Groups:"), "");
    }
    // In a container even root may be unable to read the environment.
    if let Ok(environment) = fs::read(process.join("environ")) {
        assert!(!String::from_utf8_lossy(&environment).contains("CARGO"));
    }
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn the_next_server_adopts_postgres_of_a_killed_server() {
    let data_dir = open_directory();
    let mut server = Server::spawn(data_dir.path());
    let url = server.url();
    write(&url, "a").await;
    server.kill();
    write(&url, "b").await;

    let postgres = start_within(LATER, data_dir.path()).await;
    assert!(postgres.adopted());
    assert_eq!(postgres.url(), url);
    assert_eq!(written(postgres.url()).await, "a,b");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_postgres_recovers_its_data() {
    let data_dir = open_directory();
    let postgres = Postgres::start(data_dir.path(), Holder::Server).await.unwrap();
    write(postgres.url(), "a").await;
    kill_9(&postmaster(postgres.directory()));
    drop(postgres);

    let postgres = start_within(FIRST, data_dir.path()).await;
    assert!(!postgres.adopted());
    assert_eq!(written(postgres.url()).await, "a");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_recovers_when_it_and_the_server_are_killed_during_a_query() {
    let data_dir = open_directory();
    let mut server = Server::spawn(data_dir.path());
    let url = server.url();
    write(&url, "a").await;
    let busy = connect(&url).await;
    // While a backend computes this query, it does not notice that the postmaster has ended, and runs for some seconds
    // more.
    let query = "SELECT sum(length(md5(n::text))) FROM generate_series(1, 4000000) n";
    let busy = tokio::spawn(async move { busy.query(query, &[]).await.is_ok() });
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.kill();
    kill_9(&postmaster(&data_dir.path().join("postgres")));

    let postgres = start_within(FIRST, data_dir.path()).await;
    println!("the running query succeeded: {}", busy.await.unwrap());
    assert_eq!(written(postgres.url()).await, "a");
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_pid_file_with_the_pid_of_another_process_does_not_prevent_a_start() {
    let data_dir = open_directory();
    let postgres = Postgres::start(data_dir.path(), Holder::Server).await.unwrap();
    write(postgres.url(), "a").await;
    let cluster = postgres.directory().to_owned();
    kill_9(&postmaster(&cluster));
    drop(postgres);
    let owner = fs::metadata(&cluster).unwrap();
    let mut stranger = Command::new("sleep");
    stranger.arg("60").current_dir("/");
    if is_root() {
        stranger.uid(owner.uid()).gid(owner.gid());
    }
    let mut stranger = stranger.spawn().unwrap();
    let text = fs::read_to_string(pid_file(&cluster)).unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(pid_file(&cluster), format!("{}\n{rest}", stranger.id())).unwrap();

    let postgres = start_within(FIRST, data_dir.path()).await;
    assert_eq!(written(postgres.url()).await, "a");
    postgres.stop().await.unwrap();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn an_empty_pid_file_does_not_prevent_a_start() {
    let data_dir = open_directory();
    let postgres = Postgres::start(data_dir.path(), Holder::Server).await.unwrap();
    let cluster = postgres.directory().to_owned();
    postgres.stop().await.unwrap();
    fs::write(pid_file(&cluster), "").unwrap();
    start_within(LATER, data_dir.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_server_is_refused_with_the_holder_of_the_directory() {
    let data_dir = open_directory();
    let mut server = Server::spawn(data_dir.path());
    let holder = server.process.id().to_string();
    server.url();
    let refused = Postgres::start(data_dir.path(), Holder::Server).await.unwrap_err();
    assert!(matches!(&refused, Error::Locked { pid, .. } if *pid == holder), "{refused}");
    server.kill();

    let postgres = Postgres::start(data_dir.path(), Holder::Command).await.unwrap();
    let refused = Postgres::start(data_dir.path(), Holder::Server).await.unwrap_err();
    assert!(matches!(&refused, Error::Locked { by: Holder::Command, .. }), "{refused}");
    postgres.stop().await.unwrap();
    Postgres::start(data_dir.path(), Holder::Server).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_first_start_that_was_killed_is_repaired_by_the_next_start() {
    let data_dir = open_directory();
    let unfinished = || -> BTreeSet<_> {
        let entries = fs::read_dir(data_dir.path()).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("postgres.new-")).collect()
    };
    let cluster = data_dir.path().join("postgres");
    let mut killed = 0;
    for delay in [0, 100, 250, 500, 800] {
        let before = unfinished();
        let server = Server::spawn(data_dir.path());
        while unfinished().is_subset(&before) && !cluster.exists() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(delay)).await;
        server.kill();
        if cluster.exists() {
            break;
        }
        killed += 1;
    }
    assert!(killed > 0);
    println!("killed {killed} times");
    let postgres = start_within(FIRST, data_dir.path()).await;
    write(postgres.url(), "a").await;
    postgres.stop().await.unwrap();
    // Processes of the killed servers may still write for a moment, so the test only prints the remaining files.
    let left = fs::read_dir(data_dir.path()).unwrap().flatten();
    println!("left: {:?}", left.map(|entry| entry.file_name()).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_cluster_is_placed_elsewhere_if_its_account_cannot_enter_the_data_directory() {
    if !is_root() {
        return;
    }
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
    let data_dir = closed.path().join("data");
    let postgres = start_within(FIRST, &data_dir).await;
    let home = postgres.directory().parent().unwrap().to_owned();
    assert!(home.starts_with("/var/lib/parlance"), "{}", home.display());
    let note = fs::read_to_string(data_dir.join("postgres.location")).unwrap();
    assert_eq!(note.trim(), home.to_str().unwrap());
    write(postgres.url(), "a").await;

    // A copy of the location file refers to the same cluster, which only one server can use at a time.
    let copy = closed.path().join("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(data_dir.join("postgres.location"), copy.join("postgres.location")).unwrap();
    assert!(matches!(Postgres::start(&copy, Holder::Server).await, Err(Error::Locked { .. })));
    postgres.stop().await.unwrap();

    // The cluster keeps its place when the data directory becomes accessible or is moved.
    fs::set_permissions(closed.path(), Permissions::from_mode(0o755)).unwrap();
    let moved = closed.path().join("moved");
    fs::rename(&data_dir, &moved).unwrap();
    let postgres = start_within(LATER, &moved).await;
    assert_eq!(written(postgres.url()).await, "a");
    postgres.stop().await.unwrap();
    fs::remove_dir_all(home).unwrap();
}

#[tokio::test]
async fn an_unreachable_database_is_not_replaced_by_an_empty_one() {
    if !is_root() {
        return;
    }
    let data_dir = open_directory();
    Postgres::start(data_dir.path(), Holder::Server).await.unwrap().stop().await.unwrap();
    fs::set_permissions(data_dir.path(), Permissions::from_mode(0o700)).unwrap();
    let refused = Postgres::start(data_dir.path(), Holder::Server).await.unwrap_err();
    assert!(matches!(refused, Error::Unreachable { .. }), "{refused}");
}

#[tokio::test]
async fn a_missing_password_file_is_reported() {
    let data_dir = open_directory();
    Postgres::start(data_dir.path(), Holder::Server).await.unwrap().stop().await.unwrap();
    fs::remove_file(data_dir.path().join("postgres.password")).unwrap();
    let refused = Postgres::start(data_dir.path(), Holder::Server).await.unwrap_err();
    assert!(matches!(refused, Error::PasswordMissing { .. }), "{refused}");
}

#[tokio::test]
async fn an_invalid_postgres_setting_is_reported_from_the_log() {
    let data_dir = open_directory();
    let postgres = Postgres::start(data_dir.path(), Holder::Server).await.unwrap();
    let cluster = postgres.directory().to_owned();
    postgres.stop().await.unwrap();
    fs::write(cluster.join("postgresql.auto.conf"), "work_mem = 'plenty'\n").unwrap();
    let refused = Postgres::start(data_dir.path(), Holder::Server).await.unwrap_err();
    assert!(refused.to_string().contains("work_mem"), "{refused}");
}

#[tokio::test]
async fn a_cluster_of_another_major_version_is_refused() {
    let data_dir = open_directory();
    let postgres = Postgres::start(data_dir.path(), Holder::Server).await.unwrap();
    let cluster = postgres.directory().to_owned();
    postgres.stop().await.unwrap();
    fs::write(cluster.join("PG_VERSION"), "99\n").unwrap();
    let refused = Postgres::start(data_dir.path(), Holder::Server).await.unwrap_err();
    assert!(matches!(refused, Error::OtherMajor { wanted: 99, .. }), "{refused}");
}
