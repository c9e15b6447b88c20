//! Deletion of messages, for everyone or only for the viewer.

use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, TestDatabase, User};

#[tokio::test]
async fn a_message_deleted_for_everyone_leaves_only_a_tombstone() {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "a secret").await;
    ada.edit(&message, "the secret").await.data();
    let react = "mutation ($id: ID!) {
        addReaction(input: {messageId: $id, emoji: \"👍\"}) { message { id } }
        pinMessage(input: {messageId: $id}) { message { pinnedAt } }
    }";
    bob.query(react, json!({"id": message["id"]})).await;
    let mut inbox = bob.inbox().await;

    let deleted = ada.delete(&message).await.data()["deleteMessage"].clone();
    assert_eq!(deleted["messageId"], message["id"]);
    let tombstone = &deleted["message"];
    assert_eq!((&tombstone["number"], &tombstone["body"]), (&json!(1), &Value::Null));
    assert_eq!((&tombstone["pinnedAt"], &tombstone["reactions"]), (&Value::Null, &json!([])));
    assert_eq!((&tombstone["kind"], &tombstone["sender"]["id"]), (&json!("TEXT"), &json!(ada.id)));
    assert!(tombstone["deletedAt"].is_string());
    // A repeated deletion is no error and causes no event.
    assert_eq!(ada.delete(&message).await.data()["deleteMessage"]["message"], *tombstone);
    let event = inbox.expect("MessageUpdated").await;
    assert_eq!((&event["message"]["body"], &event["message"]["deletedAt"]), (&Value::Null, &tombstone["deletedAt"]));
    ada.send(&conversation, "after").await;
    assert_eq!(inbox.expect("MessageAdded").await["message"]["body"], "after");
    assert_eq!(bob.numbers_in(&conversation).await, [1, 2, 3], "message 2 is the SYSTEM message for the pin");

    let secrets = sql_query(
        "SELECT (SELECT count(*) FROM messages WHERE body LIKE '%secret%')
              + (SELECT count(*) FROM message_edits WHERE body IS NOT NULL)
              + (SELECT count(*) FROM message_reactions) AS count",
    );
    assert_eq!(secrets.get_result::<Count>(&mut database.connection().await).await.unwrap().count, 0);
    // A tombstone accepts no reactions.
    let add = "mutation ($id: ID!) { addReaction(input: {messageId: $id, emoji: \"👍\"}) { message { id } } }";
    assert_eq!(bob.call(add, json!({"id": message["id"]})).await.violations(), ["messageId"]);
}

/// The node does not reuse cached renderings from before the deletion.
#[tokio::test]
async fn a_resumed_stream_does_not_show_deleted_content() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inbox = bob.inbox().await;
    let start = inbox.cursor.clone();
    let message = ada.send(&conversation, "a secret").await;
    ada.edit(&message, "the secret").await.data();
    inbox.expect("MessageAdded").await;
    inbox.expect("MessageUpdated").await;
    ada.delete(&message).await.data();
    inbox.expect("MessageUpdated").await;
    let missed = bob.inbox_after(start.as_deref()).await.missed().await;
    let kinds: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["MessageAdded", "MessageUpdated", "MessageUpdated"]);
    assert!(missed.iter().all(|event| event["message"]["body"].is_null()), "{missed:#?}");
}

#[tokio::test]
async fn only_the_sender_and_group_admins_delete_a_message_for_everyone() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let stranger = node.register("stranger").await;
    let group = ada.create_group("Deletions", &[&bob, &cem]).await;
    let (of_ada, of_bob) = (ada.send(&group, "ada's").await, bob.send(&group, "bob's").await);
    assert_eq!(cem.delete(&of_bob).await.code(), "FORBIDDEN");
    assert_eq!(bob.delete(&of_ada).await.code(), "FORBIDDEN");
    assert_eq!(stranger.delete(&of_bob).await.code(), "NOT_FOUND");
    assert!(ada.delete(&of_bob).await.data()["deleteMessage"]["message"]["deletedAt"].is_string());
    // In a direct conversation only the sender may delete a message for everyone.
    let direct = ada.open_direct(&bob).await;
    let message = bob.send(&direct, "bob's").await;
    assert_eq!(ada.delete(&message).await.code(), "FORBIDDEN");
    bob.delete(&message).await.data();
    // SYSTEM messages cannot be deleted.
    let leave = "mutation ($id: ID!) { leaveConversation(input: {conversationId: $id}) { conversationId } }";
    cem.query(leave, json!({"id": group})).await;
    let query = "query ($id: ID!) { conversation(id: $id) { lastMessage { id kind } } }";
    let told = ada.query(query, json!({"id": group})).await["conversation"]["lastMessage"].clone();
    assert_eq!(told["kind"], "SYSTEM");
    assert_eq!(ada.delete(&told).await.code(), "FORBIDDEN");
}

#[tokio::test]
async fn a_message_deleted_for_the_viewer_is_hidden_only_on_their_own_devices() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &bob.username, PASSWORD).await;
    let conversation = ada.open_direct(&bob).await;
    let mut desk = bob.inbox().await;
    let start = desk.cursor.clone();
    let mut messages = Vec::new();
    for body in ["one", "two", "three"] {
        messages.push(ada.send(&conversation, body).await);
    }
    let answer = ada.reply(&conversation, &messages[2], "answer").await.data()["sendMessage"]["message"].clone();
    ada.hide(&answer).await.data();
    let (mut pocket, mut hers) = (phone.inbox().await, ada.inbox().await);

    let hidden = bob.hide(&messages[2]).await.data()["deleteMessage"].clone();
    assert_eq!(hidden, json!({"messageId": messages[2]["id"], "message": null}));
    // A repeated deletion is no error and causes no event.
    phone.hide(&messages[2]).await.data();
    let last = ada.send(&conversation, "last").await;
    bob.hide(&last).await.data();
    let removed = pocket.expect("MessageRemoved").await;
    assert_eq!((&removed["messageId"], &removed["conversationId"]), (&messages[2]["id"], &json!(conversation)));
    pocket.expect("MessageAdded").await;
    assert_eq!(pocket.expect("MessageRemoved").await["messageId"], last["id"]);
    for _ in 0..4 {
        desk.expect("MessageAdded").await;
    }
    desk.expect("MessageRemoved").await;

    // Later changes of the hidden message do not reach the viewer, neither live nor after a resume.
    ada.edit(&messages[2], "three!").await.data();
    ada.edit(&messages[1], "two!").await.data();
    assert_eq!(hers.expect("MessageAdded").await["message"]["body"], "last");
    for body in ["three!", "two!"] {
        assert_eq!(hers.expect("MessageUpdated").await["message"]["body"], body);
    }
    assert_eq!(pocket.expect("MessageUpdated").await["message"]["body"], "two!");
    let missed = phone.inbox_after(start.as_deref()).await.missed().await;
    let missed: Vec<_> = missed
        .iter()
        .filter(|event| event["message"].is_object())
        .map(|event| event["message"]["body"].as_str().unwrap())
        .collect();
    assert_eq!(missed, ["one", "two!", "answer", "two!"]);

    // No field shows the hidden messages. The other messages keep their numbers.
    assert_eq!(bob.numbers_in(&conversation).await, [1, 2, 4]);
    assert_eq!(ada.numbers_in(&conversation).await, [1, 2, 3, 5]);
    let query = "query ($id: ID!, $message: ID!) {
        conversation(id: $id) {
            lastMessage { number replyTo { id } }
            messages(last: 1) { nodes { number } pageInfo { hasPreviousPage hasNextPage } }
        }
        node(id: $message) { id } nodes(ids: [$message]) { id }
    }";
    let data = phone.query(query, json!({"id": conversation, "message": messages[2]["id"]})).await;
    assert_eq!(data["conversation"]["lastMessage"], json!({"number": 4, "replyTo": null}));
    assert_eq!(
        data["conversation"]["messages"],
        json!({"nodes": [{"number": 4}], "pageInfo": {"hasPreviousPage": true, "hasNextPage": false}})
    );
    assert_eq!((&data["node"], &data["nodes"]), (&Value::Null, &json!([null])));
    for refused in [
        bob.edit(&messages[2], "no").await,
        bob.delete(&messages[2]).await,
        node.register("stranger").await.hide(&messages[0]).await,
    ] {
        assert_eq!(refused.code(), "NOT_FOUND");
    }
    assert_eq!(bob.reply(&conversation, &messages[2], "to what?").await.violations(), ["replyToId"]);
    // The other participant still sees the message.
    assert_eq!(ada.send(&conversation, "six").await["number"], 6);
    let data = ada.query(query, json!({"id": conversation, "message": messages[2]["id"]})).await;
    assert_eq!(data["node"]["id"], messages[2]["id"]);
}

/// Viewers with hidden messages must not share a rendering, or they would see messages that they have hidden.
#[tokio::test]
async fn events_show_no_viewer_a_message_that_this_viewer_has_hidden() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Shared", &[&bob, &cem]).await;
    let message = ada.send(&group, "first").await;
    bob.hide(&message).await.data();
    let query = "subscription ($id: ID!) { messageAdded(conversationId: $id) { message { conversation {
        messages(first: 1) { nodes { body } } lastMessage { body }
    } } } }";
    let mut sockets = [ada.socket().await, bob.socket().await, cem.socket().await];
    for (socket, user) in sockets.iter_mut().zip([&ada, &bob, &cem]) {
        socket.subscribe("it", query, json!({"id": group})).await;
        node.subscription_is_live(user, &group).await;
    }
    ada.send(&group, "second").await;
    for (socket, first) in sockets.iter_mut().zip(["first", "second", "first"]) {
        let data = socket.receive_of("it").await["payload"]["data"].clone();
        let conversation = &data["messageAdded"]["message"]["conversation"];
        assert_eq!(conversation["messages"]["nodes"][0]["body"], first);
        assert_eq!(conversation["lastMessage"]["body"], "second");
    }
}
