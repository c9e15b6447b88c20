//! Completion of uploads: the inspection of the files, the claims of nodes on files, and the queue of the inspection.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::{Node, TestDatabase, picture, put};

#[tokio::test]
async fn concurrent_completions_of_an_upload_get_the_same_result() {
    let database = TestDatabase::new().await;
    let one = Node::build().start_on(&database).await;
    let other = Node::build().s3(&one.s3).start_on(&database).await;
    let ada = one.register("ada").await;
    let bytes = picture(900, 900);
    let begun = ada.begin_upload("a.jpg", "image/jpeg", bytes.len()).await;
    put(&begun, bytes).await;
    let id = &begun["attachment"]["id"];
    let answers = join_all((0..8).map(|place| {
        let user = if place % 2 == 0 { ada.clone() } else { ada.on(&other) };
        async move { user.complete_upload(id).await.data()["completeUpload"]["attachment"].clone() }
    }))
    .await;
    for answer in &answers {
        assert_eq!((&answer["state"], &answer["blurhash"]), (&json!("READY"), &answers[0]["blurhash"]));
    }
    let eve = one.register("eve").await;
    assert_eq!(eve.complete_upload(id).await.code(), "NOT_FOUND");
    assert_eq!(ada.complete_upload(&json!("att_x")).await.violations(), ["attachmentId"]);
}

/// A node claims a file before it inspects the file. If the node dies, the claim expires.
#[tokio::test]
async fn an_upload_is_inspected_when_the_claim_of_a_dead_node_expires() {
    use diesel_async::SimpleAsyncConnection as _;
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let begun = ada.begin_upload("note.txt", "text/plain", 4).await;
    put(&begun, b"note".to_vec()).await;
    let mut connection = database.connection().await;
    let claim = "UPDATE attachments SET claimed_until = clock_timestamp() + interval '2 seconds'";
    connection.batch_execute(claim).await.unwrap();
    let ready = ada.complete_upload(&begun["attachment"]["id"]).await.data();
    assert_eq!(ready["completeUpload"]["attachment"]["state"], "READY");
}

#[tokio::test]
async fn uploads_get_unavailable_when_the_inspection_queue_is_full() {
    // This scanner accepts files and sends no result. Later the test closes the connections of the scanner.
    let scanner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("--clamd-address={}", scanner.local_addr().unwrap());
    let node = Node::build().flag("--media-queue=1").flag(&address).start_alone().await;
    let ada = node.register("ada").await;
    let mut begun = Vec::new();
    for _ in 0..6 {
        let upload = ada.begin_upload("a", "text/plain", 4).await;
        put(&upload, b"note".to_vec()).await;
        begun.push(upload["attachment"]["id"].clone());
    }
    // Four files are inspected, one waits in the queue, and one is refused.
    let mut answers: FuturesUnordered<_> = begun.iter().map(|id| ada.complete_upload(id)).collect();
    let turned_away = answers.next().await.unwrap();
    assert_eq!(turned_away.code(), "UNAVAILABLE");
    assert!(turned_away.body.to_string().contains("Too many files"), "{}", turned_away.body);
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(scanner.accept().await.unwrap());
    }
    drop((streams, scanner));
    while let Some(answer) = answers.next().await {
        assert_eq!(answer.code(), "UNAVAILABLE");
        assert!(answer.body.to_string().contains("cannot be scanned"), "{}", answer.body);
    }
}
