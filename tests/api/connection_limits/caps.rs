//! Limits on the number of connections per address and per node.

use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::raw::{Raw, UPGRADE, query};
use crate::support::{Node, eventually, eventually_some};

/// Returns whether the server accepts a new connection from this address and answers a request on it with 200.
async fn is_served(host: u8, node: &Node) -> bool {
    let Ok(mut raw) = Raw::try_from(host, node.address).await else { return false };
    raw.try_send(query()).await && raw.head().await.starts_with("HTTP/1.1 200 ")
}

/// Opens `count` connections, and waits until the server has answered a request on each of them.
async fn open(count: usize, host: u8, node: &Node) -> Vec<Raw> {
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut raw = Raw::from(host, node.address).await;
        raw.send(query()).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
        connections.push(raw);
    }
    connections
}

#[tokio::test]
async fn connections_per_address_are_limited() {
    // The header timeout is longer than `rest` waits, so that it does not close the connection.
    let flags = ["--max-connections-per-address=5", "--request-header-timeout=60"];
    let node = Node::build().flags(&flags).limited().start_alone().await;
    let mut connections = open(5, 2, &node).await;
    let answer = Raw::from(2, node.address).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 429 ") && answer.contains("retry-after: 1"), "{answer}");
    assert!(is_served(3, &node).await, "another address");
    assert_eq!(node.metric("parlance_connections_refused_total{limit=\"MAX_CONNECTIONS_PER_ADDRESS\"}").await, 1);

    connections.pop();
    eventually("a closed connection makes room", async || is_served(2, &node).await).await;
    // An open WebSocket counts as a connection. It finds room when the connection before it has ended.
    let socket = eventually_some("a socket finds room", async || {
        let mut socket = Raw::from(2, node.address).await;
        let sent = socket.try_send(format!("{UPGRADE}\r\n")).await;
        (sent && socket.head().await.starts_with("HTTP/1.1 101 ")).then_some(socket)
    })
    .await;
    assert!(!is_served(2, &node).await);
    drop(socket);
    eventually("a closed socket makes room", async || is_served(2, &node).await).await;
}

#[tokio::test]
async fn connections_per_node_are_limited() {
    let node = Node::build().flag("--max-connections=10").start_alone().await;
    let mut connections = open(10, 2, &node).await;
    for host in [2, 3] {
        let answer = Raw::from(host, node.address).await.rest().await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1"), "{answer}");
    }
    let first = &mut connections[0];
    let mut body = [0; 4096];
    assert!(first.0.read(&mut body).await.unwrap() > 0);
    first.send(query()).await;
    assert!(first.head().await.starts_with("HTTP/1.1 200 "), "an open connection is served");
    connections.truncate(8);
    eventually("closed connections make room", async || is_served(3, &node).await).await;
}

#[tokio::test]
async fn connections_through_a_trusted_proxy_count_for_the_client_address() {
    let flags = ["--max-connections-per-address=2", "--trusted-proxies=127.0.0.2"];
    let node = Node::build().flags(&flags).limited().start_alone().await;
    let forwarded = |client: &str| format!("{UPGRADE}x-forwarded-for: {client}\r\n\r\n");
    // The number of connections from the proxy itself is not limited.
    let idle = open(5, 2, &node).await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = Raw::from(2, node.address).await;
        socket.send(forwarded("2001:db8::1")).await;
        assert!(socket.head().await.starts_with("HTTP/1.1 101 "));
        sockets.push(socket);
    }
    // A request from the same IPv6 network exceeds the limit.
    let mut third = Raw::from(2, node.address).await;
    third.send(query().replacen("host: x", "host: x\r\nx-forwarded-for: [2001:db8::2]:4711", 1)).await;
    assert!(third.head().await.starts_with("HTTP/1.1 429 "));
    let mut body = [0; 4096];
    let read = third.0.read(&mut body).await.unwrap();
    let answer: Value = serde_json::from_slice(&body[..read]).unwrap();
    let extensions = &answer["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "RATE_LIMITED", "{answer}");
    assert_eq!(extensions["limit"], "MAX_CONNECTIONS_PER_ADDRESS", "{answer}");

    let mut other = Raw::from(2, node.address).await;
    other.send(forwarded("2001:db8:0:1::1")).await;
    assert!(other.head().await.starts_with("HTTP/1.1 101 "));
    // The forwarded address of a client that is not a trusted proxy is ignored.
    let direct = open(2, 3, &node).await;
    let mut claiming = Raw::from(3, node.address).await;
    let _ = claiming.try_send(forwarded("198.51.100.7")).await;
    assert!(claiming.head().await.starts_with("HTTP/1.1 429 "));
    drop((idle, sockets, other, direct));
}
