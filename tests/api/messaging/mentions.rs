//! Mentions: which users a message mentions, and counts of unread mentions.

use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, User};

async fn mentioned(viewer: &User, message: &Value) -> (Vec<String>, bool) {
    let query = "query ($id: ID!) { node(id: $id) { ... on Message { mentions { username } mentionsAll } } }";
    let message = viewer.query(query, json!({"id": message["id"]})).await["node"].clone();
    let names = message["mentions"].as_array().unwrap().iter();
    let names = names.map(|user| user["username"].as_str().unwrap().to_owned()).collect();
    (names, message["mentionsAll"].as_bool().unwrap())
}

async fn unread_mentions(viewer: &User, conversation: &str) -> i64 {
    let query = "query ($id: ID!) { conversation(id: $id) { viewerMembership { unreadMentionCount } } }";
    let data = viewer.query(query, json!({"id": conversation})).await;
    data["conversation"]["viewerMembership"]["unreadMentionCount"].as_i64().unwrap()
}

#[tokio::test]
async fn participants_are_mentioned_by_username() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (cem, stranger) = (node.register("cem").await, node.register("stranger").await);
    let group = ada.create_group("Mentions", &[&bob, &cem]).await;
    let (b, c) = (&bob.username, &cem.username);
    for (body, expected) in [
        (format!("hello @{b}"), vec![b]),
        (format!("@{}, and (@{c})! @{b} once more.", b.to_uppercase()), vec![b, c]),
        (format!("so says @{b}."), vec![b]),
        (format!("x@{b} @{b}@example.org me@example.org https://example.org/@{b}"), vec![]),
        (format!("@{b}é @{b}x @ nobody"), vec![]),
        (format!("@{} is not here", stranger.username), vec![]),
        ("no sign at all".to_owned(), vec![]),
        (format!("你好@{b}再见、＠{c}さん"), vec![b, c]),
        (format!("안녕@{b}님 สวัสดี@{c}ครับ"), vec![b, c]),
        (format!("_@{b}_ and __@{c}__"), vec![b, c]),
        (format!("hey_@{b}, but not hey_@{c}.example.org"), vec![b]),
        (format!("`@{b}` and ``a ` @{b}`` but @{c}"), vec![c]),
        (format!("```\n@{b}\n```\n@{c}"), vec![c]),
        (format!("~~~text\n@{b}"), vec![]),
    ] {
        let message = ada.send(&group, &body).await;
        let (names, all) = mentioned(&cem, &message).await;
        assert_eq!((names.iter().collect::<Vec<_>>(), all), (expected, false), "{body}");
    }
    for body in ["`@all`", "```\n@all\n```"] {
        let message = ada.send(&group, body).await;
        assert_eq!(mentioned(&cem, &message).await, (vec![], false), "{body}");
    }
    assert_eq!(unread_mentions(&ada, &group).await, 0);
    let message = ada.send(&group, &format!("@All, and @{b} above all")).await;
    assert_eq!(mentioned(&cem, &message).await, (vec![b.clone()], true));
}

#[tokio::test]
async fn a_username_that_ends_with_a_dot_is_mentioned() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, User::register(&node, "dotty.", PASSWORD).await);
    let group = ada.create_group("Dots", &[&bob]).await;
    let message = ada.send(&group, "hello @dotty.").await;
    assert_eq!(mentioned(&ada, &message).await.0, ["dotty."]);
    let message = ada.send(&group, "hello @dotty").await;
    assert_eq!(mentioned(&ada, &message).await.0, [""; 0]);
}

#[tokio::test]
async fn a_message_with_several_mentions_counts_once_on_every_device() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let phone = User::login(&node, &bob.username, PASSWORD).await;
    let group = ada.create_group("Counts", &[&bob, &cem]).await;
    let mut inbox = phone.inbox().await;
    let first = ada.send(&group, &format!("@{0} @{0} @all", bob.username)).await;
    let second = ada.send(&group, "@all").await;
    ada.send(&group, "nobody").await;
    let last = bob.send(&group, &format!("@all, and I, @{}", bob.username)).await;
    for device in [&bob, &phone] {
        assert_eq!(unread_mentions(device, &group).await, 2, "the user's own messages do not count");
    }
    assert_eq!(unread_mentions(&cem, &group).await, 3);
    assert_eq!(unread_mentions(&ada, &group).await, 1);

    bob.mark_read(&first).await.data();
    assert_eq!(unread_mentions(&phone, &group).await, 1);
    inbox.skip_to("ReceiptAdvanced").await;
    bob.mark_read(&second).await.data();
    assert_eq!(unread_mentions(&phone, &group).await, 0);
    cem.mark_read(&second).await.data();
    assert_eq!(unread_mentions(&cem, &group).await, 1);
    cem.mark_read(&last).await.data();
    assert_eq!(unread_mentions(&cem, &group).await, 0);
}

/// The retry has the same `clientId`.
#[tokio::test]
async fn a_retried_send_counts_mentions_once() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for _ in 0..3 {
        ada.try_send(&conversation, &format!("@{}", bob.username), Some("once")).await.data();
    }
    assert_eq!(unread_mentions(&bob, &conversation).await, 1);
}

#[tokio::test]
async fn subscribers_receive_the_mentions_of_a_message() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut socket = bob.socket().await;
    let query = "subscription { inbox { __typename ... on MessageAdded { message { mentions { id } status } } } }";
    socket.subscribe("it", query, json!({})).await;
    assert_eq!(socket.receive().await["payload"]["data"]["inbox"]["__typename"], "CaughtUp");
    ada.send(&conversation, &format!("@{}", bob.username)).await;
    let message = socket.receive().await["payload"]["data"]["inbox"]["message"].clone();
    assert_eq!(message, json!({"mentions": [{"id": bob.id}], "status": "SENT"}));
}
