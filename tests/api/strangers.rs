//! Users who are not participants of a conversation cannot detect that the conversation exists.

use serde_json::{Value, json};

use crate::support::{Node, User};

struct Scene {
    node: Node,
    ada: User,
    bob: User,
    stranger: User,
    conversation: String,
    message: Value,
}

async fn scene() -> Scene {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let stranger = node.register("stranger").await;
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "between us").await;
    Scene { node, ada, bob, stranger, conversation, message }
}

#[tokio::test]
async fn strangers_cannot_read_conversations_messages_or_participants() {
    let Scene { ada, bob, stranger, conversation, message, node } = scene().await;
    let query = "query ($id: ID!) { conversation(id: $id) { id participants { nodes { id } } } }";
    let data = ada.query(query, json!({"id": conversation})).await;
    let participant = &data["conversation"]["participants"]["nodes"][0]["id"];
    assert_eq!(stranger.query(query, json!({"id": conversation})).await["conversation"], Value::Null);

    let ids = json!([conversation, message["id"], participant, bob.session]);
    for id in ids.as_array().unwrap() {
        let data = stranger.query("query ($id: ID!) { node(id: $id) { id } }", json!({"id": id})).await;
        assert_eq!(data["node"], Value::Null, "{id}");
    }
    let data = stranger.query("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", json!({"ids": ids})).await;
    assert_eq!(data["nodes"], json!([null, null, null, null]));
    let data = stranger.query("{ viewer { unreadCount conversations { nodes { id } } } }", json!({})).await;
    assert_eq!(data["viewer"], json!({"unreadCount": 0, "conversations": {"nodes": []}}));

    let anonymous = node.call(None, query, json!({"id": conversation})).await;
    assert_eq!(anonymous.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn strangers_cannot_send_or_mark_messages() {
    let Scene { ada, stranger, conversation, message, node: _node, .. } = scene().await;
    let missing = "cnv_00000000000000000000000000";
    let (theirs, none) =
        (stranger.try_send(&conversation, "hi", None).await, stranger.try_send(missing, "hi", None).await);
    assert_eq!(theirs.code(), "NOT_FOUND");
    assert_eq!(theirs.body, none.body, "the error reveals whether the conversation exists");
    assert_eq!(stranger.mark_read(&message).await.code(), "NOT_FOUND");
    // The error does not reveal whether another user has used a clientId.
    ada.try_send(&conversation, "mine", Some("secret")).await.data();
    assert_eq!(stranger.try_send(&conversation, "hi", Some("secret")).await.code(), "NOT_FOUND");
    assert_eq!(ada.send(&conversation, "next").await["number"], 3);
}

#[tokio::test]
async fn a_stranger_cannot_subscribe_to_the_conversation() {
    let Scene { stranger, conversation, node: _node, .. } = scene().await;
    let mut socket = stranger.socket().await;
    for id in [conversation.as_str(), "cnv_00000000000000000000000000"] {
        let query = "subscription ($id: ID!) { messageAdded(conversationId: $id) { message { body } } }";
        socket.subscribe(id, query, json!({"id": id})).await;
        let message = socket.receive_of(id).await;
        assert_eq!(message["type"], "error", "{message}");
        assert_eq!(message["payload"][0]["extensions"]["code"], "NOT_FOUND");
    }
}

#[tokio::test]
async fn streams_deliver_no_events_of_conversations_without_the_user() {
    let Scene { ada, bob, stranger, conversation, node, .. } = scene().await;
    let before = stranger.inbox().await.cursor;
    let mut live = stranger.inbox().await;
    let mut messages = stranger.socket().await;
    // With a cursor, the subscription delivers all messages from now on, whenever it becomes live.
    let query = "subscription ($after: String) { messageAdded(after: $after) { message { body } } }";
    messages.subscribe("all", query, json!({"after": before})).await;

    let other = node.register("other").await;
    let group = bob.create_group("Without the stranger", &[&ada, &other]).await;
    for i in 0..20 {
        let message = ada.send(if i % 2 == 0 { &conversation } else { &group }, "not for strangers").await;
        bob.mark_read(&message).await.data();
    }
    let own = stranger.create_group("Own", &[]).await;
    stranger.send(&own, "to myself").await;

    // Live and resumed streams deliver only the stranger's own events.
    assert_eq!(live.next().await["conversation"]["id"], own.as_str());
    assert_eq!(live.next().await["message"]["body"], "to myself");
    let heard = messages.receive_of("all").await;
    assert_eq!(heard["payload"]["data"]["messageAdded"]["message"]["body"], "to myself");
    let missed = stranger.inbox_after(before.as_deref()).await.missed().await;
    let kinds: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConversationAdded", "MessageAdded"]);
}

#[tokio::test]
async fn streams_deliver_no_events_from_before_the_user_joined() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let before = bob.inbox().await.cursor;
    let own = ada.create_group("Ada's own", &[]).await;
    ada.send(&own, "before").await;
    let group = ada.create_group("Ours", &[&bob]).await;
    ada.send(&group, "after").await;
    let missed = bob.inbox_after(before.as_deref()).await.missed().await;
    assert_eq!(missed.len(), 2, "{missed:#?}");
    assert_eq!(missed[0]["conversation"]["id"], group.as_str());
    assert_eq!(missed[1]["message"]["body"], "after");
}
