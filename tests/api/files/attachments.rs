//! Attachments of messages, and which users can see them.

use std::time::Duration;

use chrono::{TimeDelta, Timelike as _};
use futures_util::future::join_all;
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Node, Socket, TestDatabase, picture};

#[tokio::test]
async fn messages_are_sent_with_attachments() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Files", &[&bob]).await;
    let image = ada.upload("a.jpg", "image/jpeg", &picture(20, 20)).await["id"].clone();
    let (memo, other) = (ada.upload_note("one").await, ada.upload_note("two").await);
    let his = bob.upload_note("his").await;
    let pending = ada.begin_upload("note.txt", "text/plain", 4).await["attachment"]["id"].clone();

    let mixed = ada.send_with(&group, Some("look, @all"), &[&image, &memo, &image]).await;
    assert_eq!((&mixed["kind"], &mixed["body"]), (&json!("FILE"), &json!("look, @all")));
    let names: Vec<_> = mixed["attachments"].as_array().unwrap().iter().map(|it| it["id"].clone()).collect();
    assert_eq!(names, [image.clone(), memo.clone()], "each attachment once, in the order of the input");
    let silent = ada.send_with(&group, Some("  "), &[&memo, &other]).await;
    assert_eq!((&silent["kind"], &silent["body"]), (&json!("FILE"), &Value::Null));
    assert_eq!(ada.send_with(&group, Some("again"), &[&image]).await["kind"], "IMAGE");

    let refused = ada.try_send_with(&group, None, &[&memo, &his, &pending, &json!(other_id())]).await;
    assert_eq!(refused.violations(), ["attachmentIds.1", "attachmentIds.2", "attachmentIds.3"]);
    assert_eq!(ada.try_send_with(&group, None, &[&json!("att_x")]).await.violations(), ["attachmentIds.0"]);
    assert_eq!(ada.try_send_with(&group, None, &[]).await.violations(), ["body"]);
    let many: Vec<_> = (0..11).map(|_| json!(other_id())).collect();
    let many = ada.try_send_with(&group, None, &many.iter().collect::<Vec<_>>()).await;
    assert_eq!(many.violations(), ["attachmentIds"]);

    // A repeated `clientId` returns the first message, even if the attachments differ.
    let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    let input = |with: &Value| json!({"input": {"conversationId": group, "clientId": "once", "attachmentIds": [with]}});
    let first = ada.query(query, input(&memo)).await;
    assert_eq!(ada.query(query, input(&his)).await, first);

    let edit = "mutation ($id: ID!, $body: String!) {
        editMessage(input: {messageId: $id, body: $body}) { message { body kind editedAt attachments { id } } }
    }";
    let edited = ada.query(edit, json!({"id": silent["id"], "body": "two notes"})).await;
    assert_eq!(edited["editMessage"]["message"]["body"], "two notes");
    assert_eq!(edited["editMessage"]["message"]["attachments"].as_array().unwrap().len(), 2);
    let edited = ada.query(edit, json!({"id": silent["id"], "body": ""})).await;
    assert_eq!(edited["editMessage"]["message"]["body"], Value::Null);
    let text = ada.send(&group, "text").await;
    assert_eq!(ada.call(edit, json!({"id": text["id"], "body": " "})).await.violations(), ["body"]);

    ada.delete_message(&silent, "EVERYONE").await.data();
    let query = "query ($id: ID!) { node(id: $id) { ... on Message { kind body attachments { id } deletedAt } } }";
    let tombstone = bob.query(query, json!({"id": silent["id"]})).await["node"].clone();
    assert_eq!((&tombstone["kind"], &tombstone["attachments"]), (&json!("FILE"), &json!([])));
    assert_eq!(bob.forward(&silent, &group).await.violations(), ["messageIds.0"]);
}

/// Returns an attachment id that no attachment has.
fn other_id() -> String {
    parlance::ids::AttachmentId::new(Clock::system().now(), &parlance::random::Random::system()).to_string()
}

#[tokio::test]
async fn scheduled_messages_keep_their_attachments() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let (memo, his) = (ada.upload_note("later").await, bob.upload_note("his").await);
    let query = "mutation ($input: ScheduleMessageInput!) { scheduleMessage(input: $input) {
        scheduledMessage { id body attachments { id url } }
    } }";
    let at = Clock::system().now() + TimeDelta::hours(1);
    let input = |id: &Value| json!({"input": {"conversationId": direct, "attachmentIds": [id], "sendAt": at}});
    assert_eq!(ada.call(query, input(&his)).await.violations(), ["attachmentIds.0"]);
    let mut inbox = bob.inbox().await;
    let scheduled = ada.query(query, input(&memo)).await["scheduleMessage"]["scheduledMessage"].clone();
    assert_eq!((&scheduled["body"], &scheduled["attachments"][0]["id"]), (&Value::Null, &memo));
    assert_eq!(bob.attachment(&memo).await, Value::Null, "not sent yet");
    database.make_scheduled_messages_due().await;
    let message = inbox.message().await;
    assert_eq!(message["body"], Value::Null);
    assert_eq!(bob.attachment(&memo).await["id"], memo);
}

#[tokio::test]
async fn an_attachment_is_visible_to_users_who_can_see_a_message_that_contains_it() {
    let node = Node::start().await;
    let names = ["ada", "bob", "cem", "eve"];
    let [ada, bob, cem, eve] = &join_all(names.map(|name| node.register(name))).await[..] else { unreachable!() };
    let group = ada.create_group("Files", &[bob]).await;
    let memo = ada.upload_note("secret").await;
    assert_eq!(ada.attachment(&memo).await["state"], "READY");
    assert_eq!(bob.attachment(&memo).await, Value::Null, "not sent yet");
    let message = ada.send_with(&group, None, &[&memo]).await;
    assert!(bob.attachment(&memo).await["url"].is_string());
    assert_eq!(eve.attachment(&memo).await, Value::Null);

    // After a forward, participants of the target conversation see the attachment too.
    let theirs = bob.create_group("Elsewhere", &[cem]).await;
    let copy = bob.forward(&message, &theirs).await.data()["forwardMessages"]["messages"][0].clone();
    assert_eq!((&copy["kind"], &copy["body"], &copy["forwarded"]), (&json!("FILE"), &Value::Null, &json!(true)));
    assert_eq!(copy["attachments"][0]["id"], memo);
    assert!(cem.attachment(&memo).await["url"].is_string());
    assert_eq!(eve.forward(&message, &theirs).await.code(), "NOT_FOUND");

    // After the original message is deleted, the forwarded copy still shows the attachment.
    ada.delete_message(&message, "EVERYONE").await.data();
    assert!(bob.attachment(&memo).await["url"].is_string());
    bob.remove(&theirs, cem).await.data();
    assert_eq!(cem.attachment(&memo).await, Value::Null);
    bob.delete_message(&copy, "VIEWER").await.data();
    assert_eq!(bob.attachment(&memo).await, Value::Null);
    assert!(ada.attachment(&memo).await["url"].is_string(), "the uploader still sees it");

    // A new participant of a group that hides its history does not see earlier attachments.
    ada.update_group(&group, json!({"historyVisible": false})).await.data();
    let before = ada.upload_note("before").await;
    ada.send_with(&group, None, &[&before]).await;
    ada.add_participants(&group, &[cem]).await.data();
    assert_eq!(cem.attachment(&before).await, Value::Null);
    let after = ada.upload_note("after").await;
    ada.send_with(&group, None, &[&after]).await;
    assert!(cem.attachment(&after).await["url"].is_string());

    // A user who blocks the sender does not see the attachment.
    let direct = ada.open_direct(bob).await;
    let block = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    bob.query(block, json!({"id": ada.id})).await;
    let unwanted = ada.upload_note("unwanted").await;
    ada.send_with(&direct, None, &[&unwanted]).await;
    assert_eq!(bob.attachment(&unwanted).await, Value::Null);
}

/// A cached rendering of an event contains presigned URLs. The rendering expires before the URLs, so later clients get
/// fresh URLs.
#[tokio::test]
async fn a_cached_rendering_expires_before_its_presigned_urls() {
    const WINDOW: i64 = 30 * 60;
    // S3 checks signatures by the system clock, so files are uploaded through a node that uses the system clock.
    let database = TestDatabase::new().await;
    let uploading = Node::build().flag("--access-token-ttl=7200").start_on(&database).await;
    let (ada, bob) = (uploading.register("ada").await, uploading.register("bob").await);
    let group = ada.create_group("Files", &[&bob]).await;
    let memo = ada.upload_note("kept").await;
    let cursor = bob.cursor_after_message(&ada, &group).await;
    ada.send_with(&group, None, &[&memo]).await;
    // The clock of the second node starts eight seconds before the URLs change.
    let before = TimeDelta::seconds(8);
    let now = Clock::system().now();
    let into = i64::from(now.minute() * 60 + now.second()) % WINDOW;
    let ahead = TimeDelta::seconds(WINDOW - into) - before - TimeDelta::nanoseconds(now.nanosecond().into());
    let (clock, change) = (Clock::off_by(ahead), now + ahead + before);
    let node = Node::build().clock(clock).s3(&uploading.s3).start_on(&database).await;
    let bob = bob.on(&node);
    let shown = async || {
        let query = "subscription ($after: String) { inbox(after: $after) {
            ... on MessageAdded { message { attachments { url } } }
        } }";
        let mut socket: Socket = bob.socket().await;
        socket.subscribe("it", query, json!({"after": cursor})).await;
        let event = socket.receive_of("it").await;
        // Waits for CaughtUp, whose rendering counts too.
        socket.receive_of("it").await;
        let url = event["payload"]["data"]["inbox"]["message"]["attachments"][0]["url"].as_str().unwrap().to_owned();
        (url, socket)
    };
    let renders = async || node.metric("parlance_renders_total{rendering=\"shared\"}").await;
    // Renderings are cached only while a client subscribes with their document, so this socket stays open.
    let ((first, socket), rendered) = (shown().await, renders().await);
    let ((second, _), again) = (shown().await, renders().await);
    assert!(clock.now() < change, "this machine is too slow for this test");
    assert_eq!(second, first, "the rendering is cached");
    // Waits until the URLs change.
    tokio::time::sleep((change - clock.now()).to_std().unwrap_or_default() + Duration::from_millis(50)).await;
    let (later, _) = shown().await;
    assert_ne!(later, first);
    assert!(again - rendered <= 1, "only CaughtUp is rendered again");
    assert_eq!(shown().await.0, later, "the new rendering is cached");
    drop(socket);
}
