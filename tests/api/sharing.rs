//! Shared renderings: an event is rendered once for identical subscriptions, but no viewer gets data of another viewer.

use serde_json::{Value, json};

use crate::support::{Node, Socket, User, eventually};

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

/// Fields that depend on the viewer are rendered for each viewer, even if the document is the same.
#[tokio::test]
async fn renderings_with_viewer_fields_are_never_shared() {
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
        // The counts of recipients may already include later messages.
        assert_eq!(unread[..2], [0, 0]);
        assert!(unread[2..].iter().all(|unread| *unread >= count), "{unread:?}");
        let ids: Vec<_> = seen.iter().map(|membership| membership["id"].as_str().unwrap()).collect();
        assert_eq!((ids[0], ids[2]), (ids[1], ids[3]));
        assert!(ids[0] != ids[2] && ids[2] != ids[4] && ids[0] != ids[4], "{ids:?}");
    }
}

/// Subscriptions share a rendering if only arguments of the root field differ, but share no rendering if variables
/// change the selected fields.
#[tokio::test]
async fn subscriptions_share_no_rendering_if_variables_change_the_selection() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Variables", &[&bob]).await;
    let query = "subscription ($after: String, $body: Boolean!) { inbox(after: $after) {
        __typename ... on MessageAdded { message { number body @include(if: $body) } }
    } }";
    let cursor = bob.cursor_after_message(&ada, &group).await;
    let mut with = subscribed(&ada, query, json!({"body": true})).await;
    let mut without = subscribed(&bob, query, json!({"body": false})).await;
    let mut resumed = subscribed(&bob, query, json!({"body": true, "after": cursor})).await;
    ada.send(&group, "secret").await;
    let all = message(&mut with).await;
    assert_eq!(all["body"], "secret");
    assert_eq!(message(&mut without).await, json!({"number": all["number"]}));
    assert_eq!(message(&mut resumed).await, all);
}

/// A subscription without permission is rejected, even if other users share the document.
#[tokio::test]
async fn a_shared_document_gives_strangers_no_access() {
    let node = Node::start().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    let group = ada.create_group("Private", &[]).await;
    let query = "subscription ($id: ID) { messageAdded(conversationId: $id) { message { body } } }";
    let mut socket = ada.socket().await;
    socket.subscribe("mine", query, json!({"id": group})).await;
    node.subscription_is_live(&ada, &group).await;
    let mut stranger = eve.socket().await;
    stranger.subscribe("hers", query, json!({"id": group})).await;
    assert_eq!(stranger.receive().await["payload"][0]["extensions"]["code"], "NOT_FOUND");
    let theirs = eve.create_group("Hers", &[]).await;
    stranger.subscribe("all", query, json!({})).await;
    node.subscription_is_live(&eve, &theirs).await;
    ada.send(&group, "for ada alone").await;
    eve.send(&theirs, "for eve alone").await;
    let body = |message: Value| message["payload"]["data"]["messageAdded"]["message"]["body"].clone();
    assert_eq!(body(socket.receive().await), "for ada alone");
    assert_eq!(body(stranger.receive().await), "for eve alone");
}

/// Returns the number of shared renderings and the number of personal renderings so far.
async fn renders(node: &Node) -> (u64, u64) {
    let count = async |rendering| node.metric(&format!("parlance_renders_total{{rendering=\"{rendering}\"}}")).await;
    (count("shared").await, count("personal").await)
}

#[tokio::test]
async fn an_event_is_rendered_once_for_identical_subscriptions() {
    const LISTENERS: usize = 20;
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Once", &[]).await;
    let plain = "subscription ($id: ID, $after: String) { messageAdded(conversationId: $id, after: $after) {
        message { body sender { username } }
    } }";
    let personal = plain.replace("body", "conversation { viewerMembership { id } }");
    for (query, shared) in [(plain, true), (personal.as_str(), false)] {
        let mut sockets = Vec::new();
        // Without a cursor, a subscription that is not live yet would miss the first message.
        let after = node.app.log().position().to_string();
        for place in 0..LISTENERS {
            let mut socket = ada.socket().await;
            // Arguments of the root field may differ.
            let id = (place % 2 == 0).then_some(&group);
            socket.subscribe("it", query, json!({"id": id, "after": after})).await;
            sockets.push(socket);
        }
        // A stream that has received the first message reads no later messages from the log, so after the second
        // message all subscriptions are live.
        for body in ["first", "second"] {
            ada.send(&group, body).await;
            for socket in &mut sockets {
                assert!(socket.receive_of("it").await["payload"]["data"]["messageAdded"]["message"].is_object());
            }
        }
        let before = renders(&node).await;
        ada.send(&group, "third").await;
        for socket in &mut sockets {
            assert!(socket.receive_of("it").await["payload"]["data"]["messageAdded"]["message"].is_object());
        }
        let after = renders(&node).await;
        // All sockets belong to one user, so a document with viewer fields is also rendered once.
        let expected = if shared { (1, 0) } else { (0, 1) };
        assert_eq!((after.0 - before.0, after.1 - before.1), expected, "{query}");
        drop(sockets);
        eventually("the subscriptions end", async || node.metric("parlance_subscriptions_open").await == 0).await;
    }
}

/// The default of a variable applies if the variable is omitted, but not if it is null.
#[tokio::test]
async fn a_null_variable_differs_from_an_omitted_one() {
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

/// A subscription with invalid variables gets an error and does not affect other subscriptions with the same document.
#[tokio::test]
async fn invalid_variables_do_not_affect_other_subscribers() {
    let node = Node::start().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    let query = "subscription ($after: String) { inbox(after: $after) { __typename } }";
    // After this subscription the document is cached as valid.
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
