//! Uploads and downloads files of any size with signed URLs, chunk by chunk.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Maximum number of bytes that are written or read at once.
const PIECE: usize = 64 * 1024;
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Timeout of one read or write.
const IO_TIMEOUT: Duration = Duration::from_mins(1);

/// Uploads `bytes` bytes that cannot be compressed. Every upload sends the same bytes.
pub async fn put(url: &str, headers: &[(String, String)], bytes: u64) -> Result<()> {
    let (mut stream, host, path) = connect(url).await?;
    let mut head = format!("PUT {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    for (name, value) in headers.iter().filter(|(name, _)| name != "host" && name != "content-length") {
        // Writing to a string does not fail.
        let _ = write!(head, "{name}: {value}\r\n");
    }
    let _ = write!(head, "content-length: {bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let piece = random_bytes();
    let mut left = bytes;
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        timeout(IO_TIMEOUT, stream.write_all(&piece[..length]))
            .await
            .map_err(|_| anyhow!("{host} takes no more"))??;
        left -= length as u64;
    }
    answer(&mut stream).await.map(|_| ())
}

/// Downloads a file and returns its size in bytes.
pub async fn get(url: &str) -> Result<u64> {
    let (mut stream, host, path) = connect(url).await?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut bytes = answer(&mut stream).await?;
    let mut piece = vec![0; PIECE];
    loop {
        let read =
            timeout(IO_TIMEOUT, stream.read(&mut piece)).await.map_err(|_| anyhow!("{host} sends no more"))??;
        if read == 0 {
            return Ok(bytes);
        }
        bytes += read as u64;
    }
}

async fn connect(url: &str) -> Result<(TcpStream, &str, &str)> {
    let rest = url.strip_prefix("http://").with_context(|| format!("not a URL for plain HTTP: {url}"))?;
    let (host, _) = rest.split_once('/').context("an address without a path")?;
    let stream = TcpStream::connect(host).await.with_context(|| format!("connecting to {host}"))?;
    Ok((stream, host, &rest[host.len()..]))
}

/// Reads the head of a response. Returns the number of bytes of the body that were read together with the head. Fails
/// if the status is not 200.
async fn answer(stream: &mut TcpStream) -> Result<u64> {
    let mut read = Vec::with_capacity(1024);
    loop {
        if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
            if read.starts_with(b"HTTP/1.1 200 ") {
                return Ok((read.len() - end - 4) as u64);
            }
            bail!("{}", String::from_utf8_lossy(&read));
        }
        ensure!(read.len() < MAX_HEAD_BYTES, "an answer whose head does not end");
        let more = timeout(IO_TIMEOUT, stream.read_buf(&mut read)).await.map_err(|_| anyhow!("no answer"))??;
        ensure!(more > 0, "the connection ended before the answer");
    }
}

/// Generates `PIECE` pseudo-random bytes with Marsaglia's xorshift.
fn random_bytes() -> Vec<u8> {
    let mut state: u32 = 2_463_534_242;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    };
    (0..PIECE / 4).flat_map(|_| next()).collect()
}
