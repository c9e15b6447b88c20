//! Expiry: a message with `expiresIn` becomes a tombstone after that time.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use parlance::clock::Clock;
use parlance::log::MemoryBroker;
use serde_json::{Value, json};

use super::ALLOWANCE;
use crate::support::{Answer, Node, Socket, TestDatabase, User, eventually_some, unique};

/// Maximum time after the expiry until a message becomes a tombstone.
const PROMISED: TimeDelta = TimeDelta::seconds(1);

const UPDATES: &str = "subscription ($id: ID!) { messageUpdated(conversationId: $id) {
    message { id number body deletedAt expiresAt revision }
} }";

async fn try_send(user: &User, conversation: &str, expires_in: i64) -> Answer {
    let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
        message { id number createdAt expiresAt revision }
    } }";
    let input = json!({"conversationId": conversation, "body": "soon gone", "expiresIn": expires_in});
    user.call(query, json!({"input": input})).await
}

async fn send(user: &User, conversation: &str, expires_in: i64) -> Value {
    try_send(user, conversation, expires_in).await.data()["sendMessage"]["message"].clone()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

async fn updates(node: &Node, user: &User, conversation: &str) -> Socket {
    let mut socket = user.on(node).socket().await;
    socket.subscribe("it", UPDATES, json!({"id": conversation})).await;
    node.subscription_is_live(user, conversation).await;
    socket
}

async fn next(socket: &mut Socket) -> Value {
    socket.receive_of("it").await["payload"]["data"]["messageUpdated"]["message"].clone()
}

/// Checks the tombstone of a message, and returns the time from `expiresAt` to `deletedAt`. The arrival of the event is
/// not measured, because a loaded machine delays it.
fn lateness(message: &Value, tombstone: &Value) -> TimeDelta {
    assert_eq!((&tombstone["id"], &tombstone["number"]), (&message["id"], &message["number"]));
    assert_eq!((&tombstone["body"], &tombstone["expiresAt"]), (&Value::Null, &message["expiresAt"]));
    let late = time(&tombstone["deletedAt"]) - time(&message["expiresAt"]);
    assert!(late >= TimeDelta::zero() && late < PROMISED + ALLOWANCE, "{late}");
    late
}

#[tokio::test]
async fn an_expired_message_becomes_a_tombstone_within_a_second() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut socket = updates(&node, &bob, &conversation).await;
    // The message that expires last is sent first. The other messages must not wait for its expiry.
    let later = send(&ada, &conversation, 3600).await;
    assert_eq!(time(&later["expiresAt"]) - time(&later["createdAt"]), TimeDelta::seconds(3600));
    let (two, one) = (send(&ada, &conversation, 2).await, send(&ada, &conversation, 1).await);
    // If the machine pauses, both messages may expire in one batch, or `two` before `one`.
    let mut tombstones = [next(&mut socket).await, next(&mut socket).await];
    tombstones.sort_by_key(|tombstone| tombstone["number"].as_i64());
    let (second, first) = (lateness(&two, &tombstones[0]), lateness(&one, &tombstones[1]));
    // This message is sent after the other messages have expired.
    let again = send(&ada, &conversation, 1).await;
    let third = lateness(&again, &next(&mut socket).await);
    assert!(first.min(second).min(third) < PROMISED, "{first} {second} {third}");
    let query = "query ($id: ID!) { conversation(id: $id) { messages { nodes { number body } } } }";
    let nodes = bob.query(query, json!({"id": conversation})).await["conversation"]["messages"]["nodes"].clone();
    let bodies: Vec<_> = nodes.as_array().unwrap().iter().map(|node| node["body"].is_string()).collect();
    assert_eq!(bodies, [true, false, false, false]);
}

#[tokio::test]
async fn expires_in_is_at_least_one_second_and_at_most_one_year() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Limits", &[]).await;
    for seconds in [0, -1, 31_536_001] {
        let answer = try_send(&ada, &group, seconds).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["expiresIn"]), "{seconds}");
    }
    send(&ada, &group, 31_536_000).await;
}

#[tokio::test]
async fn several_nodes_expire_a_message_once() {
    let database = TestDatabase::new().await;
    let prefix = unique();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::build().redis(&prefix).await.start_on(&database).await);
    }
    let ada = nodes[0].register("ada").await;
    let group = ada.create_group("Once", &[]).await;
    let mut socket = updates(&nodes[2], &ada, &group).await;
    let mut sent = Vec::new();
    for _ in 0..30 {
        sent.push(send(&ada, &group, 1).await);
    }
    let mut revisions = Vec::new();
    for message in &sent {
        let tombstone = next(&mut socket).await;
        lateness(message, &tombstone);
        revisions.push(tombstone["revision"].as_i64().unwrap());
    }
    assert!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    // No further event of these messages follows.
    let last = send(&ada, &group, 1).await;
    lateness(&last, &next(&mut socket).await);
}

#[tokio::test]
async fn messages_that_expired_while_no_node_ran_are_deleted_at_the_next_start() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Restart", &[]).await;
    let gone = send(&ada, &group, 1).await;
    node.stop();
    node.stopped().await;
    // Waits until the message has expired.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let node = Node::build().start_on(&database).await;
    let ada = ada.on(&node);
    let query = "query ($id: ID!) { node(id: $id) { ... on Message { body deletedAt } } }";
    let started = Clock::system().now();
    let tombstone = eventually_some("the message is deleted", async || {
        let message = ada.query(query, json!({"id": gone["id"]})).await["node"].clone();
        message["deletedAt"].is_string().then_some(message)
    });
    let tombstone = tombstone.await;
    assert_eq!(tombstone["body"], Value::Null);
    let late = time(&tombstone["deletedAt"]) - started;
    assert!(late < PROMISED + ALLOWANCE, "{late}");
}

/// The first node stops directly after it has stored the message. The other node finds the message through the log.
#[tokio::test]
async fn a_message_expires_when_the_node_that_stored_it_is_gone() {
    let database = TestDatabase::new().await;
    let broker = Arc::new(MemoryBroker::default());
    let second = Node::build().broker(Arc::<MemoryBroker>::clone(&broker)).start_on(&database).await;
    let (mut socket, message);
    {
        let first = Node::build().broker(broker).start_on(&database).await;
        let ada = first.register("ada").await;
        let group = ada.create_group("Killed", &[]).await;
        socket = updates(&second, &ada, &group).await;
        message = send(&ada, &group, 2).await;
    }
    // By the clock of this node the message has expired already. The message must not expire yet, because the clock of
    // Postgres decides.
    let _wrong = Node::build().clock(Clock::off_by(TimeDelta::hours(1))).start_on(&database).await;
    let tombstone = next(&mut socket).await;
    assert_eq!(tombstone["id"], message["id"]);
    assert!(Clock::system().now() >= time(&message["expiresAt"]));
}
