//! A server as a child process: the build beside this program, or whatever else tells where it listens.

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
/// More than its own drain may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Signs the tokens: whoever has it can make them.
pub const JWT_SECRET: &str = "measured on a machine of one's own";

/// What a server is started with.
pub struct Settings<'a> {
    pub database_url: &'a str,
    pub redis_url: Option<&'a str>,
    /// Those that are not the server's defaults.
    pub named: &'a [(String, String)],
    /// To be made; it goes away with whatever it is in.
    pub directory: &'a Path,
}

pub struct Server {
    child: Child,
    address: SocketAddr,
    /// What it writes to its log, which holds warnings and errors only.
    complaints: JoinHandle<Vec<String>>,
    _banner: JoinHandle<()>,
}

/// Reads a setting as it is given to a program.
pub fn setting(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once('=').ok_or("allowed is NAME=VALUE, such as DATABASE_POOL_SIZE=32")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `parlance`, beside the program that runs.
pub fn binary() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("parlance"))
}

impl Server {
    pub async fn start(settings: &Settings<'_>) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.arg("serve");
        Self::spawn(command, settings).await
    }

    /// With nothing in its environment but what is given here: its defaults are what is measured.
    pub async fn spawn(mut command: Command, settings: &Settings<'_>) -> Result<Self> {
        std::fs::create_dir(settings.directory)?;
        command
            .env_clear()
            // Elsewhere there could be a .env.
            .current_dir(settings.directory)
            .env("DATA_DIR", settings.directory.join("data"))
            .env("DATABASE_URL", settings.database_url)
            .env("MIGRATE_ON_START", "true")
            .env("LISTEN_ADDR", "127.0.0.1:0")
            .env("LOG_LEVEL", "warn")
            .env("DRAIN_DELAY", "0")
            .env("JWT_SECRET", JWT_SECRET)
            // No measurement is to outlive its tokens.
            .env("ACCESS_TOKEN_TTL", "86400")
            // All clients have one address.
            .env("LIMIT_ADDRESSES", "false")
            // Registering is not what is measured.
            .env("PASSWORD_MEMORY_KIB", "19456")
            .env("PASSWORD_PASSES", "2")
            .envs(settings.named.iter().map(|(name, value)| (name, value)))
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
        let complaints = tokio::spawn(collect(BufReader::new(stderr).lines()));
        let mut banner = BufReader::new(child.stdout.take().context("the server has no stdout")?).lines();
        let Ok(Some(address)) = timeout(START_TIMEOUT, address(&mut banner)).await.context("the server's start")?
        else {
            drop(child);
            bail!("the server did not start:\n{}", complaints.await?.join("\n"));
        };
        // Read on, or a later word of its would end it.
        let banner = tokio::spawn(async move { while let Ok(Some(_)) = banner.next_line().await {} });
        Ok(Self { child, address, complaints, _banner: banner })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// As an orchestrator would; returns what it has logged.
    pub async fn stop(mut self) -> Result<Vec<String>> {
        if let Some(pid) = self.child.id() {
            kill(Pid::from_raw(pid.try_into()?), Signal::SIGTERM)?;
        }
        let status = timeout(STOP_TIMEOUT, self.child.wait()).await.context("the server's end")??;
        let complaints = self.complaints.await?;
        ensure!(status.success(), "the server ended with {status}:\n{}", complaints.join("\n"));
        Ok(complaints)
    }
}

/// Where it listens, as its banner tells once it does.
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
