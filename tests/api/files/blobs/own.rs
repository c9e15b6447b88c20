//! Behaviour that only the embedded S3 has: its files, its credentials, and the origin that it shares with the API.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use parlance::blobs::{Body, Download};
use parlance::clock::Clock;
use parlance::config::S3Settings;
use parlance::embedded::s3::{Error, S3};
use parlance::random::Random;
use reqwest::{Method, StatusCode};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{EXPIRES, Place, upload};
use crate::support::{Node, PATIENCE, within};

const TEXT: &[u8] = b"Into the valley of Death rode the six hundred.";

fn open(directory: &Path, flags: &[String]) -> Result<S3, Error> {
    let address: SocketAddr = "0.0.0.0:8080".parse().unwrap();
    S3::open(directory, &Node::s3_settings(flags), address, &Random::system())
}

fn settings(s3: &S3) -> S3Settings {
    s3.settings(&Node::s3_settings(&[]))
}

#[test]
fn s3_credentials_survive_a_restart_and_only_the_account_of_the_server_can_read_them() {
    let directory = tempdir().unwrap();
    let first = settings(&open(directory.path(), &[]).unwrap());
    let again = settings(&open(directory.path(), &[]).unwrap());
    assert_eq!(first.s3_secret_access_key, again.s3_secret_access_key);
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("s3-credentials.json"), 0o600);
    assert_eq!(mode("s3"), 0o700);
    let other = settings(&open(tempdir().unwrap().path(), &[]).unwrap());
    assert_ne!(first.s3_secret_access_key, other.s3_secret_access_key);
}

#[test]
fn only_one_server_at_a_time_can_open_the_s3_directory() {
    let directory = tempdir().unwrap();
    let first = open(directory.path(), &[]).unwrap();
    assert!(matches!(open(directory.path(), &[]), Err(Error::Locked(_))));
    drop(first);
    assert!(open(directory.path(), &[]).is_ok());
}

#[test]
fn a_wildcard_address_gives_a_loopback_endpoint_and_a_bucket_named_as_a_route_is_refused() {
    let directory = tempdir().unwrap();
    let s3 = open(directory.path(), &[]).unwrap();
    assert_eq!(settings(&s3).s3_endpoint.as_deref(), Some("http://127.0.0.1:8080"));
    let taken = open(tempdir().unwrap().path(), &["--s3-bucket=graphql".to_owned()]);
    assert!(matches!(taken, Err(Error::ReservedName(_))));
}

#[tokio::test]
async fn deleted_and_refused_uploads_leave_no_files() {
    let place = Place::own().await;
    let key = "attachments/1/original";
    let presigned = place.blobs().presign_put(&upload(key, TEXT), EXPIRES).await.unwrap();
    let before = place.node.files();
    assert_eq!(place.send(&presigned, TEXT.to_ascii_uppercase()).await, StatusCode::BAD_REQUEST);
    assert_eq!(place.node.files(), before);
    assert_eq!(place.send(&presigned, TEXT).await, StatusCode::OK);
    assert_ne!(place.node.files(), before);
    let id = place.blobs().create_multipart(key, "text/plain").await.unwrap();
    let part = place.blobs().presign_part(key, &id, 1, TEXT.len() as u64, EXPIRES).await.unwrap();
    assert_eq!(place.send(&part, TEXT).await, StatusCode::OK);
    place.blobs().abort_multipart(key, &id).await.unwrap();
    place.blobs().delete(&[key.to_owned()]).await.unwrap();
    let first_of_all = |name: &String| name != "s3/parlance/attachments";
    assert_eq!(place.node.files().into_iter().filter(first_of_all).collect::<Vec<_>>(), before);
}

/// A crash while a multipart upload is completed can leave the parts of the upload without its marker file.
#[tokio::test]
async fn aborting_an_upload_without_its_marker_file_leaves_no_files() {
    let place = Place::own().await;
    let before = place.node.files();
    let id = place.blobs().create_multipart("a", "text/plain").await.unwrap();
    let part = place.blobs().presign_part("a", &id, 1, TEXT.len() as u64, EXPIRES).await.unwrap();
    assert_eq!(place.send(&part, TEXT).await, StatusCode::OK);
    place.node.lose_file(&format!("s3/.upload-{id}.json"));
    assert_eq!(place.blobs().list_parts("a", &id).await.unwrap(), None);
    place.blobs().abort_multipart("a", &id).await.unwrap();
    assert_eq!(place.node.files(), before);
}

#[tokio::test]
async fn no_object_key_leads_to_a_file_outside_the_bucket() {
    let place = Place::own().await;
    for key in ["../s3-credentials.json", "a/../../b", "a//b", "./a", "a/", "a\\b", &"k".repeat(200)] {
        let put = place.blobs().put(key, "text/plain", Body::Bytes(TEXT.to_vec())).await;
        assert!(put.is_err(), "{key} was stored");
        let mut file = tokio::fs::File::create(tempdir().unwrap().path().join("x")).await.unwrap();
        assert!(place.blobs().download(key, &mut file, u64::MAX).await.is_err(), "{key} was read");
    }
}

#[tokio::test]
async fn stored_html_has_no_access_to_the_origin_of_the_server() {
    let place = Place::own().await;
    place.blobs().put("page", "text/html", Body::Bytes(b"<script>alert(1)</script>".to_vec())).await.unwrap();
    let download = Download { key: "page", content_type: "text/html", disposition: "inline" };
    let url = place.blobs().presign_get(&download, Clock::system().now(), EXPIRES).await.unwrap();
    let answer = place.http.get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["content-security-policy"], "sandbox");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn upload_forms_without_a_valid_signature_are_forbidden() {
    let place = Place::own().await;
    let form = place.http.post(place.bare_url("")).header("content-type", "multipart/form-data; boundary=x").body(TEXT);
    assert_eq!(form.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let forged = format!("{}?X-Amz-Signature=0", place.bare_url(""));
    let form = place.http.post(forged).header("content-type", "multipart/form-data; boundary=x").body(TEXT);
    assert_eq!(form.send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

/// The client announces a form of 1 GB and does not send the body. If the server waited for the body, the request would
/// time out.
#[tokio::test]
async fn invalid_upload_forms_are_forbidden_before_the_body_is_read() {
    let place = Place::own().await;
    let bucket = &place.node.s3.s3_bucket;
    for target in [format!("/{bucket}/"), format!("/{bucket}/key?X-Amz-Signature=0")] {
        let mut stream = TcpStream::connect(place.node.address).await.unwrap();
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: {}\r\ncontent-type: multipart/form-data; boundary=x\r\n\
             authorization: AWS4-HMAC-SHA256 x\r\ncontent-length: 1000000000\r\n\r\n",
            place.node.address
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut status = [0; 12];
        within(PATIENCE, "the answer", stream.read_exact(&mut status)).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 403", "{target}");
    }
}

#[tokio::test]
async fn s3_accepts_larger_bodies_than_the_api() {
    let place = Place::own().await;
    let large = vec![b'a'; 3 * 1024 * 1024];
    let presigned = place.blobs().presign_put(&upload("large", &large), EXPIRES).await.unwrap();
    assert_eq!(place.send(&presigned, large.clone()).await, StatusCode::OK);
    let download = Download { key: "large", content_type: "text/plain", disposition: "inline" };
    let url = place.blobs().presign_get(&download, Clock::system().now(), EXPIRES).await.unwrap();
    let answer = place.http.get(&url).header("accept-encoding", "gzip").send().await.unwrap();
    assert!(answer.headers().get("content-encoding").is_none());
    assert_eq!(answer.bytes().await.unwrap(), large);
    assert_eq!(place.ask(Method::GET, &place.node.url("/health/live")).await, StatusCode::OK);
    let refused = place.http.post(place.node.url("/graphql")).header("content-type", "application/json").body(large);
    assert_eq!(refused.send().await.unwrap().status(), StatusCode::PAYLOAD_TOO_LARGE);
}
