//! What is left of uploads and of pictures goes, too, however they end.

use std::time::Duration;

use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use parlance::config::S3Settings;
use serde_json::{Value, json};

use super::{Count, age, count, objects, sweeping, swept};
use crate::support::{Node, PATIENCE, TestDatabase, get, picture, put};

/// What an address stores after its upload is over goes soon, a rejected upload with it, and nothing else.
#[tokio::test]
async fn what_is_left_of_uploads_goes_before_the_grace_is_over() {
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
        assert_eq!(put(&begun, b"more".to_vec()).await, 200, "the address is still good");
        over.push(begun["attachment"]["id"].clone());
    }
    let all = |id: &Value| node.files().iter().filter(|path| path.contains(id.as_str().unwrap())).count();
    let upload = |id: &Value| {
        node.files().iter().filter(|path| path.contains(&format!("uploads/{}", id.as_str().unwrap()))).count()
    };
    let (ready, rejected) = (&over[0], &over[1]);
    assert!(upload(ready) > 0 && upload(rejected) > 0, "{:?}", node.files());

    // The oldest of these looks was made before the upload was rejected, and does not end its time.
    connection.batch_execute("UPDATE attachment_looks SET since = since - interval '29 minutes'").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(upload(ready) > 0 && upload(rejected) > 0, "{:?}", node.files());
    connection.batch_execute("UPDATE attachment_looks SET since = since - interval '2 minutes'").await.unwrap();
    let gone = async {
        while upload(ready) + all(rejected) > 0 || count(&mut connection, "attachments").await > 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is not swept");
    assert_eq!(ada.attachment(rejected).await, Value::Null);
    assert_eq!(get(&ada.attachment(ready).await["url"]).await.text().await.unwrap(), "note");
    let done = ada.complete_upload(&pending["attachment"]["id"]).await.data();
    assert_eq!(done["completeUpload"]["attachment"]["state"], "READY");
}

/// S3 is away when an upload is looked at that was stored once more: it is looked at again.
#[tokio::test]
async fn what_is_left_of_uploads_goes_once_s3_is_there_again() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let begun = ada.begin_upload("note", "text/plain", 4).await;
    assert_eq!(put(&begun, b"note".to_vec()).await, 200);
    let id = begun["attachment"]["id"].clone();
    ada.complete_upload(&id).await.data();
    assert_eq!(put(&begun, b"more".to_vec()).await, 200, "the address is still good");
    // One that goes, and cannot either.
    ada.upload_note("unsent").await;
    let group = ada.create_group("Files", &[]).await;
    ada.send_with(&group, None, &[&id]).await;

    age(&mut connection).await;
    let away = S3Settings { s3_endpoint: Some("http://127.0.0.1:1".to_owned()), ..node.s3.clone() };
    let other = sweeping().s3(&away).start_on(&database).await;
    let again = "attachment_looks WHERE since > now() - interval '1 day'";
    let noted = async {
        while count(&mut connection, again).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, noted).await.expect("it is looked at again");
    other.stop();
    let path = format!("uploads/{}", id.as_str().unwrap());
    let uploads = || node.files().iter().filter(|name| name.contains(&path)).count();
    assert!(uploads() > 0, "{:?}", node.files());

    age(&mut connection).await;
    // What went has waited for long enough, too.
    let over = "UPDATE attachments SET going_until = clock_timestamp() WHERE going_until IS NOT NULL";
    connection.batch_execute(over).await.unwrap();
    let _third = sweeping().s3(&node.s3).start_on(&database).await;
    let gone = async {
        while uploads() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is not removed");
    assert_eq!(get(&ada.attachment(&id).await["url"]).await.text().await.unwrap(), "note");
}

/// Squares are made of a picture while it comes to its last moment: it is chosen, or gone with all its objects.
#[tokio::test]
async fn nothing_is_left_of_a_picture_that_goes_while_it_is_chosen() {
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
        // Of the looks that are there now none is young any more, and a little later they are due.
        connection.batch_execute("UPDATE attachment_looks SET since = since - interval '13 hours'").await.unwrap();
        let last = diesel::sql_query("SELECT coalesce(max(id), 0) AS count FROM attachment_looks");
        let last = last.get_result::<Count>(&mut connection).await.unwrap().count;
        let due = format!("UPDATE attachment_looks SET since = since - interval '12 hours' WHERE id <= {last}");
        let (answer, ()) = tokio::join!(ada.call(query, json!({"id": id})), async {
            tokio::time::sleep(Duration::from_millis(round * 5)).await;
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
    swept(&mut connection).await;
    assert_eq!(count(&mut connection, "attachments").await, 0);
    let left: Vec<_> = node.files().into_iter().filter(|path| path.contains("att_")).collect();
    assert_eq!(left, [""; 0]);
}

/// However often an upload is resumed, it is looked at a few times.
#[tokio::test]
async fn an_upload_that_is_resumed_is_kept_and_not_noted_again_and_again() {
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

/// What S3 refuses to remove holds up nothing else.
#[tokio::test]
async fn one_that_cannot_be_removed_is_left_and_the_others_go() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let mut connection = database.connection().await;
    let ada = node.register("ada").await;
    let mut notes = Vec::new();
    for _ in 0..3 {
        notes.push(ada.upload_note("note").await);
    }
    // No S3 has an upload without a name.
    let stuck = "UPDATE attachments SET upload_id = '' WHERE id = (SELECT id FROM attachments ORDER BY id LIMIT 1)";
    connection.batch_execute(stuck).await.unwrap();
    age(&mut connection).await;
    let _other = sweeping().s3(&node.s3).start_on(&database).await;
    let gone = async {
        while count(&mut connection, "attachments").await > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("it is not swept");
    let left: Vec<_> = notes.iter().map(|id| objects(&node, id)).collect();
    assert_eq!(left, [1, 0, 0]);
    connection.batch_execute("UPDATE attachments SET upload_id = NULL, going_until = clock_timestamp()").await.unwrap();
    swept(&mut connection).await;
    assert_eq!(objects(&node, &notes[0]), 0);
}
