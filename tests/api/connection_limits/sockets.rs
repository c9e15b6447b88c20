//! Limits on WebSockets with incomplete messages, and on anonymous WebSockets.

use std::iter::repeat_with;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use super::raw::{CONTINUATION, FIN, PONG, Raw, TEXT, UPGRADE, frame};
use crate::support::{Node, eventually};

const SECOND: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(8);
/// Pause of a client that must not exceed a timeout of four seconds. Five pauses together are longer than the timeout.
const PAUSE: Duration = Duration::from_millis(900);

/// The byte sequences that a slow sender sends one after another.
type Drip = Box<dyn Iterator<Item = Vec<u8>> + Send>;

#[tokio::test]
async fn an_incomplete_message_closes_its_socket_after_the_message_timeout() {
    let node = Node::build().flag("--socket-message-timeout=1").flag("--socket-ping-interval=1").start_alone().await;
    let ada = node.register("ada").await;
    let pongs = || repeat_with(|| [frame(FIN | PONG, b""), frame(CONTINUATION, b" "), frame(FIN | PONG, b"")].concat());
    let bytes = || repeat_with(|| b" ".to_vec());
    let fragment = frame(TEXT, b"{");
    let announced = frame(FIN | TEXT, &[b' '; 1000])[..10].to_vec();
    let attacks: [(&str, Vec<u8>, Drip); 4] = [
        ("a frame of which one byte is sent", vec![FIN | TEXT], Box::new(std::iter::empty())),
        ("a frame that drips", announced, Box::new(bytes())),
        ("fragments with pongs between them", fragment.clone(), Box::new(pongs())),
        // The server reads the message and the fragment at once.
        (
            "a fragment behind a whole message",
            [frame(FIN | TEXT, br#"{"type":"pong"}"#), fragment].concat(),
            Box::new(repeat_with(|| frame(FIN | PONG, b""))),
        ),
    ];
    for (name, beginning, rest) in attacks {
        let mut socket = Raw::open_socket(1, node.address, Some(&ada.access_token)).await;
        socket.send(beginning).await;
        let (code, after) = socket.closes_while_sending(rest).await;
        assert_eq!(code, 4412, "{name}");
        assert!((SECOND / 2..LATE).contains(&after), "{name}: closed after {after:?}");
    }
}

#[tokio::test]
async fn the_message_timeout_applies_to_frames_sent_with_the_handshake() {
    let node = Node::build().flag("--socket-message-timeout=1").flag("--socket-init-timeout=30").start_alone().await;
    let mut raw = Raw::connect(node.address).await;
    raw.send([format!("{UPGRADE}\r\n").as_bytes(), &[FIN | TEXT]].concat()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    let (code, after) = raw.closes_while_sending(std::iter::empty()).await;
    assert_eq!(code, 4412);
    assert!(after < LATE, "closed after {after:?}");
}

#[tokio::test]
async fn a_long_message_in_fragments_arrives() {
    let node = Node::build().flag("--socket-message-timeout=4").start_alone().await;
    let mut socket = Raw::open_socket(1, node.address, None).await;
    let text = json!({"id": "1", "type": "subscribe", "payload": {
        "query": "{ serverInfo { version } }", "variables": {"padding": "x".repeat(20_000)},
    }})
    .to_string();
    for _ in 0..5 {
        let (first, rest) = text.as_bytes().split_at(9000);
        socket.send(frame(TEXT, first)).await;
        // The fragments of all messages together take longer than the message timeout.
        sleep(PAUSE).await;
        socket.send([frame(FIN | PONG, b"x"), frame(FIN | CONTINUATION, rest)].concat()).await;
        assert!(socket.message().await.unwrap().contains("version"));
        assert!(socket.message().await.unwrap().contains("complete"));
    }
}

#[tokio::test]
async fn unfinished_messages_are_limited_in_bytes_per_address() {
    let node = Node::build().flag("--max-unfinished-bytes-per-address=65536").limited().start_alone().await;
    let ada = node.register("ada").await;
    let mut first = Raw::open_socket(2, node.address, Some(&ada.access_token)).await;
    first.send(frame(TEXT, &vec![b' '; 60_000])).await;
    let unfinished = async || node.metric("parlance_unfinished_bytes").await;
    eventually("the first message is read", async || unfinished().await > 0).await;
    let held = unfinished().await;
    let mut second = Raw::open_socket(2, node.address, Some(&ada.access_token)).await;
    second.send(frame(TEXT, &[b' '; 10_000])).await;
    assert_eq!(second.message().await, Err(1013));
    let mut other = Raw::open_socket(3, node.address, Some(&ada.access_token)).await;
    other.send(frame(TEXT, b"{\"id\": \"1\", \"type\": \"subscribe\", ")).await;
    eventually("the fragment is read", async || unfinished().await > held).await;
    other.send(frame(FIN | CONTINUATION, br#""payload": {"query": "{ serverInfo { version } }"}}"#)).await;
    assert!(other.message().await.unwrap().contains("version"));
}

fn subscribe(id: &str) -> Vec<u8> {
    let message = json!({"id": id, "type": "subscribe", "payload": {"query": "{ serverInfo { version } }"}});
    frame(FIN | TEXT, message.to_string().as_bytes())
}

#[tokio::test]
async fn an_anonymous_socket_without_operations_is_closed() {
    let node = Node::build().flag("--socket-anonymous-timeout=1").start_alone().await;
    let ada = node.register("ada").await;
    let mut signed_in = Raw::open_socket(1, node.address, Some(&ada.access_token)).await;
    let silent = Raw::open_socket(1, node.address, None).await;
    let (code, after) = silent.closes_while_sending(std::iter::empty()).await;
    assert_eq!(code, 4411);
    assert!((SECOND / 2..LATE).contains(&after), "closed after {after:?}");

    let mut pinging = Raw::open_socket(1, node.address, None).await;
    let begin = Instant::now();
    let code = loop {
        let _ = pinging.try_send(frame(FIN | TEXT, br#"{"type":"ping"}"#)).await;
        match pinging.message().await {
            Ok(pong) => assert_eq!(pong, r#"{"type":"pong"}"#),
            Err(code) => break code,
        }
        assert!(begin.elapsed() < LATE, "pings keep a socket open");
        sleep(SECOND / 10).await;
    };
    assert_eq!(code, 4411);
    signed_in.send(subscribe("1")).await;
    assert!(signed_in.message().await.unwrap().contains("version"));
}

#[tokio::test]
async fn an_anonymous_socket_with_operations_stays_open() {
    let node = Node::build().flag("--socket-anonymous-timeout=4").start_alone().await;
    let mut busy = Raw::open_socket(1, node.address, None).await;
    for id in ["1", "2", "3", "4", "5", "6"] {
        busy.send(subscribe(id)).await;
        assert!(busy.message().await.unwrap().contains("version"));
        assert!(busy.message().await.unwrap().contains("complete"));
        // At the last operation, the anonymous timeout since the start of the socket has passed.
        sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn anonymous_sockets_per_address_are_limited() {
    let flags = ["--socket-max-anonymous-per-address=2", "--socket-init-timeout=60"];
    let node = Node::build().flags(&flags).limited().start_alone().await;
    let ada = node.register("ada").await;
    let open = Raw::open_socket(2, node.address, None).await;
    for _ in 0..5 {
        // A socket is anonymous until its user signs in.
        drop(Raw::open_socket(2, node.address, Some(&ada.access_token)).await);
    }
    let silent = Raw::socket(2, node.address).await;
    let mut third = Raw::from(2, node.address).await;
    third.send(format!("{UPGRADE}\r\n")).await;
    let head = third.head().await;
    assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("retry-after: 1"), "{head}");
    drop(Raw::open_socket(3, node.address, None).await);
    drop((open, silent));
    let refused = "parlance_connections_refused_total{limit=\"SOCKET_MAX_ANONYMOUS_PER_ADDRESS\"}";
    assert_eq!(node.metric(refused).await, 1);
}

#[tokio::test]
async fn large_messages_count_against_the_request_rate_of_the_client_address() {
    let node = Node::build().flag("--rate-requests=6/1h").limited().start_alone().await;
    let mut socket = Raw::open_socket(2, node.address, None).await;
    let ping = json!({"type": "ping", "payload": {"padding": "x".repeat(20_000)}}).to_string();
    let mut answered = 0;
    let code = loop {
        socket.send(frame(FIN | TEXT, ping.as_bytes())).await;
        match socket.message().await {
            Ok(answer) => assert!(answer.contains("pong"), "{answer}"),
            Err(code) => break code,
        }
        answered += 1;
        assert!(answered < 10, "large pings are answered without end");
    };
    assert_eq!(code, 1013);
    assert!(answered > 0);
    // Another address has a separate rate limit.
    let mut other = Raw::open_socket(3, node.address, None).await;
    other.send(frame(FIN | TEXT, ping.as_bytes())).await;
    assert!(other.message().await.unwrap().contains("pong"));
}
