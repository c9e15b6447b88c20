//! The older WebSocket subprotocol, whose name in the handshake is graphql-ws. The file PROTOCOL.md of the npm package
//! subscriptions-transport-ws specifies this subprotocol.

use serde_json::{Value, json};

use crate::support::{Node, Socket, User};

const INBOX: &str = "subscription { inbox { __typename } }";
const VERSION: &str = "{ serverInfo { maxPageSize } }";

async fn open(node: &Node, user: Option<&User>) -> Socket {
    let (mut socket, protocol) = Socket::offering(&node.url("/graphql"), "graphql-ws").await;
    assert_eq!(protocol, "graphql-ws");
    let payload = user.map(|user| json!({"Authorization": format!("Bearer {}", user.access_token)}));
    socket.send(json!({"type": "connection_init", "payload": payload})).await;
    assert_eq!(socket.receive().await, json!({"type": "connection_ack"}));
    assert_eq!(socket.receive().await, json!({"type": "ka"}));
    socket
}

async fn start(socket: &mut Socket, id: &str, query: &str) {
    socket.send(json!({"type": "start", "id": id, "payload": {"query": query}})).await;
}

#[tokio::test]
async fn queries_and_subscriptions_run_and_stop() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut socket = open(&node, Some(&ada)).await;
    start(&mut socket, "1", VERSION).await;
    let data = json!({"type": "data", "id": "1", "payload": {"data": {"serverInfo": {"maxPageSize": 100}}}});
    assert_eq!(socket.receive().await, data);
    assert_eq!(socket.receive().await, json!({"type": "complete", "id": "1"}));

    start(&mut socket, "2", INBOX).await;
    let caught_up = json!({"type": "data", "id": "2", "payload": {"data": {"inbox": {"__typename": "CaughtUp"}}}});
    assert_eq!(socket.receive().await, caught_up);
    ada.create_group("Old", &[]).await;
    assert_eq!(socket.receive().await["payload"]["data"]["inbox"]["__typename"], "ConversationAdded");
    socket.send(json!({"type": "stop", "id": "2"})).await;
    // The server has handled the stop when it answers a later message.
    start(&mut socket, "3", VERSION).await;
    for kind in ["data", "complete"] {
        let message = socket.receive().await;
        assert_eq!((&message["type"], &message["id"]), (&json!(kind), &json!("3")));
    }
    ada.create_group("Unheard", &[]).await;
    start(&mut socket, "4", VERSION).await;
    assert_eq!(socket.receive().await["id"], "4");
}

#[tokio::test]
async fn an_operation_that_fails_gets_one_error_message() {
    let node = Node::start().await;
    let mut socket = open(&node, None).await;
    for (query, code) in
        [("{", "GRAPHQL_PARSE_FAILED"), ("{ nope }", "GRAPHQL_VALIDATION_FAILED"), (INBOX, "UNAUTHENTICATED")]
    {
        start(&mut socket, "x", query).await;
        let message = socket.receive().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("x")));
        assert!(message["payload"]["message"].is_string());
        assert_eq!(message["payload"]["extensions"]["code"], code);
    }
    start(&mut socket, "y", "{ viewer { id } }").await;
    assert_eq!(socket.receive().await["payload"]["data"], Value::Null);
    assert_eq!(socket.receive().await, json!({"type": "complete", "id": "y"}));
}

#[tokio::test]
async fn a_second_start_with_the_same_id_replaces_the_first_operation() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut socket = open(&node, Some(&ada)).await;
    for _ in 0..2 {
        start(&mut socket, "a", INBOX).await;
        assert_eq!(socket.receive().await["payload"]["data"]["inbox"]["__typename"], "CaughtUp");
    }
    ada.create_group("Once", &[]).await;
    assert_eq!(socket.receive().await["payload"]["data"]["inbox"]["__typename"], "ConversationAdded");
    start(&mut socket, "b", VERSION).await;
    assert_eq!(socket.receive().await["id"], "b", "the event arrived more than once");
}

#[tokio::test]
async fn an_invalid_token_gets_connection_error_before_the_close() {
    let node = Node::start().await;
    let (mut socket, _) = Socket::offering(&node.url("/graphql"), "graphql-ws").await;
    socket.send(json!({"type": "connection_init", "payload": {"Authorization": "Bearer nonsense"}})).await;
    let refused = socket.receive().await;
    assert_eq!(refused["type"], "connection_error");
    let message = refused["payload"]["message"].as_str().unwrap();
    assert!(message.starts_with("Forbidden") && message.contains("refreshSession"), "{message}");
    assert_eq!(socket.closed().await, 4403);
}

#[tokio::test]
async fn the_server_sends_keep_alive_messages_until_connection_terminate() {
    let node = Node::build().flag("--socket-ping-interval=1").flag("--socket-pong-timeout=4").start_alone().await;
    let mut socket = open(&node, None).await;
    // tungstenite answers the server's ping frames, so the connection stays open longer than the timeout of a pong.
    for _ in 0..6 {
        assert_eq!(socket.receive().await, json!({"type": "ka"}));
    }
    socket.send(json!({"type": "connection_terminate"})).await;
    socket.ended().await;
}

#[tokio::test]
async fn only_messages_of_the_negotiated_subprotocol_are_accepted() {
    let node = Node::start().await;
    for offered in ["graphql-transport-ws, graphql-ws", "graphql-ws, graphql-transport-ws"] {
        let (mut socket, chosen) = Socket::offering(&node.url("/graphql"), offered).await;
        let (own, foreign) = match chosen.as_str() {
            "graphql-ws" => ("start", "subscribe"),
            "graphql-transport-ws" => ("subscribe", "start"),
            other => panic!("{other} was not offered"),
        };
        socket.send(json!({"type": "connection_init"})).await;
        assert_eq!(socket.receive().await["type"], "connection_ack");
        socket.send(json!({"type": own, "id": "1", "payload": {"query": VERSION}})).await;
        socket.receive_of("1").await;
        socket.send(json!({"type": foreign, "id": "2", "payload": {"query": VERSION}})).await;
        assert_eq!(socket.closed().await, 4400, "{offered}");
    }
    for (protocol, foreign) in [("graphql-ws", "ping"), ("graphql-ws", "complete"), ("graphql-transport-ws", "stop")] {
        let (mut socket, _) = Socket::offering(&node.url("/graphql"), protocol).await;
        socket.send(json!({"type": "connection_init"})).await;
        socket.send(json!({"type": foreign, "id": "1"})).await;
        assert_eq!(socket.closed().await, 4400, "{protocol}: {foreign}");
    }
}
