//! The queue of the inspection serves users in turn.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;

use crate::support::{Node, User, eventually, picture, put};

/// Creates uploads whose files are in S3 and that are not completed yet. Returns their ids.
async fn stored(user: &User, count: usize) -> Vec<Value> {
    let bytes = picture(1600, 1600);
    let mut ids = Vec::new();
    for _ in 0..count {
        let begun = user.begin_upload("a.jpg", "image/jpeg", bytes.len()).await;
        assert_eq!(put(&begun, bytes.clone()).await, 200);
        ids.push(begun["attachment"]["id"].clone());
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_many_uploads_delays_another_user_by_one_turn() {
    const MANY: usize = 20;
    let node = Node::build().flag("--media-workers=1").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (many, one) = (stored(&ada, MANY).await, stored(&bob, 1).await);
    let mut flood: FuturesUnordered<_> = many.iter().map(|id| ada.complete_upload(id)).collect();
    let mut finished = 0;
    tokio::select! {
        () = async { while flood.next().await.is_some() {} } => panic!("all are inspected already"),
        () = eventually("half of them wait", async || node.app.uploads().inspection_load().1 >= MANY / 2) => {}
    }
    let answer = tokio::select! {
        () = async { while flood.next().await.is_some() { finished += 1 } } => panic!("the other user came last"),
        answer = bob.complete_upload(&one[0]) => answer,
    };
    assert_eq!(answer.data()["completeUpload"]["attachment"]["state"], "READY");
    assert!(finished < MANY / 2, "{finished} other files came first");

    // When the client disconnects, its waiting inspections are dropped and the uploads stay PENDING.
    drop(flood);
    eventually("the inspections end", async || node.app.uploads().inspection_load() == (0, 0)).await;
    let mut states = Vec::new();
    for id in &many {
        states.push(ada.attachment(id).await["state"].clone());
    }
    assert!(states.contains(&Value::from("PENDING")), "{states:?}");
    let pending = many.iter().zip(&states).find(|(_, state)| *state == "PENDING").unwrap().0;
    let again = ada.complete_upload(pending).await.data();
    assert_eq!(again["completeUpload"]["attachment"]["state"], "READY");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_can_fill_only_a_share_of_the_inspection_queue() {
    let node = Node::build().flag("--media-workers=1").flag("--media-queue-share=1").start_alone().await;
    let ada = node.register("ada").await;
    let many = stored(&ada, 8).await;
    let answers = futures_util::future::join_all(many.iter().map(|id| ada.complete_upload(id))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert!(!refused.is_empty());
    for answer in refused {
        assert_eq!(answer.code(), "RATE_LIMITED");
        assert_eq!(answer.body["errors"][0]["extensions"]["limit"], "MEDIA_QUEUE_SHARE");
    }
}
