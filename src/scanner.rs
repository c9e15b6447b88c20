//! Scans files for viruses with ClamAV's clamd. See INSTREAM in clamd(8).

use std::io;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// Maximum number of file bytes in one chunk that is sent to clamd.
const CHUNK: usize = 64 * 1024;
/// Maximum number of bytes of an answer of clamd: one line, which may contain the name of a virus.
const MAX_ANSWER: u64 = 4096;
/// Maximum time to connect to clamd, which runs on this machine or in the same network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The name that clamd reports for a file that exceeds one of clamd's limits, such as `MaxFileSize`, if clamd's setting
/// `AlertExceedsMax` is on.
const LIMITS_EXCEEDED: &str = "Heuristics.Limits.Exceeded";

/// A client of clamd.
#[derive(Clone, Debug)]
pub struct Scanner {
    address: Address,
    /// Maximum time for each write to clamd, and for its answer.
    timeout: Duration,
}

#[derive(Clone, Debug)]
enum Address {
    Tcp(String),
    Unix(String),
}

/// The result of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Clean,
    /// The file contains a virus. The value is the name of the virus in clamd's signatures.
    Infected(String),
}

/// Reason why a file could not be scanned. The file may be infected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("clamd is unavailable: {0}")]
    Unavailable(#[from] io::Error),
    #[error("the file exceeds StreamMaxLength, MaxFileSize or another limit of clamd")]
    TooLarge,
    #[error("clamd did not scan the file: {0}")]
    Refused(String),
}

impl Scanner {
    /// Creates a client. `address` is `host:port`, or the path of a Unix socket, which begins with a slash.
    pub fn new(address: &str, timeout: Duration) -> Self {
        let text = address.to_owned();
        let address = if address.starts_with('/') { Address::Unix(text) } else { Address::Tcp(text) };
        Self { address, timeout }
    }

    /// Scans the whole file from its beginning, whatever the current position in the file is.
    pub async fn scan(&self, file: &mut File) -> Result<Verdict, Error> {
        file.rewind().await?;
        match &self.address {
            Address::Tcp(address) => {
                let stream = with_timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await?;
                self.exchange(stream, file).await
            }
            Address::Unix(path) => {
                let stream = with_timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await?;
                self.exchange(stream, file).await
            }
        }
    }

    async fn exchange(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        file: &mut File,
    ) -> Result<Verdict, Error> {
        let sent = self.send(&mut stream, file).await;
        // If a file is too large, clamd answers and closes the connection while the file is being sent. The answer is
        // read even if sending failed, because it names the cause and the error of the write does not.
        let mut answer = Vec::new();
        let read = with_timeout(self.timeout, stream.take(MAX_ANSWER).read_to_end(&mut answer)).await;
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
        with_timeout(self.timeout, stream.write_all(b"zINSTREAM\0")).await?;
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = file.read(&mut chunk).await?;
            let length = u32::try_from(read).map_err(io::Error::other)?;
            with_timeout(self.timeout, stream.write_all(&length.to_be_bytes())).await?;
            // An empty chunk marks the end of the file.
            if read == 0 {
                return with_timeout(self.timeout, stream.flush()).await;
            }
            with_timeout(self.timeout, stream.write_all(&chunk[..read])).await?;
        }
    }
}

async fn with_timeout<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Parses an answer of clamd: `stream: OK`, `stream: NAME FOUND` or `… ERROR`. None if the answer is incomplete.
fn verdict(answer: &[u8]) -> Option<Result<Verdict, Error>> {
    let (line, _) = answer.split_at(answer.iter().position(|byte| *byte == 0)?);
    let line = String::from_utf8_lossy(line);
    let answer = line.strip_prefix("stream: ").unwrap_or(&line);
    Some(if answer == "OK" {
        Ok(Verdict::Clean)
    } else if let Some(name) = answer.strip_suffix(" FOUND") {
        // `LIMITS_EXCEEDED` is not the name of a virus: it means that clamd did not scan the whole file.
        if name.starts_with(LIMITS_EXCEEDED) { Err(Error::TooLarge) } else { Ok(Verdict::Infected(name.to_owned())) }
    } else if answer.contains("size limit exceeded") {
        Err(Error::TooLarge)
    } else {
        Err(Error::Refused(answer.to_owned()))
    })
}
