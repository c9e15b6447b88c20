//! Sockets with the subprotocol graphql-transport-ws: messages, close codes, limits and the drain.

use chrono::TimeDelta;
use diesel_async::SimpleAsyncConnection as _;
use parlance::clock::Clock;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::support::{Answer, Node, PASSWORD, PATIENCE, Socket, TestDatabase, User, within};

const VERSION: &str = "{ serverInfo { maxPageSize } }";
const INBOX: &str = "subscription { inbox { __typename } }";

async fn raw(node: &Node) -> Socket {
    Socket::raw(&node.url("/graphql")).await
}

async fn anonymous(node: &Node) -> Socket {
    let mut socket = raw(node).await;
    socket.send(json!({"type": "connection_init"})).await;
    assert_eq!(socket.receive().await, json!({"type": "connection_ack"}));
    socket
}

#[tokio::test]
async fn each_protocol_violation_closes_the_socket_with_the_specified_code() {
    let node = Node::start().await;
    let subscribe = json!({"id": "1", "type": "subscribe", "payload": {"query": VERSION}}).to_string();
    let init = r#"{"type": "connection_init"}"#;
    for (messages, code) in [
        (vec![subscribe.as_str()], 4401),
        (vec![init, init], 4429),
        (vec!["not json"], 4400),
        (vec!["[]"], 4400),
        (vec!["{}"], 4400),
        (vec![init, r#"{"type": "nonsense"}"#], 4400),
        (vec![init, r#"{"type": "subscribe", "id": 1, "payload": {"query": "{ a }"}}"#], 4400),
        (vec![init, r#"{"type": "subscribe", "payload": {"query": "{ a }"}}"#], 4400),
        (vec![init, r#"{"type": "ping", "payload": "text"}"#], 4400),
        (vec![init, r#"{"type": "ping", "payload": {"a": "\ud83d"}}"#], 4400),
        (vec![r#"{"type": "connection_init", "payload": {"Authorization": "Bearer nonsense"}}"#], 4403),
        (vec![r#"{"type": "connection_init", "payload": {"authorization": 5}}"#], 4403),
    ] {
        let mut socket = raw(&node).await;
        for message in &messages {
            socket.send_text(message).await;
        }
        assert_eq!(socket.closed().await, code, "{messages:?}");
    }
}

#[tokio::test]
async fn a_socket_without_connection_init_in_time_is_closed() {
    let node = Node::build().flag("--socket-init-timeout=4").start_alone().await;
    let mut socket = raw(&node).await;
    // A ping is answered, but does not extend the timeout.
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await, json!({"type": "pong"}));
    assert_eq!(socket.closed().await, 4408);
}

#[tokio::test]
async fn a_duplicate_id_closes_the_socket_and_a_completed_id_can_be_reused() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut socket = ada.socket().await;
    for _ in 0..2 {
        socket.subscribe("a", INBOX, json!({})).await;
        let message = socket.receive_of("a").await;
        assert_eq!(message["payload"]["data"]["inbox"]["__typename"], "CaughtUp", "{message}");
        socket.send(json!({"id": "a", "type": "complete"})).await;
    }
    socket.subscribe("a", INBOX, json!({})).await;
    socket.subscribe("a", INBOX, json!({})).await;
    assert_eq!(socket.closed().await, 4409);
}

#[tokio::test]
async fn a_pong_returns_the_payload_of_the_ping() {
    let node = Node::start().await;
    let mut socket = anonymous(&node).await;
    socket.send(json!({"type": "ping", "payload": {"sent": 5}})).await;
    assert_eq!(socket.receive().await, json!({"type": "pong", "payload": {"sent": 5}}));
}

#[tokio::test]
async fn queries_mutations_and_subscriptions_run_concurrently_on_a_socket() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Socket", &[]).await;
    let mut socket = ada.socket().await;
    socket.subscribe("inbox", INBOX, json!({})).await;
    assert_eq!(socket.receive_of("inbox").await["payload"]["data"]["inbox"]["__typename"], "CaughtUp");
    let send = "mutation ($id: ID!) { sendMessage(input: {conversationId: $id, body: \"x\"}) { message { number } } }";
    socket.subscribe("send", send, json!({"id": group})).await;
    socket.subscribe("query", VERSION, json!({})).await;
    let result = socket.receive_of("send").await;
    assert_eq!(
        result,
        json!({"type": "next", "id": "send", "payload": {"data": {"sendMessage": {"message": {"number": 1}}}}})
    );
    assert_eq!(socket.receive_of("send").await, json!({"type": "complete", "id": "send"}));
    assert_eq!(socket.receive_of("query").await["payload"]["data"]["serverInfo"]["maxPageSize"], 100);
    assert_eq!(socket.receive_of("query").await["type"], "complete");
    assert_eq!(socket.receive_of("inbox").await["payload"]["data"]["inbox"]["__typename"], "MessageAdded");
}

#[tokio::test]
async fn a_response_can_be_larger_than_the_socket_buffers() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Long", &[]).await;
    let body = "語".repeat(8000);
    for _ in 0..60 {
        ada.send(&group, &body).await;
    }
    let mut socket = ada.socket().await;
    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 100) { nodes { body } } } }";
    socket.subscribe("long", query, json!({"id": group})).await;
    let answer = socket.receive_of("long").await;
    assert_eq!(answer["payload"]["data"]["conversation"]["messages"]["nodes"].as_array().unwrap().len(), 60);
}

#[tokio::test]
async fn logout_is_answered_before_the_socket_closes() {
    let node = Node::start().await;
    for _ in 0..10 {
        let ada = node.register("ada").await;
        let mut socket = ada.socket().await;
        socket.subscribe("bye", "mutation { logout { sessionId } }", json!({})).await;
        assert_eq!(socket.receive_of("bye").await["type"], "next");
        assert_eq!(socket.receive_of("bye").await["type"], "complete");
        assert_eq!(socket.closed().await, 4403);
    }
}

#[tokio::test]
async fn a_close_is_answered_with_the_same_code() {
    let node = Node::start().await;
    let socket = anonymous(&node).await;
    assert_eq!(socket.close(1000).await, 1000);
}

#[tokio::test]
async fn operations_that_cannot_start_get_an_error_message() {
    let node = Node::start().await;
    let mut socket = anonymous(&node).await;
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        (INBOX, "UNAUTHENTICATED"),
        ("subscription { messageAdded(after: \"nonsense\") { cursor } }", "UNAUTHENTICATED"),
    ] {
        socket.subscribe("x", query, json!({})).await;
        let message = socket.receive().await;
        assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("x")), "{query}: {message}");
        assert_eq!(message["payload"][0]["extensions"]["code"], code, "{query}");
    }
    // No other message follows the errors, and the socket stays open.
    socket.subscribe("y", VERSION, json!({})).await;
    assert_eq!(socket.receive().await["id"], "y");
}

#[tokio::test]
async fn a_failed_query_gets_the_errors_in_a_next_message() {
    let node = Node::start().await;
    let mut socket = anonymous(&node).await;
    socket.subscribe("x", "{ viewer { id } }", json!({})).await;
    let message = socket.receive().await;
    assert_eq!(message["type"], "next");
    assert_eq!(message["payload"]["data"], Value::Null);
    assert_eq!(message["payload"]["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    assert_eq!(socket.receive().await["type"], "complete");
}

#[tokio::test]
async fn operations_on_one_socket_are_limited() {
    let node = Node::build().flag("--socket-max-operations=2").start_alone().await;
    let ada = node.register("ada").await;
    let mut socket = ada.socket().await;
    for id in ["1", "2"] {
        socket.subscribe(id, INBOX, json!({})).await;
        assert_eq!(socket.receive().await["type"], "next");
    }
    socket.subscribe("3", INBOX, json!({})).await;
    let message = socket.receive().await;
    assert_eq!((&message["type"], &message["id"]), (&json!("error"), &json!("3")));
    assert_limited(&message, "SOCKET_MAX_OPERATIONS");
    // When the client completes an operation, the socket accepts another operation.
    socket.send(json!({"type": "complete", "id": "1"})).await;
    socket.subscribe("3", INBOX, json!({})).await;
    assert_eq!(socket.receive().await["type"], "next");
}

#[track_caller]
fn assert_limited(message: &Value, limit: &str) {
    let extensions = &message["payload"][0]["extensions"];
    assert_eq!((&extensions["code"], &extensions["limit"]), (&json!("RATE_LIMITED"), &json!(limit)), "{message:#}");
    assert!(extensions["retryAfter"].as_u64().unwrap() >= 1);
}

#[tokio::test]
async fn operations_per_second_on_one_socket_are_limited() {
    let node = Node::build().flag("--socket-operations-per-second=3").start_alone().await;
    let mut socket = anonymous(&node).await;
    // The rate allows a burst of three operations, and then one operation every 333 ms.
    let mut answers: Vec<Value> = Vec::new();
    while answers.last().is_none_or(|answer| answer["type"] == "next") {
        let id = answers.len().to_string();
        socket.subscribe(&id, VERSION, json!({})).await;
        answers.push(socket.receive_of(&id).await);
    }
    assert!((4..100).contains(&answers.len()), "{answers:#?}");
    assert_limited(&answers[answers.len() - 1], "SOCKET_OPERATIONS_PER_SECOND");
    // Another socket has a separate limit, and the first socket stays open.
    let mut other = anonymous(&node).await;
    other.subscribe("1", VERSION, json!({})).await;
    assert_eq!(other.receive().await["type"], "next");
    // After a second the first socket accepts operations again.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    socket.subscribe("later", VERSION, json!({})).await;
    assert_eq!(socket.receive_of("later").await["type"], "next");
}

#[tokio::test]
async fn oversized_and_invalid_utf_8_messages_close_the_socket() {
    let node = Node::build().flag("--socket-max-message-bytes=1024").start_alone().await;
    for (size, code) in [(900, None), (1100, Some(1009)), (3_000_000, Some(1009))] {
        let mut socket = anonymous(&node).await;
        let query = format!("{VERSION} # {}", "x".repeat(size));
        socket.send(json!({"type": "subscribe", "id": "1", "payload": {"query": query}})).await;
        match code {
            Some(code) => assert_eq!(socket.closed().await, code, "{size}"),
            None => assert_eq!(socket.receive().await["type"], "next", "{size}"),
        }
    }
    let mut socket = anonymous(&node).await;
    socket.send_bytes_as_text(b"{\"type\": \"ping\", \"payload\": {\"\xe4\": 1}}").await;
    assert_eq!(socket.closed().await, 1007);
}

fn ping_with(token: &str) -> Value {
    json!({"type": "ping", "payload": {"Authorization": format!("Bearer {token}")}})
}

/// The socket and its subscriptions stay open until the fresh token expires.
#[tokio::test]
async fn a_ping_with_a_fresh_token_extends_the_lifetime_of_the_socket() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    // The clock of this node is 890 s behind, so its tokens with a lifetime of 900 s expire after 10 s.
    let behind = Node::build().clock(Clock::off_by(TimeDelta::seconds(-890))).start_on(&database).await;
    let ada = behind.register("ada").await.on(&node);
    let (left_alone, mut extended) = (ada.inbox().await, ada.inbox().await);
    let refresh = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) {
        accessToken refreshToken session { id } viewer { user { id username } }
    } }";
    let fresh = node.call(None, refresh, json!({"token": ada.refresh_token})).await.data();
    let fresh = User::from_payload(&node, &fresh["refreshSession"]);
    let ping = ping_with(&fresh.access_token);
    extended.socket.send(ping.clone()).await;
    assert_eq!(extended.socket.receive().await, json!({"type": "pong", "payload": ping["payload"]}));

    assert_eq!(left_alone.socket.closed().await, 4403);
    let group = fresh.create_group("Still here", &[]).await;
    assert_eq!(extended.next().await["conversation"]["id"], group.as_str());
}

#[tokio::test]
async fn a_ping_with_an_invalid_token_closes_the_socket() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let other_device = User::login(&node, &ada.username, PASSWORD).await;
    for token in ["nonsense", &bob.access_token, &other_device.access_token] {
        let mut socket = ada.socket().await;
        socket.send(ping_with(token)).await;
        assert_eq!(socket.closed().await, 4403, "{token}");
    }
    let mut socket = anonymous(&node).await;
    socket.send(ping_with(&ada.access_token)).await;
    assert_eq!(socket.closed().await, 4403);
    // The server does not treat this payload as an access token, and only returns it in the pong.
    let mut socket = ada.socket().await;
    socket.send(json!({"type": "ping", "payload": {"token": "nonsense"}})).await;
    assert_eq!(socket.receive().await["type"], "pong");
}

#[tokio::test]
async fn only_clients_that_do_not_answer_pings_are_disconnected() {
    let node = Node::build().flag("--socket-ping-interval=4").flag("--socket-pong-timeout=4").start_alone().await;
    let ada = node.register("ada").await;
    let (mut lively, mut silent) = (ada.inbox().await, ada.socket().await);
    // The test client answers pings while it reads. The older socket has the earlier deadline.
    let pings = tokio::select! {
        pings = silent.ended_without_answering() => pings,
        event = lively.next() => panic!("an unexpected event arrived: {event}"),
    };
    assert_eq!(pings, 1, "the server must disconnect after one ping");
    let group = ada.create_group("Alive", &[]).await;
    assert_eq!(lively.next().await["conversation"]["id"], group.as_str());
}

#[tokio::test]
async fn a_drain_makes_the_node_not_ready_and_closes_sockets_with_1012() {
    let node = Node::build().flag("--drain-delay=5").start_alone().await;
    let ada = node.register("ada").await;
    let (inbox, silent) = (ada.inbox().await, raw(&node).await);
    assert_eq!(node.http.get(node.url("/health/ready")).send().await.unwrap().status(), 200);
    node.stop();
    // During DRAIN_DELAY the node executes operations, reports that it is not ready, and rejects new sockets.
    let ready = node.http.get(node.url("/health/ready")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert_eq!(node.http.get(node.url("/health/live")).send().await.unwrap().status(), 200);
    ada.query("{ viewer { id } }", json!({})).await;
    let upgrade = node.http.get(node.url("/graphql")).headers(Socket::upgrade_headers()).send().await.unwrap();
    assert_eq!(upgrade.status(), 503);
    assert_eq!(inbox.socket.closed().await, 1012);
    assert_eq!(silent.closed().await, 1012);
    node.stopped().await;
}

/// Two `sendMessage` requests in flight, one over HTTP and one over a socket. Both wait for the lock of the
/// conversation, which the test holds.
struct Held {
    node: Node,
    http: JoinHandle<Answer>,
    socket: Socket,
    lock: diesel_async::AsyncPgConnection,
}

async fn sends_in_flight(database: &TestDatabase, flags: &[&str]) -> Held {
    let node = flags.iter().fold(Node::build(), |node, flag| node.flag(flag)).start_on(database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Held", &[]).await;
    let mut socket = ada.socket().await;
    let mut lock = database.connection().await;
    lock.batch_execute("BEGIN; SELECT 1 FROM conversations FOR UPDATE").await.unwrap();
    let id = group.clone();
    let http = tokio::spawn(async move { ada.try_send(&group, "over HTTP", None).await });
    // The first send is in flight when the writer waits for the lock. The second send is in flight when the server
    // answers a later ping.
    database.statement_waits_for_lock().await;
    let send = "mutation ($id: ID!) { sendMessage(input: {conversationId: $id, body: \"x\"}) { message { number } } }";
    socket.subscribe("send", send, json!({"id": id})).await;
    socket.send(json!({"type": "ping"})).await;
    assert_eq!(socket.receive().await["type"], "pong");
    Held { node, http, socket, lock }
}

#[tokio::test]
async fn a_drain_finishes_operations_in_flight() {
    let database = TestDatabase::new().await;
    let Held { node, http, mut socket, mut lock } = sends_in_flight(&database, &["--drain-delay=0"]).await;
    node.stop();
    lock.batch_execute("COMMIT").await.unwrap();
    assert_eq!(socket.receive_of("send").await["type"], "next");
    assert_eq!(socket.receive_of("send").await["type"], "complete");
    assert_eq!(socket.closed().await, 1012);
    http.await.unwrap().data();
    node.stopped().await;
}

#[tokio::test]
async fn a_drain_ends_in_time_despite_blocked_operations() {
    let database = TestDatabase::new().await;
    let flags = ["--drain-delay=0", "--drain-timeout=3"];
    let Held { node, socket, http, lock } = sends_in_flight(&database, &flags).await;
    node.stop();
    assert_eq!(socket.closed().await, 1012);
    node.stopped().await;
    http.abort();
    drop(lock);
}

/// The node closes the socket after SOCKET_WRITE_TIMEOUT. Until then the socket does not delay other clients.
#[tokio::test]
async fn a_socket_whose_client_does_not_read_is_closed_without_delaying_others() {
    let node = Node::build().flag("--socket-write-timeout=1").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Stalled", &[&bob]).await;
    let mut stalled = ada.socket().await;
    stalled.subscribe("all", "subscription { messageAdded { message { body } } }", json!({})).await;
    let mut inbox = bob.inbox().await;
    let open = || node.metric("parlance_sockets_open");
    assert_eq!(open().await, 2);
    let body = "x".repeat(8000);
    // Sends more bytes than the buffers of server and client hold, so that the server can no longer write.
    let stuck = async {
        while open().await > 1 {
            for _ in 0..100 {
                bob.send(&group, &body).await;
                inbox.message().await;
            }
        }
    };
    within(4 * PATIENCE, "the server closes the socket", stuck).await;
}
