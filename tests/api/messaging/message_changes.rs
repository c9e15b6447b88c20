//! Edits of messages, the `messageUpdated` subscription, and messages that are hidden from later participants.

use diesel::sql_types::Text;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;
use serde_json::json;

use crate::support::{Node, PASSWORD, TestDatabase, User};

const UPDATES: &str = "subscription ($id: ID!) { messageUpdated(conversationId: $id) {
    cursor message { id body deletedAt }
} }";

#[tokio::test]
async fn an_edit_changes_the_body_for_everyone_and_stores_the_former_body() {
    #[derive(QueryableByName)]
    struct Edit {
        #[diesel(sql_type = Text)]
        body: String,
    }
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &bob.username, PASSWORD).await;
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "hallo").await;
    let mut inboxes = [ada.inbox().await, bob.inbox().await, phone.inbox().await];

    let edited = ada.edit(&message, " hello \n").await.data()["editMessage"]["message"].clone();
    assert_eq!((&edited["body"], &edited["number"]), (&json!(" hello \n"), &json!(1)));
    assert!(edited["editedAt"].is_string() && edited["revision"].as_i64() > message["revision"].as_i64());
    // An edit with the same body changes nothing.
    let again = ada.edit(&message, " hello \n").await.data()["editMessage"]["message"].clone();
    assert_eq!(again, edited);
    ada.edit(&message, "hello!").await.data();
    for inbox in &mut inboxes {
        for _ in 0..2 {
            let event = inbox.expect("MessageUpdated").await;
            assert_eq!(event["message"]["id"], message["id"]);
        }
    }
    // A later message has a higher revision, and the edit that changed nothing sent no event.
    let next = ada.send(&conversation, "next").await;
    assert!(next["revision"].as_i64() > edited["revision"].as_i64());
    assert_eq!(inboxes[2].expect("MessageAdded").await["message"]["body"], "next");

    let query = sql_query("SELECT body FROM message_edits ORDER BY until");
    let edits: Vec<Edit> = query.load(&mut database.connection().await).await.unwrap();
    assert_eq!(edits.into_iter().map(|edit| edit.body).collect::<Vec<_>>(), ["hallo", " hello \n"]);
}

#[tokio::test]
async fn the_first_and_the_newest_former_bodies_are_kept() {
    #[derive(QueryableByName)]
    struct Edit {
        #[diesel(sql_type = Text)]
        body: String,
    }
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--max-kept-edits=3").start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "0").await;
    let other = ada.send(&conversation, "other").await;
    ada.edit(&other, "another").await.data();
    let kept = async || {
        let query = sql_query("SELECT body FROM message_edits WHERE body <> 'other' ORDER BY until");
        let edits: Vec<Edit> = query.load(&mut database.connection().await).await.unwrap();
        edits.into_iter().map(|edit| edit.body).collect::<Vec<_>>().join(" ")
    };
    let expected = ["0", "0 1", "0 1 2", "0 2 3", "0 3 4", "0 4 5"];
    for (place, expected) in expected.into_iter().enumerate() {
        ada.edit(&message, &(place + 1).to_string()).await.data();
        assert_eq!(kept().await, expected);
    }
    // A smaller setting takes effect with the next edit.
    let smaller = Node::build().flag("--max-kept-edits=2").start_on(&database).await;
    ada.on(&smaller).edit(&message, "7").await.data();
    assert_eq!(kept().await, "0 6");
}

#[tokio::test]
async fn only_the_sender_can_edit_and_the_body_is_validated() {
    let node = Node::build().flag("--max-message-length=10").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let stranger = node.register("stranger").await;
    let group = ada.create_group("Edits", &[&bob]).await;
    let message = bob.send(&group, "mine").await;
    assert_eq!(ada.edit(&message, "yours").await.code(), "FORBIDDEN");
    assert_eq!(stranger.edit(&message, "seen").await.code(), "NOT_FOUND");
    for body in ["", " ", "nul\0", "eleven chars"] {
        let answer = bob.edit(&message, body).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["body"]), "{body:?}");
    }
    // The limit counts Unicode scalar values, not bytes.
    assert_eq!(bob.edit(&message, "ééééééé👍👍👍").await.data()["editMessage"]["message"]["number"], 1);
    bob.delete(&message).await.data();
    assert_eq!(bob.edit(&message, "back").await.violations(), ["messageId"]);
}

#[tokio::test]
async fn message_updated_delivers_the_visible_changes_of_one_conversation() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (group, other) = (ada.create_group("Group", &[&bob]).await, ada.create_group("Other", &[&bob]).await);
    let (message, elsewhere) = (ada.send(&group, "here").await, ada.send(&other, "there").await);
    let hidden = ada.send(&group, "hidden").await;
    bob.hide(&hidden).await.data();
    let mut socket = bob.socket().await;
    socket.subscribe("it", UPDATES, json!({"id": group})).await;
    node.subscription_is_live(&bob, &group).await;
    ada.edit(&elsewhere, "there!").await.data();
    ada.edit(&hidden, "hidden!").await.data();
    ada.send(&group, "new").await;
    ada.edit(&message, "here!").await.data();
    ada.delete(&message).await.data();
    let bodies = [socket.receive_of("it").await, socket.receive_of("it").await]
        .map(|event| event["payload"]["data"]["messageUpdated"]["message"].clone());
    assert!(bodies.iter().all(|shown| shown["id"] == message["id"]), "{bodies:?}");
    assert!(bodies[1]["deletedAt"].is_string());

    let remove = "mutation ($id: ID!, $user: ID!) { removeParticipant(input: {conversationId: $id, userId: $user}) {
        conversation { id } } }";
    ada.query(remove, json!({"id": group, "user": bob.id})).await;
    let over = socket.receive_of("it").await;
    assert_eq!((&over["type"], &over["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("NOT_FOUND")));
    socket.subscribe("again", UPDATES, json!({"id": group})).await;
    assert_eq!(socket.receive_of("again").await["payload"][0]["extensions"]["code"], "NOT_FOUND");
}

/// A group can hide its history from new participants. Changes of hidden messages are hidden too.
#[tokio::test]
async fn messages_hidden_from_new_participants_and_changes_of_these_messages_stay_hidden() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Newcomers", &[&bob]).await;
    let mut messages = Vec::new();
    for body in ["one", "two", "three"] {
        messages.push(ada.send(&group, body).await);
    }
    let since = "UPDATE participants SET hidden_up_to = 2 WHERE role = 'MEMBER'";
    sql_query(since).execute(&mut database.connection().await).await.unwrap();
    let mut inbox = bob.inbox().await;
    ada.edit(&messages[0], "one!").await.data();
    ada.edit(&messages[2], "three!").await.data();
    assert_eq!(inbox.expect("MessageUpdated").await["message"]["body"], "three!");
    assert_eq!(bob.numbers_in(&group).await, [3]);
    assert_eq!(ada.numbers_in(&group).await, [1, 2, 3]);
    for refused in [bob.hide(&messages[0]).await, bob.delete(&messages[1]).await] {
        assert_eq!(refused.code(), "NOT_FOUND");
    }
    assert_eq!(bob.reply(&group, &messages[1], "what?").await.violations(), ["replyToId"]);
    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 5) { pageInfo { hasPreviousPage } } } }";
    let data = bob.query(query, json!({"id": group})).await;
    assert_eq!(data["conversation"]["messages"]["pageInfo"]["hasPreviousPage"], false);
}
