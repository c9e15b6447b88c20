//! An SMTP server that accepts each e-mail and drops it, so that the measured server sends its codes as in production.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running SMTP server. It stops when this value is dropped.
pub(super) struct MailServer {
    address: SocketAddr,
    accepted: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl MailServer {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
        let address = listener.local_addr()?;
        let accepted = Arc::new(AtomicU64::new(0));
        let task = tokio::spawn(listen(listener, Arc::clone(&accepted)));
        Ok(Self { address, accepted, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of e-mails that were accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(listener: TcpListener, accepted: Arc<AtomicU64>) {
    while let Ok((stream, _)) = listener.accept().await {
        let accepted = Arc::clone(&accepted);
        tokio::spawn(async move {
            // An error means that the client has disconnected.
            let _ = answer(stream, &accepted).await;
        });
    }
}

/// Answers the commands of one connection (RFC 5321).
async fn answer(stream: TcpStream, accepted: &AtomicU64) -> Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut lines = BufReader::new(reader).lines();
    writer.write_all(b"220 localhost\r\n").await?;
    while let Some(command) = lines.next_line().await? {
        match command.as_str() {
            "DATA" => {
                writer.write_all(b"354 send the e-mail\r\n").await?;
                while lines.next_line().await?.is_some_and(|line| line != ".") {}
                accepted.fetch_add(1, Ordering::Relaxed);
                writer.write_all(b"250 OK\r\n").await?;
            }
            "QUIT" => {
                writer.write_all(b"221 goodbye\r\n").await?;
                return Ok(());
            }
            _ => writer.write_all(b"250 OK\r\n").await?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::MailServer;

    #[tokio::test]
    async fn an_email_is_accepted_and_counted() {
        let server = MailServer::start().await.unwrap();
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let commands = "EHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nSubject: c\r\n\r\n\
                        A body.\r\n.\r\nQUIT\r\n";
        stream.write_all(commands.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        let codes: Vec<_> = answers.lines().map(|line| &line[..3]).collect();
        assert_eq!(codes, ["220", "250", "250", "250", "354", "250", "221"]);
        assert_eq!(server.accepted(), 1);
    }
}
