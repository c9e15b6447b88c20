//! Streams and the pool of Postgres connections: no stream holds a connection while it waits for other work.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Node, PATIENCE, Socket, User, within};

/// A subscription whose renderings query Postgres, because `viewerMembership` depends on the viewer.
const UNREAD: &str = "subscription ($after: String) { inbox(after: $after) {
    __typename ... on MessageAdded { message { number conversation { viewerMembership { unreadCount } } } }
} }";

async fn resumed(user: &User, cursor: Option<&str>) -> Socket {
    let mut socket = user.socket().await;
    socket.subscribe("it", UNREAD, json!({"after": cursor})).await;
    socket
}

/// Receives events up to `CaughtUp`, and returns the numbers of the messages.
async fn missed(mut socket: Socket) -> Vec<i64> {
    within(2 * PATIENCE, "the event CaughtUp", async {
        let mut numbers = Vec::new();
        loop {
            let event = socket.receive().await["payload"]["data"]["inbox"].clone();
            match event["__typename"].as_str().unwrap() {
                "MessageAdded" => numbers.push(event["message"]["number"].as_i64().unwrap()),
                "CaughtUp" => return numbers,
                _ => {}
            }
        }
    })
    .await
}

/// A stream renders one page of events while it reads the next page.
#[tokio::test]
async fn streams_that_catch_up_leave_postgres_connections_for_renderings() {
    const MISSED: i64 = 20;
    let node = Node::build().flag("--database-pool-size=2").flag("--catch-up-page=1").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let cursor = bob.cursor_after_message(&ada, &conversation).await;
    for n in 0..MISSED {
        ada.send(&conversation, &format!("missed {n}")).await;
    }
    let mut sockets = Vec::new();
    for _ in 0..8 {
        sockets.push(resumed(&bob, cursor.as_deref()).await);
    }
    for numbers in join_all(sockets.into_iter().map(missed)).await {
        assert_eq!(numbers, (2..2 + MISSED).collect::<Vec<_>>());
    }
}

/// When the server cannot write to a socket, the streams of the socket still finish the reads that they have begun.
#[tokio::test]
async fn a_client_that_does_not_read_holds_no_postgres_connection() {
    const STREAMS: usize = 20;
    let node = Node::build().flag("--database-pool-size=2").flag("--catch-up-page=1").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let cursor = bob.cursor_after_message(&ada, &conversation).await;
    let long = "long ".repeat(1600);
    for _ in 0..100 {
        ada.send(&conversation, &long).await;
    }
    let bodies = "subscription ($after: String) { inbox(after: $after) { ... on MessageAdded { message { body } } } }";
    let mut socket = bob.socket().await;
    for n in 0..STREAMS {
        socket.subscribe(&n.to_string(), bodies, json!({"after": cursor})).await;
    }
    // The client reads one event of each stream, so that all streams have begun. Then it stops reading.
    for n in 0..STREAMS {
        socket.receive_of(&n.to_string()).await;
    }
    for _ in 0..50 {
        ada.query("{ viewer { conversations { nodes { id } } } }", json!({})).await;
    }
}
