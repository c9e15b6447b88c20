//! Archiving, pinning and muting conversations. A change applies to all devices of one user and to no other user.

use chrono::{DateTime, TimeDelta, Utc};
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, User};

fn now() -> DateTime<Utc> {
    Clock::system().now()
}

async fn update(user: &User, conversation: &str, changes: Value) -> Answer {
    let mut input = changes;
    input["conversationId"] = json!(conversation);
    let query = "mutation ($input: UpdateMembershipInput!) { updateMembership(input: $input) {
        conversation { viewerMembership { archived pinned mutedUntil } }
    } }";
    user.call(query, json!({"input": input})).await
}

async fn updated(user: &User, conversation: &str, changes: Value) -> Value {
    let data = update(user, conversation, changes).await.data();
    data["updateMembership"]["conversation"]["viewerMembership"].clone()
}

async fn listed(user: &User, filter: Value) -> Vec<String> {
    let query = "query ($filter: ConversationFilter) { viewer { conversations(filter: $filter) { nodes { id } } } }";
    let data = user.query(query, json!({"filter": filter})).await;
    let nodes = data["viewer"]["conversations"]["nodes"].as_array().unwrap().clone();
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

async fn total(user: &User) -> Value {
    user.query("{ viewer { unreadCount } }", json!({})).await["viewer"]["unreadCount"].clone()
}

#[tokio::test]
async fn update_membership_leaves_omitted_fields_unchanged() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Mine", &[]).await;
    let until = "2999-01-02T03:04:05.000006Z";
    let plain = json!({"archived": false, "pinned": false, "mutedUntil": null});
    assert_eq!(updated(&ada, &group, json!({})).await, plain);
    let all = json!({"archived": true, "pinned": true, "mutedUntil": until});
    assert_eq!(updated(&ada, &group, all.clone()).await, all);
    assert_eq!(updated(&ada, &group, json!({})).await, all);
    assert_eq!(updated(&ada, &group, json!({"archived": null, "pinned": null})).await, all);
    let unmuted = updated(&ada, &group, json!({"mutedUntil": null})).await;
    assert_eq!(unmuted, json!({"archived": true, "pinned": true, "mutedUntil": null}));
    assert_eq!(updated(&ada, &group, json!({"archived": false, "pinned": false})).await, plain);
}

#[tokio::test]
async fn a_membership_change_notifies_only_the_devices_of_the_user() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let group = ada.create_group("Devices", &[&bob]).await;
    let (mut here, mut there, mut other) = (ada.inbox().await, phone.inbox().await, bob.inbox().await);
    updated(&ada, &group, json!({"pinned": true})).await;
    updated(&ada, &group, json!({"pinned": true})).await;
    updated(&phone, &group, json!({"archived": true})).await;
    ada.send(&group, "after").await;
    for inbox in [&mut here, &mut there] {
        for _ in 0..2 {
            let event = inbox.next().await;
            assert_eq!(event["__typename"], "MembershipUpdated");
            assert_eq!(event["conversation"]["id"], group.as_str());
        }
        assert_eq!(inbox.next().await["message"]["body"], "after");
    }
    assert_eq!(other.next().await["message"]["body"], "after");
    let data =
        phone.query("query ($id: ID!) { conversation(id: $id) { viewerMembership { pinned } } }", json!({"id": group}));
    assert_eq!(data.await["conversation"]["viewerMembership"]["pinned"], true);
    assert_eq!(updated(&bob, &group, json!({})).await["pinned"], false);
}

#[tokio::test]
async fn archived_conversations_are_listed_only_on_request_and_stay_archived() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let [old, new] = [ada.create_group("Old", &[&bob]).await, ada.create_group("New", &[&bob]).await];
    updated(&ada, &old, json!({"archived": true})).await;
    bob.send(&old, "still there?").await;
    assert_eq!(listed(&ada, Value::Null).await, [new.as_str()]);
    assert_eq!(listed(&ada, json!({"archived": null})).await, [new.as_str()]);
    assert_eq!(listed(&ada, json!({"archived": true})).await, [old.as_str()]);
    assert_eq!(listed(&bob, Value::Null).await.len(), 2);
    updated(&ada, &old, json!({"archived": false})).await;
    assert_eq!(listed(&ada, Value::Null).await, [old.as_str(), new.as_str()]);
}

#[tokio::test]
async fn the_total_unread_count_excludes_muted_and_archived_conversations() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let groups = [
        ada.create_group("Plain", &[&bob]).await,
        ada.create_group("Muted", &[&bob]).await,
        ada.create_group("Archived", &[&bob]).await,
    ];
    for group in &groups {
        bob.send(group, "unread").await;
    }
    assert_eq!(total(&phone).await, 3);
    updated(&ada, &groups[1], json!({"mutedUntil": now() + TimeDelta::hours(1)})).await;
    assert_eq!(total(&phone).await, 2);
    updated(&ada, &groups[2], json!({"archived": true})).await;
    assert_eq!(total(&phone).await, 1);
    // The unread count of the conversation itself does not change.
    assert_eq!(ada.unread(&groups[1]).await, 1);
    // A conversation is not muted if `mutedUntil` is in the past.
    updated(&ada, &groups[1], json!({"mutedUntil": now() - TimeDelta::hours(1)})).await;
    assert_eq!(total(&phone).await, 2);
    updated(&ada, &groups[2], json!({"archived": false})).await;
    assert_eq!(total(&phone).await, 3);
}

#[tokio::test]
async fn update_membership_requires_a_participant_and_valid_input() {
    let node = Node::start().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    let group = ada.create_group("Private", &[]).await;
    assert_eq!(update(&eve, &group, json!({"pinned": true})).await.code(), "NOT_FOUND");
    assert_eq!(update(&ada, "cnv_x", json!({})).await.violations(), ["conversationId"]);
    let answer = update(&ada, &group, json!({"mutedUntil": "tomorrow"})).await;
    assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED");
}
