//! Clients that do not read responses, or read them slowly.

use std::time::Duration;

use serde_json::json;
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::raw::{Raw, post_head};
use crate::support::{Node, within};

const SECOND: Duration = Duration::from_secs(1);
const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum time until a slow client is disconnected. Longer than the timeout, because the machine may be loaded.
const LATE: Duration = Duration::from_secs(12);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// Returns a frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns the body of a request whose response has more than 500 KB.
fn question() -> String {
    let types = "__schema { types { name description fields { name description type { name } } } }";
    let query = ["a", "b", "c", "d", "e", "f"].map(|alias| format!("{alias}: {types}")).join(" ");
    json!({"query": format!("{{ {query} }}")}).to_string()
}

/// Sends the request over HTTP/2. The initial window of 0 bytes does not allow the server to send the response body.
async fn ask(node: &Node) -> Raw {
    // The indexes of header names come from the static table of RFC 7541, appendix A.
    let headers = [&[0x83, 0x86, 0x44, 8], &b"/graphql"[..], &[0x41, 1, b'x', 0x5f, 16], b"application/json"].concat();
    let mut raw = Raw::connect(node.address).await;
    let frames = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        // SETTINGS_INITIAL_WINDOW_SIZE (4) is 0.
        frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
        frame(HEADERS, END_HEADERS, 1, &headers),
        frame(DATA, END_STREAM, 1, question().as_bytes()),
    ];
    raw.send(frames.concat()).await;
    raw
}

struct Read {
    bytes: usize,
    whole: bool,
    took: Duration,
}

/// Reads a response, and increases the window by `step` bytes every half second. Answers pings.
async fn read(raw: Raw, step: u32) -> Read {
    let begin = Instant::now();
    let (mut reading, writing) = raw.0.into_split();
    let mut room = interval(SECOND / 2);
    room.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (sender, mut pongs) = tokio::sync::mpsc::unbounded_channel();
    let writer = tokio::spawn(async move {
        let more = [frame(WINDOW_UPDATE, 0, 0, &step.to_be_bytes()), frame(WINDOW_UPDATE, 0, 1, &step.to_be_bytes())];
        loop {
            let bytes = tokio::select! {
                _ = room.tick(), if step > 0 => more.concat(),
                Some(pong) = pongs.recv() => pong,
                else => return,
            };
            let mut sent = 0;
            while sent < bytes.len() {
                if writing.writable().await.is_err() {
                    return;
                }
                sent += writing.try_write(&bytes[sent..]).unwrap_or_default();
            }
        }
    });
    let (mut bytes, mut whole) = (0, false);
    let reading = async {
        while !whole {
            let mut head = [0; 9];
            if reading.read_exact(&mut head).await.is_err() {
                break;
            }
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            if reading.read_exact(&mut payload).await.is_err() {
                break;
            }
            match head[3] {
                DATA => {
                    bytes += payload.len();
                    whole = head[4] & END_STREAM != 0;
                }
                PING if head[4] & ACK == 0 => {
                    let _ = sender.send(frame(PING, ACK, 0, &payload));
                }
                _ => {}
            }
        }
    };
    within(LATE, "the answer or the connection ends", reading).await;
    writer.abort();
    Read { bytes, whole, took: begin.elapsed() }
}

async fn node(write_timeout: Duration) -> Node {
    let write_timeout = format!("--socket-write-timeout={}", write_timeout.as_secs());
    Node::build().flag(&write_timeout).flag("--http2-ping-interval=1").start_alone().await
}

#[tokio::test]
async fn a_client_that_opens_no_http2_window_is_disconnected() {
    let node = node(WRITE_TIMEOUT).await;
    let read = read(ask(&node).await, 0).await;
    assert_eq!(read.bytes, 0);
    assert!((WRITE_TIMEOUT / 2..LATE).contains(&read.took), "it ended after {:?}", read.took);
    assert!(node.metric("parlance_connections_timed_out_total").await >= 1);
}

#[tokio::test]
async fn an_http2_client_that_reads_byte_by_byte_is_disconnected() {
    let node = node(WRITE_TIMEOUT).await;
    let read = read(ask(&node).await, 1).await;
    assert!(!read.whole);
    assert!((WRITE_TIMEOUT / 2..LATE).contains(&read.took), "it ended after {:?}", read.took);
}

#[tokio::test]
async fn a_response_that_is_read_slowly_arrives_completely() {
    // Much longer than the pauses of the client, also on a loaded machine, but shorter than the whole response.
    let write_timeout = WRITE_TIMEOUT * 2;
    let node = node(write_timeout).await;
    let read = read(ask(&node).await, 48 * 1024).await;
    assert!(read.whole, "it ended after {:?} and {} bytes", read.took, read.bytes);
    assert!(read.took > write_timeout, "{} bytes are too few: {:?}", read.bytes, read.took);
}

/// The kernel acknowledges every byte that the client reads. Only the buffer of hyper, which empties slowly, shows that
/// the client is slow.
#[tokio::test]
async fn an_http1_client_that_reads_byte_by_byte_is_disconnected() {
    let node = node(WRITE_TIMEOUT).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    // Small segments keep the server's send buffer in the kernel small, so the buffer holds only a part of the
    // response.
    SockRef::from(&socket).set_tcp_mss(536).unwrap();
    let mut raw = Raw(socket.connect(node.address).await.unwrap());
    raw.send(post_head(question().len()) + &question()).await;
    let begin = Instant::now();
    let timed_out = async || node.metric("parlance_connections_timed_out_total").await >= 1;
    let reading = async {
        while !timed_out().await {
            let _ = raw.0.read_u8().await;
            sleep(SECOND / 5).await;
        }
    };
    within(LATE, "the connection times out", reading).await;
    assert!(begin.elapsed() > WRITE_TIMEOUT / 2, "it ended after {:?}", begin.elapsed());
}
