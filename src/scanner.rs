//! ClamAV's clamd, which looks through a file for what harms its receiver. See clamd(8), INSTREAM.

use std::io;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// Bytes sent at a time.
const CHUNK: usize = 64 * 1024;
/// Bytes of an answer, which is one line with the name of what was found.
const MAX_ANSWER: u64 = 4096;
/// For a daemon that runs on this machine, or near it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What clamd's `AlertExceedsMax` calls a file that goes beyond one of its limits, such as `MaxFileSize`.
const BEYOND_LIMITS: &str = "Heuristics.Limits.Exceeded";

/// The way to a clamd.
#[derive(Clone, Debug)]
pub struct Scanner {
    address: Address,
    /// How long clamd may be silent.
    timeout: Duration,
}

#[derive(Clone, Debug)]
enum Address {
    Tcp(String),
    Unix(String),
}

/// What clamd says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Clean,
    /// With the name that its signature has.
    Infected(String),
}

/// Why there is no verdict. None of these means that a file is clean.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("clamd is away: {0}")]
    Away(#[from] io::Error),
    #[error("the file goes beyond clamd's StreamMaxLength, MaxFileSize or another of its limits")]
    TooLarge,
    #[error("clamd answers: {0}")]
    Refused(String),
}

impl Scanner {
    /// At `host:port`, or at a Unix socket where the address begins with a slash.
    pub fn new(address: &str, timeout: Duration) -> Self {
        let text = address.to_owned();
        let address = if address.starts_with('/') { Address::Unix(text) } else { Address::Tcp(text) };
        Self { address, timeout }
    }

    /// Looks through the whole file, wherever it stands.
    pub async fn scan(&self, file: &mut File) -> Result<Verdict, Error> {
        file.rewind().await?;
        match &self.address {
            Address::Tcp(address) => {
                let stream = within(CONNECT_TIMEOUT, TcpStream::connect(address)).await?;
                self.converse(stream, file).await
            }
            Address::Unix(path) => {
                let stream = within(CONNECT_TIMEOUT, UnixStream::connect(path)).await?;
                self.converse(stream, file).await
            }
        }
    }

    async fn converse(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        file: &mut File,
    ) -> Result<Verdict, Error> {
        let sent = self.send(&mut stream, file).await;
        // clamd closes on a file that is too large, and says so before: what it said is worth more than the broken pipe.
        let mut answer = Vec::new();
        let read = within(self.timeout, stream.take(MAX_ANSWER).read_to_end(&mut answer)).await;
        match verdict(&answer) {
            Some(Ok(verdict)) => sent.map(|()| verdict).map_err(Error::from),
            Some(Err(error)) => Err(error),
            None => {
                sent?;
                read?;
                Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
            }
        }
    }

    async fn send(&self, stream: &mut (impl AsyncWrite + Unpin), file: &mut File) -> io::Result<()> {
        within(self.timeout, stream.write_all(b"zINSTREAM\0")).await?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = file.read(&mut chunk).await?;
            let length = u32::try_from(read).map_err(io::Error::other)?;
            within(self.timeout, stream.write_all(&length.to_be_bytes())).await?;
            // A chunk of no bytes is the end.
            if read == 0 {
                return within(self.timeout, stream.flush()).await;
            }
            within(self.timeout, stream.write_all(&chunk[..read])).await?;
        }
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// `stream: OK`, `stream: NAME FOUND` or `… ERROR`; none where the answer broke off.
fn verdict(answer: &[u8]) -> Option<Result<Verdict, Error>> {
    let (line, _) = answer.split_at(answer.iter().position(|byte| *byte == 0)?);
    let line = String::from_utf8_lossy(line);
    let said = line.strip_prefix("stream: ").unwrap_or(&line);
    Some(if said == "OK" {
        Ok(Verdict::Clean)
    } else if let Some(name) = said.strip_suffix(" FOUND") {
        // Nothing was found: it was not looked through.
        if name.starts_with(BEYOND_LIMITS) { Err(Error::TooLarge) } else { Ok(Verdict::Infected(name.to_owned())) }
    } else if said.contains("size limit exceeded") {
        Err(Error::TooLarge)
    } else {
        Err(Error::Refused(said.to_owned()))
    })
}
