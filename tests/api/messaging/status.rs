//! The status of a message (SENT, DELIVERED, READ), and participants with read receipts turned off.

use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, TestDatabase, User};

const DELIVERED: &str = "mutation ($id: ID!) { markDelivered(input: {messageId: $id}) { conversation { id } } }";

async fn status(viewer: &User, message: &Value) -> String {
    let query = "query ($id: ID!) { node(id: $id) { ... on Message { status } } }";
    viewer.query(query, json!({"id": message["id"]})).await["node"]["status"].as_str().unwrap().to_owned()
}

/// Returns the `lastReadNumber` of each user, as the viewer sees it.
async fn read_numbers(viewer: &User, conversation: &str, users: &[&User]) -> Vec<i64> {
    let query = "query ($id: ID!) { conversation(id: $id) { participants { nodes { user { id } lastReadNumber } } } }";
    let data = viewer.query(query, json!({"id": conversation})).await;
    let nodes = data["conversation"]["participants"]["nodes"].as_array().unwrap();
    let of = |user: &&User| nodes.iter().find(|node| node["user"]["id"] == user.id.as_str()).unwrap();
    users.iter().map(|user| of(user)["lastReadNumber"].as_i64().unwrap()).collect()
}

async fn show_receipts(database: &TestDatabase, user: &User, shown: bool) {
    let statement = format!("UPDATE users SET read_receipts = {shown} WHERE username = '{}'", user.username);
    database.connection().await.batch_execute(&statement).await.unwrap();
}

#[tokio::test]
async fn the_status_of_a_message_is_the_lowest_among_all_other_participants() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Status", &[&bob, &cem]).await;
    let message = ada.send(&group, "hello").await;
    assert_eq!(status(&ada, &message).await, "SENT");
    ada.mark_read(&message).await.data();
    assert_eq!(status(&ada, &message).await, "SENT", "the sender does not count");
    bob.mark_read(&message).await.data();
    assert_eq!(status(&ada, &message).await, "SENT");
    cem.query(DELIVERED, json!({"id": message["id"]})).await;
    for viewer in [&ada, &bob, &cem] {
        assert_eq!(status(viewer, &message).await, "DELIVERED");
    }
    cem.mark_read(&message).await.data();
    for viewer in [&ada, &bob, &cem] {
        assert_eq!(status(viewer, &message).await, "READ");
    }
    // The status of messages from another participant is computed in the same way.
    let answer = bob.send(&group, "hello yourself").await;
    cem.mark_read(&answer).await.data();
    assert_eq!(status(&bob, &answer).await, "SENT");
    ada.mark_read(&answer).await.data();
    assert_eq!(status(&bob, &answer).await, "READ");
    // A participant who has left does not affect the status.
    let last = bob.send(&group, "and?").await;
    ada.mark_read(&last).await.data();
    assert_eq!(status(&bob, &last).await, "SENT");
    let leave = "mutation ($id: ID!) { leaveConversation(input: {conversationId: $id}) { conversationId } }";
    cem.query(leave, json!({"id": group})).await;
    assert_eq!(status(&bob, &last).await, "READ");
    // If the group has no other participants, the status stays SENT.
    let alone = ada.create_group("Alone", &[]).await;
    let message = ada.send(&alone, "echo").await;
    ada.mark_read(&message).await.data();
    assert_eq!(status(&ada, &message).await, "SENT");
}

#[tokio::test]
async fn turned_off_read_receipts_hide_reads_in_both_directions() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Hidden", &[&bob, &cem]).await;
    let message = ada.send(&group, "hello").await;
    show_receipts(&database, &bob, false).await;
    for user in [&ada, &bob, &cem] {
        user.mark_read(&message).await.data();
    }
    let all = [&ada, &bob, &cem];
    assert_eq!(read_numbers(&ada, &group, &all).await, [1, 0, 1]);
    assert_eq!(read_numbers(&cem, &group, &all).await, [1, 0, 1]);
    assert_eq!(read_numbers(&bob, &group, &all).await, [0, 1, 0]);
    let own = bob.send(&group, "and mine?").await;
    for user in all {
        user.mark_read(&own).await.data();
    }
    for user in all {
        assert_eq!(status(user, &message).await, "DELIVERED");
        assert_eq!(status(user, &own).await, "DELIVERED");
    }
    show_receipts(&database, &bob, true).await;
    assert_eq!(read_numbers(&ada, &group, &all).await, [2, 2, 2]);
    assert_eq!(status(&ada, &message).await, "READ");
}

#[tokio::test]
async fn hidden_read_receipts_are_sent_only_to_the_devices_of_the_reader() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &bob.username, PASSWORD).await;
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "hello").await;
    show_receipts(&database, &bob, false).await;
    let (mut other, mut own) = (ada.inbox().await, phone.inbox().await);
    bob.query(DELIVERED, json!({"id": message["id"]})).await;
    bob.mark_read(&message).await.data();
    ada.send(&conversation, "after").await;

    let event = other.next().await;
    assert_eq!(event["__typename"], "ReceiptAdvanced");
    let participant = &event["participant"];
    assert_eq!((&participant["lastDeliveredNumber"], &participant["lastReadNumber"]), (&json!(1), &json!(0)));
    assert_eq!(other.next().await["message"]["body"], "after");
    assert_eq!(own.next().await["__typename"], "ReceiptAdvanced");
    assert_eq!(own.next().await["__typename"], "MembershipUpdated");
    assert_eq!(own.next().await["message"]["body"], "after");
    assert_eq!(phone.unread(&conversation).await, 1);
}
