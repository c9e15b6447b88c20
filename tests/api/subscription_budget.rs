//! SUBSCRIPTION_BUDGET, the limit on the total cost of a user's open subscriptions.

use serde_json::{Value, json};

use crate::support::{Node, Socket, User, eventually};

/// A subscription that costs little more than 200: 2 for each of 100 messages.
const DEAR: &str = "subscription { inbox { ... on MessageAdded { message {
    conversation { messages(last: 100) { nodes { id } } }
} } } }";
/// A subscription of similar cost that is executed separately for each subscriber, because it does not subscribe to
/// the log.
const DEAR_ALONE: &str = "subscription {
    callEvents { __typename ... on CallRinging { call { conversation { messages(last: 100) { nodes { id } } } } } }
}";
const CHEAP: &str = "subscription { messageAdded { message { id } } }";

async fn node() -> Node {
    Node::build().flag("--subscription-budget=700").start_alone().await
}

/// Subscribes until a subscription is rejected. Returns the number of accepted subscriptions and the error.
async fn fill(socket: &mut Socket, query: &str) -> (usize, Value) {
    for count in 0..100 {
        let id = format!("{query:.20} {count}");
        socket.subscribe(&id, query, json!({})).await;
        socket.send(json!({"type": "ping"})).await;
        let message = socket.receive().await;
        if message["type"] != "pong" {
            assert_eq!(message["id"], id);
            assert_eq!(message["type"], "error", "{message}");
            assert_eq!(socket.receive().await["type"], "pong", "the socket stays open");
            return (count, message["payload"][0].clone());
        }
    }
    panic!("no subscription was rejected");
}

fn assert_limited(error: &Value) {
    assert_eq!(error["extensions"]["code"], "RATE_LIMITED", "{error}");
    assert_eq!(error["extensions"]["limit"], "SUBSCRIPTION_BUDGET");
    assert!(error["extensions"]["retryAfter"].as_u64().unwrap() > 0);
}

/// Subscribes over HTTP. `accept` selects Server-Sent Events or multipart. The stream stays open until the returned
/// response is dropped.
async fn stream(node: &Node, user: &User, query: &str, accept: &str) -> reqwest::Response {
    let request = node.http.post(node.url("/graphql")).header("accept", accept).bearer_auth(&user.access_token);
    request.json(&json!({"query": query})).send().await.unwrap()
}

#[tokio::test]
async fn subscriptions_above_the_budget_are_rejected_on_every_transport() {
    let node = node().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    // This document uses `messageAdded`, because `inbox` sends CaughtUp first, but `fill` accepts only errors and
    // pongs.
    let plain = DEAR.replace("inbox {", "messageAdded {").replace("... on MessageAdded { message {", "message {");
    let plain = plain.replacen("} } } }", "} } }", 1);
    let mut socket = ada.socket().await;
    let (count, error) = fill(&mut socket, &plain).await;
    assert!((3..=6).contains(&count), "{count}");
    assert_limited(&error);
    // All connections of the user share the budget. Another user has a separate budget.
    let mut second = ada.socket().await;
    second.subscribe("other", DEAR, json!({})).await;
    assert_limited(&second.receive().await["payload"][0]);
    second.subscribe("alone", DEAR_ALONE, json!({})).await;
    assert_limited(&second.receive().await["payload"][0]);
    for accept in ["text/event-stream", "multipart/mixed;subscriptionSpec=1.0"] {
        let answer = stream(&node, &ada, DEAR, accept).await;
        assert_eq!(answer.status(), 429, "{accept}");
        assert!(answer.headers().contains_key("retry-after"));
        let body: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_limited(&body["errors"][0]);
        assert_eq!(stream(&node, &bob, DEAR, accept).await.status(), 200);
    }
}

#[tokio::test]
async fn a_subscription_returns_its_share_of_the_budget_when_it_ends() {
    let node = node().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Budget", &[]).await;
    let mut socket = ada.socket().await;
    for round in 0..10 {
        // Subscriptions end in three ways: the client completes them, they get an error, or their connection ends.
        for query in [DEAR, DEAR_ALONE] {
            for place in 0..3 {
                let id = format!("{round} {place} {query:.20}");
                socket.subscribe(&id, query, json!({})).await;
                let first = socket.receive_of(&id).await;
                assert_eq!(first["type"], "next", "{first}");
            }
            for place in 0..3 {
                let id = format!("{round} {place} {query:.20}");
                socket.send(json!({"type": "complete", "id": id})).await;
            }
        }
        let dear = "subscription ($id: ID!) { messageUpdated(conversationId: $id) { message {
            conversation { messages(last: 100) { nodes { id } } }
        } } }";
        let id = format!("unknown {round}");
        socket.subscribe(&id, dear, json!({"id": "c_nothing"})).await;
        assert_eq!(socket.receive_of(&id).await["type"], "error");
        let mut other = ada.socket().await;
        other.subscribe("1", DEAR, json!({})).await;
        assert_eq!(other.receive_of("1").await["type"], "next");
        assert_eq!(other.close(1000).await, 1000);
        let stream = stream(&node, &ada, DEAR, "text/event-stream").await;
        assert_eq!(stream.status(), 200);
        drop(stream);
        eventually("all subscriptions end", async || {
            // The server notices the disconnect at the latest when it writes an event.
            ada.send(&group, "hello").await;
            node.metric("parlance_subscriptions_open").await == 0
        })
        .await;
    }
}

#[tokio::test]
async fn rejected_subscriptions_of_anonymous_callers_return_their_share_of_the_budget() {
    let node = node().await;
    let mut socket = Socket::raw(&node.url("/graphql")).await;
    socket.send(json!({"type": "connection_init"})).await;
    assert_eq!(socket.receive().await["type"], "connection_ack");
    for query in [DEAR, DEAR_ALONE, CHEAP] {
        for number in 0..10 {
            socket.subscribe(&format!("{number} {query:.20}"), query, json!({})).await;
            // The subscription gets an error because no user is signed in, and returns its share of the budget.
            let answer = socket.receive().await;
            assert_eq!(answer["payload"][0]["extensions"]["code"], "UNAUTHENTICATED", "{number} {query}: {answer}");
        }
    }
}

/// All anonymous callers of a network share one budget. Their subscriptions always get an error, so only the error code
/// of a subscription that costs more than the budget shows that the budget applies.
#[tokio::test]
async fn the_budget_also_applies_to_the_network_of_anonymous_callers() {
    let node = Node::build().flag("--subscription-budget=150").keep_shares().start_alone().await;
    let subscribe = async |query: &str, token: Option<&str>| {
        let mut request = node.http.post(node.url("/graphql")).header("accept", "text/event-stream");
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let answer = request.json(&json!({"query": query})).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    for token in [None, Some("no token")] {
        for query in [DEAR, DEAR_ALONE] {
            let (status, answer) = subscribe(query, token).await;
            assert!(status == 429 && answer.contains("SUBSCRIPTION_BUDGET"), "{status} {answer}");
        }
        // The refused subscriptions do not use the budget.
        let (_, answer) = subscribe(CHEAP, token).await;
        assert!(answer.contains("UNAUTHENTICATED"), "{answer}");
    }
}

/// The default budget is far above the needs of clients: it allows the subscriptions of 20 devices.
#[tokio::test]
async fn the_subscriptions_of_many_devices_fit_into_the_default_budget() {
    const DEVICES: usize = 20;
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let inbox = "subscription { inbox { __typename
        ... on DurableEvent { cursor }
        ... on MessageAdded { message { ...Message } } ... on MessageUpdated { message { ...Message } }
        ... on ConversationAdded { conversation { ...Conversation } }
        ... on ConversationUpdated { conversation { ...Conversation } }
        ... on MembershipUpdated { conversation { ...Conversation } }
    } }
    fragment Message on Message { id number body createdAt editedAt status sender { id username displayName
        avatar { url thumbnailUrl } } attachments { id url fileName } reactions { emoji count viewerHasReacted }
        replyTo { id body } conversation { id viewerMembership { unreadCount } } }
    fragment Conversation on Conversation { id title kind lastMessage { ...Message } viewerMembership { unreadCount }
        participants(first: 20) { nodes { role user { id username presence { status } } } } }";
    let typing = "subscription ($id: ID!) { typing(conversationId: $id) { typing user { id username } } }";
    let mut sockets = Vec::new();
    for _ in 0..DEVICES {
        let mut socket = ada.socket().await;
        socket.subscribe("inbox", inbox, json!({})).await;
        socket.subscribe("typing", typing, json!({"id": conversation})).await;
        let first = socket.receive_of("inbox").await;
        assert_eq!(first["payload"]["data"]["inbox"]["__typename"], "CaughtUp", "{first}");
        sockets.push(socket);
    }
    bob.send(&conversation, "hello").await;
    for socket in &mut sockets {
        let event = socket.receive_of("inbox").await;
        assert_eq!(event["payload"]["data"]["inbox"]["message"]["body"], "hello", "{event}");
    }
}
