//! Rendering once: who asks in the same way gets the same bytes, and nobody gets what is another's.

use serde_json::{Value, json};

use crate::support::{Node, Socket, User};

const UNREAD: &str = "subscription { inbox { __typename ... on MessageAdded {
    message { body conversation { viewerMembership { id unreadCount } } }
} } }";

async fn subscribed(user: &User, query: &str, variables: Value) -> Socket {
    let mut socket = user.socket().await;
    socket.subscribe("it", query, variables).await;
    assert_eq!(socket.receive().await["payload"]["data"]["inbox"]["__typename"], "CaughtUp");
    socket
}

async fn message(socket: &mut Socket) -> Value {
    let event = socket.receive().await["payload"]["data"]["inbox"].clone();
    assert_eq!(event["__typename"], "MessageAdded", "{event}");
    event["message"].clone()
}

/// What depends on the viewer is each viewer's own, however many ask with the same document.
#[tokio::test]
async fn a_document_that_asks_for_the_viewer_is_never_shared() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Sharing", &[&bob, &cem]).await;
    let mut sockets = Vec::new();
    for user in [&ada, &ada, &bob, &bob, &cem] {
        sockets.push(subscribed(user, UNREAD, json!({})).await);
    }
    for count in 1..=3 {
        ada.send(&group, "hello").await;
        let mut seen = Vec::new();
        for socket in &mut sockets {
            seen.push(message(socket).await["conversation"]["viewerMembership"].clone());
        }
        let unread: Vec<_> = seen.iter().map(|membership| membership["unreadCount"].as_i64().unwrap()).collect();
        // Those who are not the sender may be shown a later message's count already.
        assert_eq!(unread[..2], [0, 0]);
        assert!(unread[2..].iter().all(|unread| *unread >= count), "{unread:?}");
        let ids: Vec<_> = seen.iter().map(|membership| membership["id"].as_str().unwrap()).collect();
        assert_eq!((ids[0], ids[2]), (ids[1], ids[3]));
        assert!(ids[0] != ids[2] && ids[2] != ids[4] && ids[0] != ids[4], "{ids:?}");
    }
}

/// Variables that say what is subscribed to may differ; those that say what is shown may not.
#[tokio::test]
async fn who_asks_otherwise_gets_another_answer() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Variables", &[&bob]).await;
    let query = "subscription ($after: String, $body: Boolean!) { inbox(after: $after) {
        __typename ... on MessageAdded { message { number body @include(if: $body) } }
    } }";
    let cursor = bob.hear_and_leave(&ada, &group).await;
    let mut with = subscribed(&ada, query, json!({"body": true})).await;
    let mut without = subscribed(&bob, query, json!({"body": false})).await;
    let mut resumed = subscribed(&bob, query, json!({"body": true, "after": cursor})).await;
    ada.send(&group, "secret").await;
    let all = message(&mut with).await;
    assert_eq!(all["body"], "secret");
    assert_eq!(message(&mut without).await, json!({"number": all["number"]}));
    assert_eq!(message(&mut resumed).await, all);
}

/// What one may not subscribe to is refused, though others share it.
#[tokio::test]
async fn nobody_is_let_in_because_another_is() {
    let node = Node::start().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    let group = ada.create_group("Private", &[]).await;
    let query = "subscription ($id: ID) { messageAdded(conversationId: $id) { message { body } } }";
    let mut socket = ada.socket().await;
    socket.subscribe("mine", query, json!({"id": group})).await;
    let mut stranger = eve.socket().await;
    stranger.subscribe("hers", query, json!({"id": group})).await;
    assert_eq!(stranger.receive().await["payload"][0]["extensions"]["code"], "NOT_FOUND");
    stranger.subscribe("all", query, json!({})).await;
    let theirs = eve.create_group("Hers", &[]).await;
    // Once the pong is here the subscriptions stand.
    socket.send(json!({"type": "ping"})).await;
    while socket.receive().await["type"] != "pong" {}
    ada.send(&group, "for ada alone").await;
    eve.send(&theirs, "for eve alone").await;
    let body = |message: Value| message["payload"]["data"]["messageAdded"]["message"]["body"].clone();
    assert_eq!(body(socket.receive().await), "for ada alone");
    assert_eq!(body(stranger.receive().await), "for eve alone");
}

/// Events that the node has rendered so far: for all alike, and for one viewer.
async fn renders(node: &Node) -> (u64, u64) {
    let count = async |rendering| node.metric(&format!("parlance_renders_total{{rendering=\"{rendering}\"}}")).await;
    (count("shared").await, count("personal").await)
}

#[tokio::test]
async fn an_event_is_rendered_once_for_all_who_ask_alike() {
    const LISTENERS: usize = 20;
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Once", &[]).await;
    let plain = "subscription ($id: ID) { messageAdded(conversationId: $id) { message { body sender { username } } } }";
    let personal = plain.replace("body", "conversation { viewerMembership { id } }");
    for (query, shared) in [(plain, true), (personal.as_str(), false)] {
        let mut sockets = Vec::new();
        for place in 0..LISTENERS {
            let mut socket = ada.socket().await;
            // What is subscribed to may be said differently.
            let variables = if place % 2 == 0 { json!({"id": group}) } else { json!({}) };
            socket.subscribe("it", query, variables).await;
            socket.send(json!({"type": "ping"})).await;
            assert_eq!(socket.receive().await["type"], "pong");
            sockets.push(socket);
        }
        // Once the first message has come to all, each subscription stands, whatever was rendered for it before.
        ada.send(&group, "first").await;
        for socket in &mut sockets {
            socket.receive_of("it").await;
        }
        let before = renders(&node).await;
        ada.send(&group, "second").await;
        for socket in &mut sockets {
            assert!(socket.receive_of("it").await["payload"]["data"]["messageAdded"]["message"].is_object());
        }
        let after = renders(&node).await;
        // All listeners are one user's, so that a personal document is rendered once, too.
        let expected = if shared { (1, 0) } else { (0, 1) };
        assert_eq!((after.0 - before.0, after.1 - before.1), expected, "{query}");
    }
}

/// A default stands for what is left out, and not for null.
#[tokio::test]
async fn null_is_not_left_out() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Defaults", &[&bob]).await;
    let query = "subscription ($first: Int = 1) { inbox { __typename ... on MessageAdded {
        message { conversation { participants(first: $first) { nodes { id } } } }
    } } }";
    let mut null = subscribed(&ada, query, json!({"first": null})).await;
    let mut left_out = subscribed(&ada, query, json!({})).await;
    bob.send(&group, "hello").await;
    for (socket, count) in [(&mut null, 2), (&mut left_out, 1)] {
        let nodes = message(socket).await["conversation"]["participants"]["nodes"].clone();
        assert_eq!(nodes.as_array().unwrap().len(), count);
    }
}

/// Whoever subscribes with variables that are no good has no part in what others get.
#[tokio::test]
async fn bad_variables_are_nobody_elses() {
    let node = Node::start().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    let query = "subscription ($after: String) { inbox(after: $after) { __typename } }";
    // Known to be valid from here on.
    subscribed(&ada, query, json!({})).await;
    let mut bad = eve.socket().await;
    let mut good = ada.socket().await;
    for _ in 0..20 {
        bad.subscribe("bad", query, json!({"after": {}})).await;
        good.subscribe("good", query, json!({})).await;
        assert_eq!(bad.receive().await["type"], "error");
        assert_eq!(good.receive().await["payload"]["data"]["inbox"]["__typename"], "CaughtUp");
        good.send(json!({"type": "complete", "id": "good"})).await;
    }
}
