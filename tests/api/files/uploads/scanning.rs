//! Uploads that a virus scanner checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::files::scanner::{Clamd, EICAR};
use crate::support::{Node, TestDatabase, picture, put};

#[tokio::test]
async fn an_upload_that_clamd_finds_infected_is_rejected_and_removed() {
    let clamd = Clamd::start().await;
    let node = Node::build().flag(&format!("--clamd-address={}", clamd.socket())).start_alone().await;
    let ada = node.register("ada").await;
    let found = ada.try_upload("test.txt", "text/plain", EICAR.concat().as_bytes()).await;
    assert_eq!((&found["state"], &found["url"]), (&json!("REJECTED"), &Value::Null));
    assert!(found["rejection"].as_str().unwrap().contains("Eicar-Test"), "{found}");
    assert!(node.files().iter().all(|path| !path.contains("att_")), "{:?}", node.files());
    ada.upload_note("clean").await;
}

/// Starts a scanner that answers every file with `line`. Returns the setting with its address.
async fn clamd(line: &'static str) -> String {
    counting_clamd(line).await.0
}

/// Starts a scanner that answers `line` for each file. Returns the address of the scanner, and a counter of the scanned
/// files.
async fn counting_clamd(line: &'static str) -> (String, Arc<AtomicUsize>) {
    let scans = Arc::new(AtomicUsize::default());
    let count = Arc::clone(&scans);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 10];
            stream.read_exact(&mut head).await.unwrap();
            loop {
                let length = stream.read_u32().await.unwrap();
                if length == 0 {
                    break;
                }
                stream.read_exact(&mut vec![0; length.try_into().unwrap()]).await.unwrap();
            }
            count.fetch_add(1, Ordering::SeqCst);
            stream.write_all(line.as_bytes()).await.unwrap();
        }
    });
    (format!("--clamd-address={address}"), scans)
}

/// Every inspection scans the file, so the number of scans is the number of inspections.
#[tokio::test]
async fn concurrent_completions_of_an_upload_on_several_nodes_inspect_the_file_once() {
    let (scanner, scans) = counting_clamd("stream: OK\0").await;
    let database = TestDatabase::new().await;
    let one = Node::build().flag(&scanner).start_on(&database).await;
    let other = Node::build().flag(&scanner).s3(&one.s3).start_on(&database).await;
    let ada = one.register("ada").await;
    let bytes = picture(900, 900);
    let begun = ada.begin_upload("a.jpg", "image/jpeg", bytes.len()).await;
    put(&begun, bytes).await;
    let id = &begun["attachment"]["id"];
    let devices = [ada.clone(), ada.on(&other)];
    for answer in join_all((0..8).map(|n| devices[n % 2].complete_upload(id))).await {
        assert_eq!(answer.data()["completeUpload"]["attachment"]["state"], "READY");
    }
    assert_eq!(scans.load(Ordering::SeqCst), 1);
    // Later completions, and messages with the attachment, need no inspection.
    devices[1].complete_upload(id).await.data();
    let group = ada.create_group("Files", &[]).await;
    let message = ada.send_with(&group, None, &[id]).await;
    ada.forward(&message, &group).await.data();
    assert_eq!(scans.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn infected_files_are_rejected_and_no_file_is_ready_while_the_scanner_is_unavailable() {
    let node = Node::build().flag(&clamd("stream: Eicar-Test FOUND\0").await).start_alone().await;
    let ada = node.register("ada").await;
    let found = ada.try_upload("a", "text/plain", b"eicar").await;
    assert_eq!(found["state"], "REJECTED");
    assert!(found["rejection"].as_str().unwrap().contains("Eicar-Test"), "{found}");
    assert!(node.files().iter().all(|path| !path.contains("att_")));

    for beyond in ["stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0", "INSTREAM size limit exceeded. ERROR\0"] {
        let node = Node::build().flag(&clamd(beyond).await).start_alone().await;
        let refused = node.register("ada").await.try_upload("a", "text/plain", b"large").await;
        assert_eq!(refused["state"], "REJECTED");
        assert!(refused["rejection"].as_str().unwrap().contains("too large"), "{refused}");
    }

    let node = Node::build().flag(&clamd("stream: OK\0").await).start_alone().await;
    node.register("ada").await.upload_note("clean").await;

    let node = Node::build().flag("--clamd-address=127.0.0.1:1").start_alone().await;
    let ada = node.register("ada").await;
    let begun = ada.begin_upload("a", "text/plain", 4).await;
    put(&begun, b"note".to_vec()).await;
    for _ in 0..2 {
        assert_eq!(ada.complete_upload(&begun["attachment"]["id"]).await.code(), "UNAVAILABLE");
    }
    assert_eq!(ada.attachment(&begun["attachment"]["id"]).await["state"], "PENDING");
}
