use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::Error;
use super::account;
use super::binaries::Binaries;
use super::location::Location;
use super::pidfile::{self, State};

/// Maximum time of a start, in seconds. After a crash, PostgreSQL first replays its log.
const START_SECONDS: u64 = 300;

/// Maximum time of a shutdown, in seconds. A shutdown writes all of shared_buffers to the disk.
const STOP_SECONDS: u64 = 60;

/// Interval between two checks of a PostgreSQL that is starting or stopping.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Interval between two attempts to start PostgreSQL while processes of a killed PostgreSQL still run.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Number of checks after which an empty postmaster.pid is removed, because no process is still writing it.
const MAX_EMPTY_POLLS: u32 = 20;

/// Size of the log in bytes above which a start renames the log and begins a new log.
const LOG_LIMIT: u64 = 10 * 1024 * 1024;

/// Maximum number of bytes from the end of the log that an error shows.
const LOG_EXCERPT: usize = 2_000;

/// Settings of PostgreSQL for a small private server. The settings for durability keep PostgreSQL's defaults. These
/// settings are passed at each start, so a new value also applies to existing clusters. All other settings can be
/// changed in the cluster's postgresql.conf.
const SETTINGS: &str = "-c listen_addresses=127.0.0.1 \
    -c unix_socket_directories= \
    -c max_connections=200 \
    -c shared_buffers=128MB \
    -c jit=off \
    -c log_checkpoints=off \
    -c timezone=UTC \
    -c log_timezone=UTC \
    -c cluster_name=parlance";

/// A PostgreSQL that accepts connections.
pub(super) struct Server {
    pub(super) port: u16,
    /// Whether PostgreSQL was already running.
    pub(super) adopted: bool,
}

/// The result of one attempt to start PostgreSQL.
enum Attempt {
    Up(u16),
    /// Another process took the port before PostgreSQL could use it.
    PortTaken,
    /// Another PostgreSQL of this cluster is still stopping, or started first.
    Conflict(String),
    Failed(String),
}

/// Adopts the PostgreSQL that runs on the cluster, or starts PostgreSQL.
pub(super) async fn ensure(location: &Location, binaries: &Binaries) -> Result<Server, Error> {
    let mut last = "it is still starting or recovering".to_owned();
    let ensured = try_until_up(location, binaries, &mut last);
    match timeout(Duration::from_secs(START_SECONDS), ensured).await {
        Ok(server) => server,
        Err(_) => Err(failed(location, format!("not ready after {START_SECONDS} s, {last}"))),
    }
}

async fn try_until_up(location: &Location, binaries: &Binaries, last: &mut String) -> Result<Server, Error> {
    let mut empty = 0;
    loop {
        match pidfile::read_state(location.cluster())? {
            State::Ready { port } => {
                return Ok(Server { port, adopted: true });
            }
            State::Busy => {
                sleep(POLL_INTERVAL).await;
                continue;
            }
            State::Empty if empty < MAX_EMPTY_POLLS => {
                empty += 1;
                sleep(POLL_INTERVAL).await;
                continue;
            }
            // PostgreSQL writes the whole file at once before it accepts connections. So the PostgreSQL that left the
            // file empty never accepted connections.
            State::Empty => remove_pid_file(location)?,
            State::OtherProgram => pidfile::replace_pid(location)?,
            State::Nothing | State::Dead => {}
        }
        match attempt(location, binaries).await? {
            Attempt::Up(port) => {
                return Ok(Server { port, adopted: false });
            }
            Attempt::PortTaken => {}
            Attempt::Conflict(output) => {
                tracing::info!(output, "waiting for another PostgreSQL of this database to end");
                *last = output;
                sleep(RETRY_INTERVAL).await;
            }
            Attempt::Failed(output) => return Err(failed(location, output)),
        }
    }
}

async fn attempt(location: &Location, binaries: &Binaries) -> Result<Attempt, Error> {
    let log = location.log_file();
    rotate_if_large(&log);
    let length = fs::metadata(&log).map_or(0, |found| found.len());
    let port = free_port().map_err(Error::at(Path::new("127.0.0.1")))?;
    let mut command = pg_ctl(location, binaries, "start", START_SECONDS);
    // pg_ctl starts PostgreSQL in a separate session, so Ctrl-C in the server's terminal does not stop PostgreSQL.
    command.arg("--log").arg(&log).args(["--options", &format!("-p {port} {SETTINGS}")]);
    let ended = account::run(command, "").await.map_err(Error::at(&binaries.program("pg_ctl")))?;
    if ended.status.success() {
        return Ok(Attempt::Up(port));
    }
    let logged = end_of(&log, length);
    Ok(if logged.contains("could not create any TCP/IP sockets") {
        Attempt::PortTaken
    } else if logged.contains("already exists") || logged.contains("is still in use") {
        Attempt::Conflict(logged)
    } else {
        Attempt::Failed(format!("{} {logged}", account::text(&ended)))
    })
}

/// Shuts PostgreSQL down in fast mode, and waits until it has ended.
pub(super) async fn stop(location: &Location, binaries: &Binaries) -> Result<(), Error> {
    let mut command = pg_ctl(location, binaries, "stop", STOP_SECONDS);
    command.args(["--mode", "fast"]);
    let ended = account::run(command, "").await.map_err(Error::at(&binaries.program("pg_ctl")))?;
    if ended.status.success() {
        return Ok(());
    }
    match pidfile::read_state(location.cluster())? {
        // PostgreSQL has already ended.
        State::Nothing | State::Empty | State::Dead | State::OtherProgram => Ok(()),
        State::Busy | State::Ready { .. } => {
            Err(Error::Stop { log: location.log_file(), output: account::text(&ended) })
        }
    }
}

fn pg_ctl(location: &Location, binaries: &Binaries, action: &str, seconds: u64) -> Command {
    let mut command = location.account().command(&binaries.program("pg_ctl"), location.cluster());
    command.args([action, "--silent", "--wait", "--timeout", &seconds.to_string(), "--pgdata"]).arg(location.cluster());
    command
}

fn failed(location: &Location, output: String) -> Error {
    Error::Start { log: location.log_file(), output }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn remove_pid_file(location: &Location) -> Result<(), Error> {
    let path = location.cluster().join("postmaster.pid");
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::Io { path, source: error }),
        _ => Ok(()),
    }
}

fn rotate_if_large(log: &Path) {
    if fs::metadata(log).is_ok_and(|found| found.len() > LOG_LIMIT)
        && let Err(error) = fs::rename(log, log.with_extension("log.1"))
    {
        tracing::warn!(log = %log.display(), %error, "could not rename PostgreSQL's log");
    }
}

/// Returns the end of the log after its first `length` bytes, as one line of at most `LOG_EXCERPT` bytes.
fn end_of(log: &Path, length: u64) -> String {
    let mut bytes = Vec::new();
    let read = File::open(log).and_then(|mut file| {
        file.seek(SeekFrom::Start(length))?;
        file.read_to_end(&mut bytes)
    });
    if let Err(error) = read {
        return format!("(its log cannot be read: {error})");
    }
    let end = &bytes[bytes.len().saturating_sub(LOG_EXCERPT)..];
    String::from_utf8_lossy(end).trim().replace('\n', "; ")
}
