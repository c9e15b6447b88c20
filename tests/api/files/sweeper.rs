//! The sweeper, which removes attachments without references. Every node runs a sweeper.

mod remnants;

use std::time::Duration;
use tokio_util::sync::CancellationToken;

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::future::join_all;
use parlance::domain::people::export::export;
use serde_json::{Value, json};

use crate::support::{Node, NodeBuilder, PASSWORD, TestDatabase, eventually, get, picture, put};

fn sweeping() -> NodeBuilder {
    Node::build().flag("--attachment-sweep-interval=20")
}

/// Moves all scheduled checks of attachments two days into the past, so that all checks are due.
async fn age(connection: &mut AsyncPgConnection) {
    connection.batch_execute("UPDATE attachment_looks SET since = since - interval '2 days'").await.unwrap();
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

async fn count(connection: &mut AsyncPgConnection, of: &str) -> i64 {
    diesel::sql_query(format!("SELECT count(*) FROM {of}")).get_result::<Count>(connection).await.unwrap().count
}

/// Waits until no check is due and no attachment is being removed.
async fn wait_for_sweep(connection: &mut AsyncPgConnection) {
    let left = "(SELECT id FROM attachment_looks WHERE since < now() - interval '1 day'
        UNION ALL SELECT 0 FROM attachments WHERE going_until IS NOT NULL) AS left_over";
    eventually("all attachments that are due are removed", async || count(connection, left).await == 0).await;
}

/// Returns the number of objects of the attachment in the embedded S3 of the node.
fn objects(node: &Node, id: &Value) -> usize {
    let id = id.as_str().unwrap();
    let paths = node.files();
    paths.iter().filter(|path| path.contains(id) && [".webp", "original"].iter().any(|end| path.ends_with(end))).count()
}

#[tokio::test]
async fn unreferenced_attachments_are_removed_and_referenced_ones_stay() {
    let database = TestDatabase::new().await;
    let node = sweeping().start_on(&database).await;
    let mut connection = database.connection().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Files", &[&bob]).await;
    let image = picture(200, 200);
    let upload = async || ada.upload("a.jpg", "image/jpeg", &image).await["id"].clone();

    let pending = ada.begin_upload("a.jpg", "image/jpeg", image.len()).await;
    assert_eq!(put(&pending, image.clone()).await, 200);
    let rejected = ada.try_upload("a.png", "image/png", b"no picture").await["id"].clone();
    let (unsent, sent, avatar, scheduled) = (upload().await, upload().await, upload().await, upload().await);
    ada.send_with(&group, None, &[&sent]).await;
    let query = "mutation ($id: ID!) { updateProfile(input: {avatarId: $id}) { viewer { id } } }";
    ada.query(query, json!({"id": avatar})).await;
    let query =
        "mutation ($input: ScheduleMessageInput!) { scheduleMessage(input: $input) { scheduledMessage { id } } }";
    let at = parlance::clock::Clock::system().now() + chrono::TimeDelta::hours(1);
    let input = json!({"conversationId": group, "attachmentIds": [scheduled], "sendAt": at});
    let later = ada.query(query, json!({"input": input})).await["scheduleMessage"]["scheduledMessage"]["id"].clone();

    // No attachment is removed during the grace period of one day. An older attachment is removed, which shows that the
    // sweeper has run.
    connection.batch_execute("UPDATE attachment_looks SET since = since - interval '23 hours'").await.unwrap();
    let older = upload().await;
    let due = "UPDATE attachment_looks SET since = since - interval '25 hours' WHERE attachment_id =
        (SELECT id FROM attachments ORDER BY id DESC LIMIT 1)";
    connection.batch_execute(due).await.unwrap();
    eventually("the older attachment is removed", async || ada.attachment(&older).await.is_null()).await;
    assert_eq!(objects(&node, &unsent), 4);
    age(&mut connection).await;
    wait_for_sweep(&mut connection).await;
    for gone in [&pending["attachment"]["id"], &rejected, &unsent] {
        assert_eq!(ada.attachment(gone).await, Value::Null);
        assert!(!node.files().iter().any(|path| path.contains(gone.as_str().unwrap())), "{:?}", node.files());
        assert_eq!(ada.complete_upload(gone).await.code(), "NOT_FOUND");
        assert_eq!(ada.try_send_with(&group, None, &[gone]).await.violations(), ["attachmentIds.0"]);
    }
    for (kept, many) in [(&sent, 4), (&avatar, 7), (&scheduled, 4)] {
        assert_eq!(objects(&node, kept), many);
        assert_eq!(get(&ada.attachment(kept).await["url"]).await.status(), 200);
    }

    // An attachment is removed after the last reference to it is removed.
    let query = "mutation { updateProfile(input: {avatarId: null}) { viewer { id } } }";
    ada.query(query, json!({})).await;
    let query =
        "mutation ($id: ID!) { cancelScheduledMessage(input: {scheduledMessageId: $id}) { scheduledMessageId } }";
    ada.query(query, json!({"id": later})).await;
    // The conversation is deleted with its messages when the last participant leaves.
    bob.leave(&group).await.data();
    ada.leave(&group).await.data();
    age(&mut connection).await;
    wait_for_sweep(&mut connection).await;
    for gone in [&sent, &avatar, &scheduled] {
        assert_eq!((objects(&node, gone), ada.attachment(gone).await), (0, Value::Null));
    }
    assert_eq!(count(&mut connection, "attachments").await, 0);
    assert_eq!(count(&mut connection, "attachment_looks").await, 0);
}

#[tokio::test]
async fn forwarded_attachments_outlive_the_original_message() {
    let database = TestDatabase::new().await;
    let node = sweeping().start_on(&database).await;
    let mut connection = database.connection().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (group, other) = (ada.create_group("One", &[&bob]).await, bob.create_group("Other", &[]).await);
    let memo = ada.upload_note("note").await;
    let message = ada.send_with(&group, None, &[&memo]).await;
    let copy = bob.forward(&message, &other).await.data()["forwardMessages"]["messages"][0].clone();
    ada.delete_message(&message, "EVERYONE").await.data();
    age(&mut connection).await;
    wait_for_sweep(&mut connection).await;
    assert_eq!(get(&bob.attachment(&memo).await["url"]).await.text().await.unwrap(), "note");
    // When the account of the sender is deleted, sent attachments remain and unsent attachments are removed.
    let unsent = ada.upload_note("unsent").await;
    ada.delete_account(Some(PASSWORD)).await.data();
    age(&mut connection).await;
    wait_for_sweep(&mut connection).await;
    assert_eq!(get(&bob.attachment(&memo).await["url"]).await.text().await.unwrap(), "note");
    assert_eq!(objects(&node, &unsent), 0);
    bob.delete_message(&copy, "EVERYONE").await.data();
    age(&mut connection).await;
    wait_for_sweep(&mut connection).await;
    assert_eq!(objects(&node, &memo), 0);
    assert_eq!(count(&mut connection, "attachments").await, 0);
}

#[tokio::test]
async fn attachments_of_expired_messages_are_removed() {
    let database = TestDatabase::new().await;
    let node = sweeping().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Files", &[]).await;
    let memo = ada.upload_note("note").await;
    let mut inbox = ada.inbox().await;
    let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    let input = json!({"conversationId": group, "attachmentIds": [memo], "expiresIn": 1});
    ada.query(query, json!({"input": input})).await;
    inbox.skip_to("MessageUpdated").await;
    age(&mut connection).await;
    wait_for_sweep(&mut connection).await;
    assert_eq!(objects(&node, &memo), 0);
}

/// If a node dies between deleting the objects and deleting the row, another node finishes the removal.
#[tokio::test]
async fn another_node_finishes_a_removal_that_a_dead_node_has_begun() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Files", &[]).await;
    let memo = ada.upload_note("note").await;
    let taken = "DELETE FROM attachment_looks;
        UPDATE attachments SET going_until = clock_timestamp() + interval '1 second'";
    connection.batch_execute(taken).await.unwrap();
    assert_eq!(ada.attachment(&memo).await, Value::Null, "an attachment that is being removed is not visible");
    assert_eq!(ada.try_send_with(&group, None, &[&memo]).await.violations(), ["attachmentIds.0"]);
    let _other = sweeping().s3(&node.s3).start_on(&database).await;
    wait_for_sweep(&mut connection).await;
    assert_eq!((objects(&node, &memo), count(&mut connection, "attachments").await), (0, 0));
}

/// The sweepers of three nodes run continuously while messages with the same attachments are sent, forwarded and
/// deleted. Afterwards all referenced attachments exist, and all other attachments are removed.
#[tokio::test]
async fn concurrent_sweeps_never_remove_referenced_attachments() {
    const ATTACHMENTS: usize = 12;
    const ROUNDS: usize = 15;
    let database = TestDatabase::new().await;
    let first = sweeping().start_on(&database).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(sweeping().s3(&first.s3).start_on(&database).await);
    }
    let (ada, bob) = (first.register("ada").await, first.register("bob").await);
    let (one, other) = (ada.create_group("One", &[&bob]).await, bob.create_group("Other", &[]).await);
    let done = CancellationToken::new();
    let aging = async {
        let mut connection = database.connection().await;
        while !done.is_cancelled() {
            age(&mut connection).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let life = async |place: usize| {
        let (ada, bob) = (ada.on(&nodes[place % 2]), bob.on(&nodes[(place + 1) % 2]));
        let mut lost = 0;
        for _ in 0..ROUNDS {
            // Without a grace period, the sweeper may remove an upload before a message references it.
            let begun = ada.begin_upload("note.txt", "text/plain", 4).await;
            put(&begun, b"note".to_vec()).await;
            let id = &begun["attachment"]["id"];
            let ready = ada.complete_upload(id).await;
            let sent = ada.try_send_with(&one, None, &[id]).await;
            if ready.body.get("errors").is_some() || sent.body.get("errors").is_some() {
                lost += 1;
                continue;
            }
            let message = sent.data()["sendMessage"]["message"].clone();
            let (forwarded, deleted) = tokio::join!(bob.forward(&message, &other), async {
                // The delay varies, so that the message is deleted at four different moments of the forward.
                tokio::time::sleep(Duration::from_millis(place as u64 % 4)).await;
                ada.delete_message(&message, "EVERYONE").await
            });
            deleted.data();
            // Sends the attachment again during or after its removal.
            let again = ada.try_send_with(&one, None, &[id]).await;
            for answer in [forwarded, again] {
                if answer.body.get("errors").is_some() {
                    assert!(["NOT_FOUND", "BAD_USER_INPUT"].contains(&answer.code()), "{:#}", answer.body);
                }
            }
        }
        lost
    };
    let lives = async {
        let lost: usize = join_all((0..ATTACHMENTS).map(life)).await.into_iter().sum();
        done.cancel();
        lost
    };
    let (lost, ()) = tokio::join!(lives, aging);
    let mut connection = database.connection().await;
    age(&mut connection).await;
    wait_for_sweep(&mut connection).await;

    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 100) { nodes {
        kind deletedAt attachments { url }
    } pageInfo { startCursor hasPreviousPage } } } }";
    let mut there = 0;
    for (user, group) in [(&ada, &one), (&bob, &other)] {
        let data = user.query(query, json!({"id": group})).await;
        for message in data["conversation"]["messages"]["nodes"].as_array().unwrap() {
            if message["kind"] == "FILE" && message["deletedAt"].is_null() {
                let attachments = message["attachments"].as_array().unwrap();
                assert_eq!(attachments.len(), 1, "{message}");
                assert_eq!(get(&attachments[0]["url"]).await.text().await.unwrap(), "note");
                there += 1;
            }
        }
    }
    let rows = count(&mut connection, "attachments").await;
    let used = count(&mut connection, "(SELECT DISTINCT attachment_id FROM message_attachments) AS used").await;
    assert_eq!(rows, used, "only referenced attachments must remain");
    let originals = first.files().iter().filter(|path| path.ends_with("original")).count();
    assert_eq!(i64::try_from(originals).unwrap(), rows);
    assert!(there > 0 && lost < ATTACHMENTS * ROUNDS, "{there} attachments exist, {lost} were removed before the send");
}

#[tokio::test]
async fn the_export_of_a_user_lists_the_files_of_the_user() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let (memo, his) = (ada.upload_note("mine").await, bob.upload_note("his").await);
    let sent = ada.send_with(&direct, None, &[&memo]).await;
    bob.send_with(&direct, None, &[&his]).await;
    let mut text = Vec::new();
    export(&database.url, &ada.id, chrono::DateTime::UNIX_EPOCH, &mut text).await.unwrap();
    let archive: Value = serde_json::from_slice(&text).unwrap();
    let files = archive["attachments"].as_array().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!((&files[0]["id"], &files[0]["fileName"]), (&memo, &json!("note.txt")));
    assert_eq!(files[0]["key"], format!("files/{}/original", memo.as_str().unwrap()));
    assert_eq!(archive["messages"][0]["id"], sent["id"]);
    assert_eq!(archive["messages"][0]["attachmentIds"], json!([memo]));
}
