//! Runs a server as a child process: the `parlance` binary in the directory of this program, or another program that
//! prints the same banner.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time of a server's stop. Longer than DRAIN_TIMEOUT, which is 20 s by default.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The secret that signs access tokens. The bench uses it to create tokens for accounts that it copies in SQL.
pub const JWT_SECRET: &str = "measured on a machine of one's own";

/// The settings with which a server is started.
pub struct Settings<'a> {
    pub database_url: &'a str,
    pub redis_url: Option<&'a str>,
    /// Names and values of settings that differ from the server's defaults.
    pub named: &'a [(String, String)],
    /// Working directory of the server, which must not exist yet. The caller deletes its parent directory.
    pub directory: &'a Path,
}

pub struct Server {
    child: Child,
    address: SocketAddr,
    /// Collects the log, which contains only warnings and errors.
    log_lines: JoinHandle<Vec<String>>,
    _banner: JoinHandle<()>,
}

/// Parses a setting of the form NAME=VALUE from a command line.
pub fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("allowed is NAME=VALUE, such as DATABASE_POOL_SIZE=32")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Returns the path of the `parlance` binary in the directory of this program.
pub fn binary() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("parlance"))
}

impl Server {
    pub async fn start(settings: &Settings<'_>) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.arg("serve");
        Self::spawn(command, settings).await
    }

    /// Starts a program with these settings and without the environment of this process, so that all other settings
    /// have the server's defaults.
    pub async fn spawn(mut command: Command, settings: &Settings<'_>) -> Result<Self> {
        std::fs::create_dir(settings.directory)?;
        // The settings are passed as flags, because the constants that a measurement changes have no environment
        // variables. If a name occurs more than once, its last value applies.
        let named: BTreeMap<_, _> = settings.named.iter().map(|(name, value)| (name, value)).collect();
        let flags = named.iter().map(|(name, value)| format!("--{}={value}", name.to_lowercase().replace('_', "-")));
        command
            .env_clear()
            // Another working directory could contain a .env file.
            .current_dir(settings.directory)
            .env("DATA_DIR", settings.directory.join("data"))
            .env("DATABASE_URL", settings.database_url)
            .env("MIGRATE_ON_START", "true")
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("LOG_LEVEL", "warn")
            .env("DRAIN_DELAY", "0")
            .env("JWT_SECRET", JWT_SECRET)
            // Access tokens must not expire during a measurement.
            .env("ACCESS_TOKEN_TTL", "86400")
            // All clients share one address, so they would exceed the limits of this address.
            .env("RATE_LIMITS", "off")
            // Password hashes are cheap, because registration is not measured.
            .env("PASSWORD_MEMORY_KIB", "19456")
            .env("PASSWORD_PASSES", "2")
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(url) = settings.redis_url {
            command.env("REDIS_URL", url);
        }
        let program = command.as_std().get_program().to_owned();
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let stderr = child.stderr.take().context("the server has no stderr")?;
        let log_lines = tokio::spawn(collect(BufReader::new(stderr).lines()));
        let mut banner = BufReader::new(child.stdout.take().context("the server has no stdout")?).lines();
        let Ok(Some(address)) = timeout(START_TIMEOUT, address(&mut banner)).await.context("the server's start")?
        else {
            drop(child);
            bail!("the server did not start:\n{}", log_lines.await?.join("\n"));
        };
        // Reads stdout until the server ends. If stdout were closed, the server could not print its next line.
        let banner = tokio::spawn(async move { while let Ok(Some(_)) = banner.next_line().await {} });
        Ok(Self { child, address, log_lines, _banner: banner })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Stops the server with SIGTERM, as an orchestrator does, and returns its log lines.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        if let Some(pid) = self.child.id() {
            kill(Pid::from_raw(pid.try_into()?), Signal::SIGTERM)?;
        }
        let status = timeout(STOP_TIMEOUT, self.child.wait()).await.context("the server's end")??;
        let log_lines = self.log_lines.await?;
        ensure!(status.success(), "the server ended with {status}:\n{}", log_lines.join("\n"));
        Ok(log_lines)
    }
}

/// Reads the server's address from its banner. None if the server ends before it listens.
async fn address(banner: &mut Lines<BufReader<ChildStdout>>) -> Result<Option<SocketAddr>> {
    while let Some(line) = banner.next_line().await? {
        if let Some((_, rest)) = line.split_once("http://")
            && let Some((address, _)) = rest.split_once("/graphql")
        {
            return Ok(Some(address.parse()?));
        }
    }
    Ok(None)
}

async fn collect(mut lines: Lines<BufReader<tokio::process::ChildStderr>>) -> Vec<String> {
    let mut collected = Vec::new();
    while let Ok(Some(line)) = lines.next_line().await {
        collected.push(line);
    }
    collected
}
