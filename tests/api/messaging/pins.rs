//! Pinned messages.

use serde_json::{Value, json};

use crate::support::{Answer, Node, User};

async fn pin(user: &User, message: &Value) -> Answer {
    let query = "mutation ($id: ID!) { pinMessage(input: {messageId: $id}) { message { id revision pinnedAt } } }";
    user.call(query, json!({"id": message["id"]})).await
}

async fn unpin(user: &User, message: &Value) -> Answer {
    let query = "mutation ($id: ID!) { unpinMessage(input: {messageId: $id}) { message { id revision pinnedAt } } }";
    user.call(query, json!({"id": message["id"]})).await
}

async fn pinned(user: &User, conversation: &str, first: u32, after: &Value) -> Value {
    let query = "query ($id: ID!, $first: Int, $after: String) { conversation(id: $id) {
        pinnedMessages(first: $first, after: $after) { nodes { body } pageInfo { hasNextPage endCursor } }
    } }";
    let data = user.query(query, json!({"id": conversation, "first": first, "after": after})).await;
    data["conversation"]["pinnedMessages"].clone()
}

#[tokio::test]
async fn pins_add_system_messages_and_are_listed_newest_first() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut messages = Vec::new();
    for body in ["one", "two", "three"] {
        messages.push(ada.send(&conversation, body).await);
    }
    let mut inbox = bob.inbox().await;
    let first = pin(&bob, &messages[1]).await.data()["pinMessage"]["message"].clone();
    assert!(first["pinnedAt"].is_string());
    assert_eq!(inbox.next().await["__typename"], "MessageUpdated");
    assert_eq!(inbox.next().await["__typename"], "MessageAdded");
    let query = "query ($id: ID!) { conversation(id: $id) { lastMessage { number kind systemEvent {
        kind actor { id } subject { id } text
    } } } }";
    let told = ada.query(query, json!({"id": conversation})).await["conversation"]["lastMessage"].clone();
    let event = json!({"kind": "MESSAGE_PINNED", "actor": {"id": bob.id}, "subject": null, "text": null});
    assert_eq!(told, json!({"number": 4, "kind": "SYSTEM", "systemEvent": event}));
    // Pinning a pinned message again changes nothing.
    assert_eq!(pin(&ada, &messages[1]).await.data()["pinMessage"]["message"], first);
    pin(&ada, &messages[0]).await.data();
    pin(&ada, &messages[2]).await.data();

    let page = pinned(&bob, &conversation, 2, &Value::Null).await;
    assert_eq!(page["nodes"], json!([{"body": "three"}, {"body": "one"}]));
    assert_eq!(page["pageInfo"]["hasNextPage"], true);
    let page = pinned(&bob, &conversation, 2, &page["pageInfo"]["endCursor"]).await;
    assert_eq!((&page["nodes"], &page["pageInfo"]["hasNextPage"]), (&json!([{"body": "two"}]), &json!(false)));

    let unpinned = unpin(&bob, &messages[0]).await.data()["unpinMessage"]["message"].clone();
    assert_eq!(unpinned["pinnedAt"], Value::Null);
    assert_eq!(unpin(&ada, &messages[0]).await.data()["unpinMessage"]["message"], unpinned);
    // A message that is deleted for everyone is not in any list of pins. A message that a user has hidden is not in the
    // list of this user.
    let delete = "mutation ($id: ID!, $scope: DeleteScope!) { deleteMessage(input: {messageId: $id, scope: $scope}) {
        messageId } }";
    ada.query(delete, json!({"id": messages[1]["id"], "scope": "EVERYONE"})).await;
    bob.query(delete, json!({"id": messages[2]["id"], "scope": "VIEWER"})).await;
    assert_eq!(pinned(&ada, &conversation, 5, &Value::Null).await["nodes"], json!([{"body": "three"}]));
    assert_eq!(pinned(&bob, &conversation, 5, &Value::Null).await["nodes"], json!([]));
    assert_eq!(pin(&ada, &messages[1]).await.violations(), ["messageId"]);
}

#[tokio::test]
async fn members_of_a_group_are_not_allowed_to_pin_messages() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let stranger = node.register("stranger").await;
    let group = ada.create_group("Pins", &[&bob]).await;
    let message = bob.send(&group, "mine").await;
    for answer in [pin(&bob, &message).await, unpin(&bob, &message).await] {
        assert_eq!(answer.code(), "FORBIDDEN");
    }
    for answer in [pin(&stranger, &message).await, unpin(&stranger, &message).await] {
        assert_eq!(answer.code(), "NOT_FOUND");
    }
    pin(&ada, &message).await.data();
}

#[tokio::test]
async fn a_conversation_has_at_most_fifty_pins() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Full", &[]).await;
    let mut messages = Vec::new();
    for place in 0..51 {
        messages.push(ada.send(&group, &format!("message {place}")).await);
    }
    for message in &messages[..50] {
        pin(&ada, message).await.data();
    }
    assert_eq!(pin(&ada, &messages[50]).await.violations(), ["messageId"]);
    unpin(&ada, &messages[7]).await.data();
    pin(&ada, &messages[50]).await.data();
}
