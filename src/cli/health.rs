//! `parlance health`: a health check for containers that have no curl.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(super) struct Health {
    /// Address and port of the server
    #[arg(long, env, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    listen_addr: SocketAddr,
}

impl Health {
    pub(super) fn check(&self) -> Result<()> {
        let mut stream = TcpStream::connect_timeout(&self.listen_addr, TIMEOUT)
            .with_context(|| format!("connecting to {}", self.listen_addr))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET /health/ready HTTP/1.0\r\nHost: {}\r\n\r\n", self.listen_addr)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("reading the answer")?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        println!("{}", body.trim());
        ensure!(head.split(' ').nth(1) == Some("200"), "the server is not ready");
        Ok(())
    }
}
