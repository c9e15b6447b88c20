//! Clients that send raw bytes. Tests use them to break a protocol, which libraries do not allow.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{PATIENCE, within};

/// The head of a WebSocket upgrade request, without the empty line at its end.
pub const UPGRADE: &str = "GET /graphql HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    sec-websocket-protocol: graphql-transport-ws\r\n";

pub const FIN: u8 = 0x80;
pub const TEXT: u8 = 0x1;
pub const CONTINUATION: u8 = 0x0;
pub const PONG: u8 = 0xa;

/// A TCP connection to a server.
pub struct Raw(pub TcpStream);

impl Raw {
    pub async fn connect(server: SocketAddr) -> Self {
        Self(TcpStream::connect(server).await.unwrap())
    }

    /// Connects from 127.0.0.`host`. Every address in 127.0.0.0/8 belongs to this machine.
    pub async fn from(host: u8, server: SocketAddr) -> Self {
        Self::try_from(host, server).await.unwrap()
    }

    pub async fn try_from(host: u8, server: SocketAddr) -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 0, host], 0)))?;
        socket.connect(server).await.map(Self)
    }

    /// Connects and upgrades to a WebSocket. Sends no message.
    pub async fn socket(host: u8, server: SocketAddr) -> Self {
        let mut raw = Self::from(host, server).await;
        raw.send(format!("{UPGRADE}\r\n")).await;
        let head = raw.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        raw
    }

    /// Opens a WebSocket, sends `connection_init` and waits for `connection_ack`. Without a token the socket is
    /// anonymous.
    pub async fn open_socket(host: u8, server: SocketAddr, token: Option<&str>) -> Self {
        let mut raw = Self::socket(host, server).await;
        let payload = token.map(|token| format!(r#","payload":{{"Authorization":"Bearer {token}"}}"#));
        let init = format!(r#"{{"type":"connection_init"{}}}"#, payload.unwrap_or_default());
        raw.send(frame(FIN | TEXT, init.as_bytes())).await;
        assert_eq!(raw.message().await.unwrap(), r#"{"type":"connection_ack"}"#);
        raw
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Sends the bytes. Returns false if the connection is closed.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Reads a response up to the end of its headers.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        within(PATIENCE, "the headers of an answer", async {
            while !head.ends_with(b"\r\n\r\n") {
                match self.0.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
        })
        .await;
        String::from_utf8(head).unwrap()
    }

    /// Reads to the end of the connection, and returns the received text.
    pub async fn rest(&mut self) -> String {
        let mut text = Vec::new();
        // A reset also ends the connection, so the error is ignored.
        let _ = within(PATIENCE, "the end of the connection", self.0.read_to_end(&mut text)).await;
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Sends an item of `bytes` every 100 ms until the server ends the connection. Returns how long this took, and the
    /// received text.
    pub async fn ends_while_sending(mut self, mut bytes: impl Iterator<Item = Vec<u8>>) -> (Duration, String) {
        let begin = Instant::now();
        let mut text = Vec::new();
        while begin.elapsed() < PATIENCE {
            let mut buffer = [0; 4096];
            match timeout(Duration::from_millis(100), self.0.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return (begin.elapsed(), String::from_utf8_lossy(&text).into_owned()),
                Ok(Ok(read)) => text.extend_from_slice(&buffer[..read]),
                Err(_) => {
                    if let Some(bytes) = bytes.next() {
                        // If the connection has ended, the next read returns an error.
                        let _ = self.try_send(bytes).await;
                    }
                }
            }
        }
        panic!("the connection is still open and sent {:?}", String::from_utf8_lossy(&text));
    }

    pub async fn ends(self) -> (Duration, String) {
        self.ends_while_sending(std::iter::empty()).await
    }

    /// Waits for the next message of the WebSocket. Returns its close code as an error. Answers pings of the server.
    pub async fn message(&mut self) -> Result<String, u16> {
        within(PATIENCE, "a message on the socket", self.frames()).await
    }

    async fn frames(&mut self) -> Result<String, u16> {
        loop {
            let Ok(first) = self.0.read_u8().await else { return Err(0) };
            let length = match self.0.read_u8().await.unwrap() {
                126 => usize::from(self.0.read_u16().await.unwrap()),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.unwrap();
            match first & 0xf {
                8 => return Err(u16::from_be_bytes([payload[0], payload[1]])),
                _ if payload == br#"{"type":"ping"}"# => {
                    let _ = self.try_send(frame(FIN | TEXT, br#"{"type":"pong"}"#)).await;
                }
                _ => return Ok(String::from_utf8(payload).unwrap()),
            }
        }
    }

    /// Sends an item of `bytes` every 100 ms until the server closes the socket. Returns the close code, and how long
    /// this took.
    pub async fn closes_while_sending(self, mut bytes: impl Iterator<Item = Vec<u8>>) -> (u16, Duration) {
        let begin = Instant::now();
        let (read, mut write) = self.0.into_split();
        let writing = async {
            loop {
                sleep(Duration::from_millis(100)).await;
                match bytes.next() {
                    Some(bytes) => {
                        let _ = write.write_all(&bytes).await;
                    }
                    None => std::future::pending().await,
                }
            }
        };
        let mut read = read;
        let reading = async {
            loop {
                let first = read.read_u8().await.expect("a close before the end");
                let length = usize::from(read.read_u8().await.unwrap());
                let mut payload = vec![0; length];
                read.read_exact(&mut payload).await.unwrap();
                if first & 0xf == 8 {
                    return u16::from_be_bytes([payload[0], payload[1]]);
                }
            }
        };
        let code = tokio::select! {
            code = within(PATIENCE, "the close of the socket", reading) => code,
            () = writing => unreachable!(),
        };
        (code, begin.elapsed())
    }
}

/// Returns a WebSocket frame of a client (RFC 6455, section 5.2). `first` is the first header byte; the mask is zeros.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match u16::try_from(payload.len()).unwrap() {
        short @ 0..126 => bytes.push(0x80 | u8::try_from(short).unwrap()),
        long => {
            bytes.push(0xfe);
            bytes.extend(long.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// Returns the head of a POST request to /graphql with a body of `length` bytes.
pub fn post_head(length: usize) -> String {
    format!("POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n")
}

/// Returns a complete request that keeps the connection open.
pub fn query() -> String {
    let body = r#"{"query":"{ serverInfo { version } }"}"#;
    post_head(body.len()) + body
}
