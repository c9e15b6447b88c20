//! What only the server's own S3 has: files, credentials, an origin in common with the API.

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

use super::{EXPIRES, Place, upload};
use crate::support::Node;

const TEXT: &[u8] = b"Into the valley of Death rode the six hundred.";

fn open(directory: &Path, flags: &[String]) -> Result<S3, Error> {
    let address: SocketAddr = "0.0.0.0:8080".parse().unwrap();
    S3::open(directory, &Node::s3_settings(flags), address, &Random::system())
}

fn settings(s3: &S3) -> S3Settings {
    s3.settings(&Node::s3_settings(&[]))
}

#[test]
fn its_credentials_are_kept_and_nobody_else_reads_them() {
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
fn one_server_at_a_time_has_the_files() {
    let directory = tempdir().unwrap();
    let first = open(directory.path(), &[]).unwrap();
    assert!(matches!(open(directory.path(), &[]), Err(Error::Held(_))));
    drop(first);
    assert!(open(directory.path(), &[]).is_ok());
}

#[test]
fn it_is_called_by_an_address_that_there_is() {
    let directory = tempdir().unwrap();
    let s3 = open(directory.path(), &[]).unwrap();
    assert_eq!(settings(&s3).s3_endpoint.as_deref(), Some("http://127.0.0.1:8080"));
    let taken = open(tempdir().unwrap().path(), &["--s3-bucket=graphql".to_owned()]);
    assert!(matches!(taken, Err(Error::Taken(_))));
}

#[tokio::test]
async fn what_is_deleted_or_refused_leaves_nothing_behind() {
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

/// As it is after a crash in the middle of completing it.
#[tokio::test]
async fn an_upload_that_lost_its_mark_leaves_nothing_behind() {
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
async fn no_key_leads_out_of_the_bucket() {
    let place = Place::own().await;
    for key in ["../s3-credentials.json", "a/../../b", "a//b", "./a", "a/", "a\\b", &"k".repeat(200)] {
        let put = place.blobs().put(key, "text/plain", Body::Bytes(TEXT.to_vec())).await;
        assert!(put.is_err(), "{key} was stored");
        let mut file = tokio::fs::File::create(tempdir().unwrap().path().join("x")).await.unwrap();
        assert!(place.blobs().download(key, &mut file, u64::MAX).await.is_err(), "{key} was read");
    }
}

#[tokio::test]
async fn no_page_of_its_own_runs_at_the_servers_origin() {
    let place = Place::own().await;
    place.blobs().put("page", "text/html", Body::Bytes(b"<script>alert(1)</script>".to_vec())).await.unwrap();
    let download = Download { key: "page", content_type: "text/html", disposition: "inline" };
    let url = place.blobs().presign_get(&download, Clock::system().now(), EXPIRES).await.unwrap();
    let answer = place.http.get(&url).send().await.unwrap();
    assert_eq!(answer.headers()["content-security-policy"], "sandbox");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn forms_are_refused_before_they_are_read() {
    let place = Place::own().await;
    let form = place.http.post(place.bare_url("")).header("content-type", "multipart/form-data; boundary=x").body(TEXT);
    assert_eq!(form.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let forged = format!("{}?X-Amz-Signature=0", place.bare_url(""));
    let form = place.http.post(forged).header("content-type", "multipart/form-data; boundary=x").body(TEXT);
    assert_eq!(form.send().await.unwrap().status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn larger_bodies_than_requests_have_are_stored_and_the_api_stays_as_it_was() {
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
