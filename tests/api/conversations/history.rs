//! The history of a group, as participants who join later see it.

use parlance::ids::{ConversationId, MessageId};
use parlance::log::Change;
use serde_json::{Value, json};

use crate::support::{Node, User};

const PAGE: &str =
    "query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) { conversation(id: $id) {
    lastMessage { number }
    messages(first: $first, after: $after, last: $last, before: $before) {
        nodes { number } pageInfo { hasPreviousPage hasNextPage startCursor endCursor }
    }
} }";

async fn page(user: &User, group: &str, mut range: Value) -> Value {
    range["id"] = json!(group);
    user.query(PAGE, range).await["conversation"].clone()
}

fn numbers(page: &Value) -> Vec<i64> {
    page["messages"]["nodes"].as_array().unwrap().iter().map(|node| node["number"].as_i64().unwrap()).collect()
}

async fn node_of(user: &User, message: &Value) -> Value {
    user.query("query ($id: ID!) { node(id: $id) { id } }", json!({"id": message["id"]})).await["node"]["id"].clone()
}

/// Creates a group that hides its history from new participants, and sends two messages to the group.
async fn hiding(ada: &User, others: &[&User]) -> (String, Vec<Value>) {
    let group = ada.create_group("Fresh start", others).await;
    ada.update_group(&group, json!({"historyVisible": false})).await.data();
    let sent = vec![ada.send(&group, "one").await, ada.send(&group, "two").await];
    (group, sent)
}

#[tokio::test]
async fn new_participants_see_the_history_unless_the_group_hides_it() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let create = "mutation ($input: CreateGroupInput!) { createGroup(input: $input) {
        conversation { id historyVisible }
    } }";
    for (visible, seen) in [(json!(null), vec![1, 2]), (json!(true), vec![1, 2]), (json!(false), vec![2])] {
        let input = json!({"title": "Group", "participantIds": [], "historyVisible": visible});
        let data = ada.query(create, json!({"input": input})).await["createGroup"]["conversation"].clone();
        assert_eq!(data["historyVisible"], visible.as_bool().unwrap_or(true));
        let group = data["id"].as_str().unwrap();
        ada.send(group, "before").await;
        ada.add_participants(group, &[&bob]).await.data();
        assert_eq!(numbers(&page(&bob, group, json!({})).await), seen);
        // A change of `historyVisible` affects only later participants.
        ada.update_group(group, json!({"historyVisible": visible == json!(false)})).await.data();
        ada.add_participants(group, &[&cem]).await.data();
        assert_eq!(numbers(&page(&bob, group, json!({"first": 1})).await), seen[..1]);
        assert_eq!(
            numbers(&page(&cem, group, json!({"first": 1})).await),
            [if visible == json!(false) { 1 } else { 3 }]
        );
        assert_eq!(numbers(&page(&ada, group, json!({})).await), [1, 2, 3]);
    }
}

#[tokio::test]
async fn hidden_messages_appear_in_no_page_node_or_receipt() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let (group, sent) = hiding(&ada, &[&bob]).await;
    let invite = ada.create_invite(&group, json!({})).await.data()["createInvite"]["invite"].clone();
    cem.join(&invite["code"]).await.data();
    let last = ada.send(&group, "four").await;

    for range in [json!({}), json!({"first": 10}), json!({"last": 10})] {
        let seen = page(&cem, &group, range).await;
        assert_eq!(numbers(&seen), [3, 4]);
        assert_eq!(seen["messages"]["pageInfo"]["hasPreviousPage"], false);
        assert_eq!(seen["lastMessage"]["number"], 4);
    }
    // Cursors are the same for all users. A cursor of a hidden message shows no hidden messages.
    let theirs = page(&bob, &group, json!({"first": 1})).await;
    let cursor = &theirs["messages"]["pageInfo"]["endCursor"];
    assert_eq!(numbers(&page(&cem, &group, json!({"first": 1, "after": cursor})).await), [3]);
    let third = page(&bob, &group, json!({"first": 3})).await["messages"]["pageInfo"]["endCursor"].clone();
    let back = page(&cem, &group, json!({"last": 5, "before": third})).await;
    assert_eq!((numbers(&back), &back["messages"]["pageInfo"]["hasPreviousPage"]), (vec![], &json!(false)));
    let one = page(&cem, &group, json!({"last": 1})).await;
    assert_eq!((numbers(&one), &one["messages"]["pageInfo"]["hasPreviousPage"]), (vec![4], &json!(true)));

    for message in &sent {
        assert_eq!(node_of(&cem, message).await, Value::Null);
        assert_eq!(node_of(&bob, message).await, message["id"]);
        assert_eq!(cem.mark_read(message).await.code(), "NOT_FOUND");
    }
    assert_eq!(node_of(&cem, &last).await, last["id"]);
    let query = "{ viewer { unreadCount conversations { nodes {
        lastMessage { number } messages(last: 5) { nodes { number } }
        viewerMembership { unreadCount lastReadMessage { number } }
    } } } }";
    let viewer = cem.query(query, json!({})).await["viewer"].clone();
    let listed = &viewer["conversations"]["nodes"][0];
    assert_eq!(numbers(listed), [3, 4]);
    assert_eq!(listed["viewerMembership"]["lastReadMessage"], Value::Null);
    let unread = cem.unread(&group).await;
    assert!((1..=2).contains(&unread), "the newest message, and at most the SYSTEM message of the join: {unread}");
    assert_eq!(viewer["unreadCount"], unread);
    cem.mark_read(&last).await.data();
    assert_eq!(cem.unread(&group).await, 0);
}

/// Users who see the whole history, and a user from whom it is hidden, subscribe with the same document.
#[tokio::test]
async fn shared_renderings_show_no_hidden_messages() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let (group, _) = hiding(&ada, &[&bob]).await;
    let query = "subscription ($after: String) { messageAdded(after: $after) { message { body conversation {
        lastMessage { number } messages(first: 1) { nodes { number } }
    } } } }";
    // With the cursor, a subscription that opens late misses no message.
    let cursor = ada.inbox().await.cursor;
    let mut sockets = Vec::new();
    for user in [&ada, &bob, &cem] {
        let mut socket = user.socket().await;
        socket.subscribe("it", query, json!({"after": cursor})).await;
        sockets.push(socket);
    }
    // All participants share this rendering, because the history is not hidden from any participant yet.
    ada.send(&group, "three").await;
    for socket in &mut sockets[..2] {
        socket.receive_of("it").await;
    }
    ada.add_participants(&group, &[&cem]).await.data();
    ada.send(&group, "five").await;
    for (place, first) in [(0, 1), (1, 1), (2, 4)] {
        for _ in 0..2 {
            let heard = sockets[place].receive_of("it").await["payload"]["data"]["messageAdded"]["message"].clone();
            assert_eq!(numbers(&heard["conversation"]), [first], "{heard:#}");
        }
    }
}

/// The test itself appends the event that an edit or a reaction would append.
#[tokio::test]
async fn changes_of_hidden_messages_are_not_delivered() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let (group, sent) = hiding(&ada, &[&bob]).await;
    ada.add_participants(&group, &[&cem]).await.data();
    let seen = ada.send(&group, "four").await;
    let (mut old, mut new) = (bob.inbox().await, cem.inbox().await);
    let cursor = new.cursor.clone();
    let conversation: ConversationId = group.parse().unwrap();
    for message in [&sent[0], &seen] {
        let message: MessageId = message["id"].as_str().unwrap().parse().unwrap();
        let recorded = node.app.log().transaction(async |tx| {
            tx.record(Change::MessageUpdated { conversation, message });
            Ok::<(), parlance::error::Error>(())
        });
        recorded.await.unwrap();
    }
    ada.send(&group, "five").await;
    for kind in ["MessageUpdated", "MessageUpdated", "MessageAdded"] {
        assert_eq!(old.next().await["__typename"], kind);
    }
    for kind in ["MessageUpdated", "MessageAdded"] {
        assert_eq!(new.next().await["__typename"], kind);
    }
    let missed = cem.inbox_after(cursor.as_deref()).await.missed().await;
    let kinds: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["MessageUpdated", "MessageAdded"]);
}

/// A participant who rejoins counts as a new participant, so messages from before the rejoin stay hidden.
#[tokio::test]
async fn a_participant_who_rejoins_catches_up_without_hidden_messages() {
    let node = Node::build().flag("--catch-up-page=2").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    for visible in [false, true] {
        let group = ada.create_group("Coming back", &[&bob]).await;
        ada.update_group(&group, json!({"historyVisible": visible})).await.data();
        let cursor = bob.cursor_after_message(&ada, &group).await;
        let missed = ada.send(&group, "missed").await;
        bob.leave(&group).await.data();
        ada.send(&group, "behind the back").await;
        ada.add_participants(&group, &[&bob]).await.data();
        ada.send(&group, "back again").await;

        let events = bob.inbox_after(cursor.as_deref()).await.missed().await;
        let bodies: Vec<_> = events
            .iter()
            .filter(|event| event["__typename"] == "MessageAdded" && !event["message"]["body"].is_null())
            .map(|event| event["message"]["body"].as_str().unwrap())
            .collect();
        let expected: &[&str] = if visible { &["missed", "back again"] } else { &["back again"] };
        assert_eq!(bodies, expected);
        assert_eq!(node_of(&bob, &missed).await.is_null(), !visible);
    }
}
