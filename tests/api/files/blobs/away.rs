//! Behaviour of a node while S3 is unavailable: only files are affected.

use std::time::{Duration, Instant};

use parlance::blobs::{Body, Upload};
use parlance::config::S3Settings;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::{EXPIRES, garage};
use crate::support::{ALLOWANCE, Node, TestDatabase, eventually, free_port};

/// Maximum time for the start of a node, and for each failing call, while S3 is unavailable.
const SOON: Duration = Duration::from_secs(5);

async fn is_unavailable_soon(node: &Node) {
    let blobs = node.app.blobs();
    let began = Instant::now();
    assert!(!blobs.is_ready().await);
    let mut file = tokio::fs::File::create(tempdir().unwrap().path().join("x")).await.unwrap();
    for error in [
        blobs.head("key").await.unwrap_err(),
        blobs.put("key", "text/plain", Body::Bytes(vec![1])).await.unwrap_err(),
        blobs.download("key", &mut file, 1).await.unwrap_err(),
        blobs.delete(&["key".to_owned()]).await.unwrap_err(),
        blobs.list_parts("key", "id").await.unwrap_err(),
        blobs.create_multipart("key", "text/plain").await.unwrap_err(),
    ] {
        assert!(error.is_unavailable(), "{error}");
    }
    assert!(began.elapsed() < SOON + ALLOWANCE, "{:?}", began.elapsed());
}

async fn node(database: &TestDatabase, endpoint: String) -> Node {
    let settings = S3Settings {
        s3_endpoint: Some(endpoint),
        s3_timeout: Duration::from_millis(200),
        s3_transfer_timeout: Duration::from_millis(500),
        ..garage()
    };
    let began = Instant::now();
    let node = Node::build().s3(&settings).start_on(database).await;
    assert!(began.elapsed() < SOON + ALLOWANCE, "{:?}", began.elapsed());
    node
}

#[tokio::test]
async fn only_files_are_unavailable_when_s3_refuses_connections() {
    let database = TestDatabase::new().await;
    let node = node(&database, format!("http://127.0.0.1:{}", free_port())).await;
    node.register("ada").await;
    is_unavailable_soon(&node).await;
    assert!(node.metric("parlance_s3_requests_total{outcome=\"away\"}").await > 0);
    let upload = Upload { key: "key", content_type: "text/plain", byte_size: 1, sha256: None };
    node.app.blobs().presign_put(&upload, EXPIRES).await.expect("a presigned URL needs no request to S3");
}

#[tokio::test]
async fn only_files_are_unavailable_when_s3_never_answers() {
    // The kernel accepts connections, but no task reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let database = TestDatabase::new().await;
    let node = node(&database, format!("http://{}", silent.local_addr().unwrap())).await;
    node.register("ada").await;
    is_unavailable_soon(&node).await;
}

#[tokio::test]
async fn the_bucket_is_created_when_s3_becomes_available() {
    let port = free_port();
    let settings = S3Settings { s3_endpoint: Some(format!("http://127.0.0.1:{port}")), ..garage() };
    let node = Node::build().s3(&settings).start_alone().await;
    assert!(!node.app.blobs().is_ready().await);
    let garage = std::env::var("TEST_S3_ENDPOINT").unwrap().replace("http://", "");
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&garage).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
        }
    });
    eventually("the bucket is created", async || node.app.blobs().is_ready().await).await;
    node.app.blobs().put("key", "text/plain", Body::Bytes(vec![1])).await.unwrap();
}

/// Answers the first of every two requests with 503 and the second with 200. Each request needs a new connection.
async fn answer_every_second(listener: TcpListener) {
    for status in ["503 Slow Down", "200 OK"].into_iter().cycle() {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        client.write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_is_repeated_once_if_s3_is_overloaded() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(answer_every_second(listener));
    let settings = S3Settings { s3_endpoint: Some(endpoint), ..garage() };
    let node = Node::build().s3(&settings).start_alone().await;
    assert!(node.app.blobs().is_ready().await);
    assert!(node.app.blobs().head("key").await.unwrap().is_some());
    assert!(node.metric("parlance_s3_requests_total{outcome=\"done\"}").await > 2);
}

/// Wrong keys are a mistake of the operator, so the error must not be one that clients retry.
#[tokio::test]
async fn wrong_s3_keys_are_not_reported_as_an_unavailable_s3() {
    let settings = S3Settings { s3_secret_access_key: Some("0".repeat(64)), ..garage() };
    let node = Node::build().s3(&settings).start_alone().await;
    node.register("ada").await;
    assert!(!node.app.blobs().is_ready().await);
    let error = node.app.blobs().put("key", "text/plain", Body::Bytes(vec![1])).await.unwrap_err();
    assert!(!error.is_unavailable(), "{error}");
}
