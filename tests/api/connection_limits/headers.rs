//! Connections without a request, or with an incomplete request.

use std::iter::repeat_with;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, sleep};

use super::raw::{Raw, UPGRADE, query};
use crate::support::{ALLOWANCE, Node, eventually, within};

const SECOND: Duration = Duration::from_secs(1);
/// Maximum time until a connection ends. Longer than all timeouts below, because the machine may be loaded.
const LATE: Duration = Duration::from_secs(8);

async fn node() -> Node {
    let flags =
        ["--request-header-timeout=1", "--keep-alive-timeout=2", "--http2-ping-interval=1", "--socket-init-timeout=3"];
    Node::build().flags(&flags).start_alone().await
}

fn single_bytes() -> impl Iterator<Item = Vec<u8>> {
    repeat_with(|| b"a".to_vec())
}

#[tokio::test]
async fn a_connection_without_a_complete_request_ends_after_the_header_timeout() {
    let node = node().await;
    let half = "POST /graphql HTTP/1.1\r\nhost: x\r\nx-padding: ";
    for beginning in ["", "P", "PR", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "G", half] {
        let begin = Instant::now();
        let mut raw = Raw::connect(node.address).await;
        raw.send(beginning).await;
        raw.ends().await;
        let after = begin.elapsed();
        assert!((SECOND / 2..LATE).contains(&after), "{beginning:?} ended after {after:?}");
    }
    let begin = Instant::now();
    let mut raw = Raw::connect(node.address).await;
    raw.send(half).await;
    raw.ends_while_sending(single_bytes()).await;
    let after = begin.elapsed();
    assert!((SECOND / 2..LATE).contains(&after), "dripped headers ended after {after:?}");
    assert!(node.metric("parlance_connections_timed_out_total").await >= 8);
}

#[tokio::test]
async fn an_idle_connection_ends_after_the_keep_alive_timeout() {
    // Much longer than the pauses of the client, also on a loaded machine.
    let flags = ["--request-header-timeout=1", "--keep-alive-timeout=5"];
    let node = Node::build().flags(&flags).start_alone().await;
    let mut raw = Raw::connect(node.address).await;
    for _ in 0..2 {
        raw.send(query()).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
        // Waits longer than the header timeout.
        sleep(SECOND * 3 / 2).await;
        let mut body = [0; 4096];
        assert!(raw.0.read(&mut body).await.unwrap() > 0);
    }
    let (after, rest) = raw.ends().await;
    assert!(after < LATE, "an idle connection ended after {after:?}");
    assert_eq!(rest, "");
}

#[tokio::test]
async fn the_header_timeout_applies_to_later_requests_of_a_connection() {
    let node = node().await;
    let mut raw = Raw::connect(node.address).await;
    raw.send(query()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    raw.send("POST /graphql HTTP/1.1\r\nx: ").await;
    let (after, _) = raw.ends_while_sending(single_bytes()).await;
    assert!(after < LATE, "dripped headers ended after {after:?}");
}

#[tokio::test]
async fn the_size_of_request_headers_is_limited() {
    let node = Node::build().flag("--max-header-bytes=8192").start_alone().await;
    for (padding, status) in [(4000, "200"), (20_000, "431")] {
        let mut raw = Raw::connect(node.address).await;
        let request = query().replacen("host: x", &format!("host: x\r\nx-padding: {}", "a".repeat(padding)), 1);
        let _ = raw.try_send(request).await;
        let head = raw.head().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{padding}: {head}");
    }
}

/// The upgrade request announces a body. The server waits for this body before the connection can become a WebSocket.
#[tokio::test]
async fn a_connection_with_an_incomplete_upgrade_request_ends() {
    let node = node().await;
    let mut raw = Raw::connect(node.address).await;
    raw.send(format!("{UPGRADE}content-length: 1000\r\n\r\n")).await;
    let (after, _) = raw.ends_while_sending(single_bytes()).await;
    assert!(after < LATE, "it ended after {after:?}");
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// A HEADERS frame with `GET /` for the host `x`, compressed as in RFC 7541.
const GET: [u8; 15] = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 0x01, b'x'];

/// Answers pings until the server ends the connection. Returns how long this took.
async fn http2_ends(mut raw: Raw) -> Duration {
    let begin = Instant::now();
    within(LATE, "the connection ends", async {
        loop {
            let mut head = [0; 9];
            if raw.0.read_exact(&mut head).await.is_err() {
                return begin.elapsed();
            }
            let mut payload = vec![0; usize::from(u16::from_be_bytes([head[1], head[2]]))];
            if raw.0.read_exact(&mut payload).await.is_err() {
                return begin.elapsed();
            }
            // A ping without the ACK flag.
            if head[3] == 6 && head[4] == 0 {
                head[4] = 1;
                let _ = raw.try_send([&head[..], &payload].concat()).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_http2_connection_without_requests_ends_after_a_timeout() {
    let node = node().await;
    let mut unused = Raw::connect(node.address).await;
    unused.send([PREFACE, &SETTINGS].concat()).await;
    let after = http2_ends(unused).await;
    assert!((SECOND / 2..LATE).contains(&after), "a connection without a request ended after {after:?}");

    let mut used = Raw::connect(node.address).await;
    used.send([PREFACE, &SETTINGS, &GET].concat()).await;
    let after = http2_ends(used).await;
    assert!((SECOND * 3 / 2..LATE).contains(&after), "an idle connection ended after {after:?}");
}

#[tokio::test]
async fn connections_without_a_request_end_within_a_second_after_the_drain_begins() {
    let node = Node::build().flag("--drain-delay=0").start_alone().await;
    let mut open = Vec::new();
    for beginning in [String::new(), "P".to_owned(), "GET / HT".to_owned(), query()] {
        let mut raw = Raw::connect(node.address).await;
        raw.send(beginning).await;
        open.push(raw);
    }
    let mut http2 = Raw::connect(node.address).await;
    http2.send([PREFACE, &SETTINGS, &GET].concat()).await;
    open[3].head().await;
    open.push(http2);
    // The connection of the request to `/metrics` counts too.
    let all = open.len() as u64 + 1;
    eventually("all connections are open", async || node.metric("parlance_connections_open").await >= all).await;
    node.stop();
    for (after, _) in join_all(open.into_iter().map(Raw::ends)).await {
        assert!(after < SECOND + ALLOWANCE, "a connection ended {after:?} after the drain began");
    }
    node.stopped().await;
}
