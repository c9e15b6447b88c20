//! The part of a WebSocket client (RFC 6455) that a listener needs. All sockets of a thread share one read buffer, so
//! that an idle connection needs no buffer.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Maximum size of a frame in bytes.
const BUFFER: usize = 64 * 1024;
const MAX_HEAD: usize = 8 * 1024;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

pub struct Socket {
    stream: TcpStream,
    /// Received bytes that were not handled yet, such as the beginning of a frame.
    begun: Vec<u8>,
}

struct Frame<'a> {
    opcode: u8,
    payload: &'a [u8],
    /// Size of the frame in bytes, including its header.
    length: usize,
}

impl Socket {
    pub async fn connect(address: SocketAddr, protocol: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        // A constant key is enough: the client does not check `Sec-WebSocket-Accept`.
        let request = format!(
            "GET /graphql HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(512);
        let end = loop {
            if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                break end + 4;
            }
            ensure!(answer.len() < MAX_HEAD, "the upgrade's answer does not end");
            ensure!(stream.read_buf(&mut answer).await? > 0, "the connection ended within the upgrade");
        };
        let head = String::from_utf8_lossy(&answer[..end]);
        ensure!(head.starts_with("HTTP/1.1 101"), "no upgrade: {}", head.trim_end());
        ensure!(head.contains(protocol), "the server does not speak {protocol}");
        Ok(Self { stream, begun: answer[end..].to_vec() })
    }

    pub async fn send(&mut self, text: &str) -> Result<()> {
        self.write(TEXT, text.as_bytes()).await
    }

    /// Waits for at least one message, and calls `message` for each complete message that has arrived. Answers pings of
    /// the WebSocket protocol.
    pub async fn receive(&mut self, mut message: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        // Complete frames may have arrived together with the response to the upgrade.
        let mut received = 0;
        let mut pings = Vec::new();
        if !self.begun.is_empty() {
            let begun = std::mem::take(&mut self.begun);
            let used = each(&begun, &mut received, &mut pings, &mut message)?;
            self.begun = begun[used..].to_vec();
        }
        while received == 0 {
            self.stream.readable().await?;
            SCRATCH.with_borrow_mut(|scratch| self.read(scratch, &mut received, &mut pings, &mut message))?;
            for ping in pings.drain(..) {
                self.write(PONG, &ping).await?;
            }
        }
        Ok(())
    }

    fn read(
        &mut self,
        scratch: &mut [u8],
        received: &mut usize,
        pings: &mut Vec<Vec<u8>>,
        message: &mut impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let kept = self.begun.len();
        ensure!(kept < scratch.len(), "a frame is longer than {BUFFER} bytes");
        scratch[..kept].copy_from_slice(&self.begun);
        let filled = match self.stream.try_read(&mut scratch[kept..]) {
            Ok(0) => bail!("the connection ended without a close"),
            Ok(count) => kept + count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let used = each(&scratch[..filled], received, pings, message)?;
        self.begun.clear();
        self.begun.extend_from_slice(&scratch[used..filled]);
        Ok(())
    }

    /// Writes a frame that is masked with zeros. Masks protect proxies from crafted payloads, and this connection uses
    /// no proxy.
    async fn write(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        let mut frame = vec![FINAL | opcode];
        match u16::try_from(payload.len()) {
            Ok(length @ 0..126) => frame.push(MASKED | length.to_be_bytes()[1]),
            Ok(length) => {
                frame.push(MASKED | 0x7e);
                frame.extend_from_slice(&length.to_be_bytes());
            }
            Err(_) => bail!("{} bytes are too many for one frame", payload.len()),
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        Ok(self.stream.write_all(&frame).await?)
    }
}

/// Calls `message` for the payload of each complete text frame, and returns the size of all complete frames in bytes.
fn each(
    bytes: &[u8],
    received: &mut usize,
    pings: &mut Vec<Vec<u8>>,
    message: &mut impl FnMut(&[u8]) -> Result<()>,
) -> Result<usize> {
    let mut used = 0;
    while let Some(frame) = Frame::read(&bytes[used..])? {
        used += frame.length;
        match frame.opcode {
            TEXT => {
                *received += 1;
                message(frame.payload)?;
            }
            PING => pings.push(frame.payload.to_vec()),
            PONG => {}
            CLOSE => {
                let (code, reason) = frame.payload.split_at_checked(2).unwrap_or_default();
                let code = code.iter().fold(0, |code: u16, &byte| code << 8 | u16::from(byte));
                bail!("the server closed with {code}: {}", String::from_utf8_lossy(reason));
            }
            other => bail!("a frame of opcode {other}"),
        }
    }
    Ok(used)
}

impl<'a> Frame<'a> {
    /// Parses a frame at the start of `bytes`. None if the frame is not complete.
    fn read(bytes: &'a [u8]) -> Result<Option<Self>> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        ensure!(first & FINAL != 0, "a fragment of a message");
        ensure!(second & MASKED == 0, "a masked frame from a server");
        let extra = match second {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let Some((length, rest)) = rest.split_at_checked(extra) else { return Ok(None) };
        let length = match extra {
            0 => u64::from(second),
            _ => length.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
        };
        let length = usize::try_from(length)?;
        let Some(payload) = rest.get(..length) else { return Ok(None) };
        Ok(Some(Self { opcode: first & 0x0f, payload, length: 2 + extra + length }))
    }
}

#[cfg(test)]
mod tests {
    use super::each;

    fn all(bytes: &[u8]) -> (Vec<String>, Vec<Vec<u8>>, Result<usize, String>) {
        let (mut messages, mut pings, mut received) = (Vec::new(), Vec::new(), 0);
        let used = each(bytes, &mut received, &mut pings, &mut |message| {
            messages.push(String::from_utf8_lossy(message).into_owned());
            Ok(())
        });
        assert!(used.is_err() || received == messages.len());
        (messages, pings, used.map_err(|error| error.to_string()))
    }

    #[test]
    fn complete_frames_are_parsed() {
        let mut bytes = b"\x81\x02hi\x89\x01p\x8a\x00\x81\x7e\x00\x80".to_vec();
        bytes.extend([b'x'; 128]);
        let complete = bytes.len();
        bytes.extend(b"\x81\x05unf");
        let (messages, pings, used) = all(&bytes);
        assert_eq!(messages, ["hi".to_owned(), "x".repeat(128)]);
        assert_eq!(pings, [b"p"]);
        assert_eq!(used, Ok(complete));
        for end in 0..4 {
            assert_eq!(all(&bytes[..end]).2, Ok(0));
        }
    }

    #[test]
    fn close_frames_and_unsupported_frames_are_errors() {
        for (bytes, words) in [
            (b"\x88\x06\x03\xf4gone".as_slice(), "closed with 1012: gone"),
            (b"\x01\x01a", "a fragment"),
            (b"\x81\x81\0\0\0\0a", "masked"),
            (b"\x82\x01a", "opcode 2"),
        ] {
            let error = all(bytes).2.unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
