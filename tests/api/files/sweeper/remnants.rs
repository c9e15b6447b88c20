//! Removal of objects that uploads and pictures leave behind in S3.

use std::time::Duration;

use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use parlance::config::S3Settings;
use serde_json::{Value, json};

use super::{Count, age, count, objects, sweeping, wait_for_sweep};
use crate::support::{Node, TestDatabase, eventually, get, picture, put};

/// A client can still store bytes at an upload URL after the upload is completed. 30 minutes later these bytes and the
/// rejected uploads are removed. Other uploads stay.
#[tokio::test]
async fn late_and_rejected_uploads_are_removed_after_30_minutes() {
    let database = TestDatabase::new().await;
    let node = sweeping().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let pending = ada.begin_upload("note.txt", "text/plain", 4).await;
    assert_eq!(put(&pending, b"note".to_vec()).await, 200);
    let mut over = Vec::new();
    for (content_type, state) in [("text/plain", "READY"), ("image/png", "REJECTED")] {
        let begun = ada.begin_upload("note", content_type, 4).await;
        assert_eq!(put(&begun, b"note".to_vec()).await, 200);
        let done = ada.complete_upload(&begun["attachment"]["id"]).await.data();
        assert_eq!(done["completeUpload"]["attachment"]["state"], state);
        assert_eq!(put(&begun, b"more".to_vec()).await, 200, "the upload URL is still valid");
        over.push(begun["attachment"]["id"].clone());
    }
    let all = |id: &Value| node.files().iter().filter(|path| path.contains(id.as_str().unwrap())).count();
    let upload = |id: &Value| {
        node.files().iter().filter(|path| path.contains(&format!("uploads/{}", id.as_str().unwrap()))).count()
    };
    let (ready, rejected) = (&over[0], &over[1]);
    assert!(upload(ready) > 0 && upload(rejected) > 0, "{:?}", node.files());

    // After 29 minutes the uploads are not removed, even by a check that was scheduled before the rejection. The upload
    // `last` is older and is removed, which shows that the sweeper has run.
    connection.batch_execute("UPDATE attachment_looks SET since = since - interval '29 minutes'").await.unwrap();
    let last = ada.try_upload("note", "image/png", b"note").await["id"].clone();
    let due = "UPDATE attachment_looks SET since = since - interval '31 minutes' WHERE attachment_id =
        (SELECT id FROM attachments ORDER BY id DESC LIMIT 1)";
    connection.batch_execute(due).await.unwrap();
    eventually("the last upload is removed", async || ada.attachment(&last).await.is_null()).await;
    assert!(upload(ready) > 0 && upload(rejected) > 0, "{:?}", node.files());
    connection.batch_execute("UPDATE attachment_looks SET since = since - interval '2 minutes'").await.unwrap();
    eventually("the uploads are removed", async || {
        upload(ready) + all(rejected) == 0 && count(&mut connection, "attachments").await == 2
    })
    .await;
    assert_eq!(ada.attachment(rejected).await, Value::Null);
    assert_eq!(get(&ada.attachment(ready).await["url"]).await.text().await.unwrap(), "note");
    let done = ada.complete_upload(&pending["attachment"]["id"]).await.data();
    assert_eq!(done["completeUpload"]["attachment"]["state"], "READY");
}

/// S3 is unavailable when the sweeper checks an upload that was stored again after its completion. The sweeper
/// schedules another check.
#[tokio::test]
async fn late_uploads_are_removed_when_s3_is_available_again() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let begun = ada.begin_upload("note", "text/plain", 4).await;
    assert_eq!(put(&begun, b"note".to_vec()).await, 200);
    let id = begun["attachment"]["id"].clone();
    ada.complete_upload(&id).await.data();
    assert_eq!(put(&begun, b"more".to_vec()).await, 200, "the upload URL is still valid");
    // This attachment is also due, and also cannot be removed while S3 is unavailable.
    ada.upload_note("unsent").await;
    let group = ada.create_group("Files", &[]).await;
    ada.send_with(&group, None, &[&id]).await;

    age(&mut connection).await;
    let away = S3Settings { s3_endpoint: Some("http://127.0.0.1:1".to_owned()), ..node.s3.clone() };
    let other = sweeping().s3(&away).start_on(&database).await;
    let again = "attachment_looks WHERE since > now() - interval '1 day'";
    eventually("a further check is scheduled", async || count(&mut connection, again).await > 0).await;
    other.stop();
    other.stopped().await;
    let path = format!("uploads/{}", id.as_str().unwrap());
    let uploads = || node.files().iter().filter(|name| name.contains(&path)).count();
    assert!(uploads() > 0, "{:?}", node.files());

    age(&mut connection).await;
    // Sets the deadline of the removal to now, so that another node may continue the removal.
    let over = "UPDATE attachments SET going_until = clock_timestamp() WHERE going_until IS NOT NULL";
    connection.batch_execute(over).await.unwrap();
    let _third = sweeping().s3(&node.s3).start_on(&database).await;
    eventually("the upload is removed", async || uploads() == 0).await;
    assert_eq!(get(&ada.attachment(&id).await["url"]).await.text().await.unwrap(), "note");
}

/// A picture becomes due for removal while its square thumbnails are made. Either the picture becomes the avatar, or
/// the picture is removed with all its objects.
#[tokio::test]
async fn a_picture_removed_while_it_becomes_the_avatar_leaves_no_objects() {
    const ROUNDS: u64 = 12;
    let database = TestDatabase::new().await;
    let node = sweeping().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let image = picture(600, 600);
    let query = "mutation ($id: ID) { updateProfile(input: {avatarId: $id}) { viewer { id } } }";
    let mut chosen = 0;
    for round in 0..ROUNDS {
        let id = ada.upload("a.jpg", "image/jpeg", &image).await["id"].clone();
        // The existing checks become 13 hours old. Moments later they become 25 hours old, so that they are due.
        connection.batch_execute("UPDATE attachment_looks SET since = since - interval '13 hours'").await.unwrap();
        let last = diesel::sql_query("SELECT coalesce(max(id), 0) AS count FROM attachment_looks");
        let last = last.get_result::<Count>(&mut connection).await.unwrap().count;
        let due = format!("UPDATE attachment_looks SET since = since - interval '12 hours' WHERE id <= {last}");
        let (answer, ()) = tokio::join!(ada.call(query, json!({"id": id})), async {
            // In each round the picture becomes due at a different moment of the mutation. The last moments are late
            // enough for a loaded machine.
            tokio::time::sleep(Duration::from_millis((1 << round) - 1)).await;
            connection.batch_execute(&due).await.unwrap();
        });
        if answer.body.get("errors").is_some() {
            assert_eq!(answer.violations(), ["avatarId"]);
        } else {
            chosen += 1;
        }
        ada.query(query, json!({"id": null})).await;
    }
    assert!(chosen > 0);
    age(&mut connection).await;
    wait_for_sweep(&mut connection).await;
    assert_eq!(count(&mut connection, "attachments").await, 0);
    let left: Vec<_> = node.files().into_iter().filter(|path| path.contains("att_")).collect();
    assert_eq!(left, [""; 0]);
}

#[tokio::test]
async fn repeated_resumes_of_an_upload_schedule_few_checks() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let begun = ada.begin_upload("note.txt", "text/plain", 4).await;
    let id = &begun["attachment"]["id"];
    let query = "mutation ($id: ID!) { resumeUpload(input: {attachmentId: $id}) { uploaded } }";
    for looks in [1, 2] {
        for _ in 0..5 {
            ada.query(query, json!({"id": id})).await;
        }
        assert_eq!(count(&mut connection, "attachment_looks").await, looks);
        connection.batch_execute("UPDATE attachment_looks SET since = since - interval '13 hours'").await.unwrap();
    }
    connection.batch_execute("UPDATE attachments SET going_until = clock_timestamp()").await.unwrap();
    assert_eq!(ada.call(query, json!({"id": id})).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn an_attachment_that_cannot_be_removed_does_not_block_others() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let mut notes = Vec::new();
    for _ in 0..3 {
        notes.push(ada.upload_note("note").await);
    }
    // S3 rejects the removal of an upload whose id is empty.
    let stuck = "UPDATE attachments SET upload_id = '' WHERE id = (SELECT id FROM attachments ORDER BY id LIMIT 1)";
    connection.batch_execute(stuck).await.unwrap();
    age(&mut connection).await;
    let _other = sweeping().s3(&node.s3).start_on(&database).await;
    eventually("the other attachments are removed", async || count(&mut connection, "attachments").await == 1).await;
    let left: Vec<_> = notes.iter().map(|id| objects(&node, id)).collect();
    assert_eq!(left, [1, 0, 0]);
    connection.batch_execute("UPDATE attachments SET upload_id = NULL, going_until = clock_timestamp()").await.unwrap();
    wait_for_sweep(&mut connection).await;
    assert_eq!(objects(&node, &notes[0]), 0);
}
