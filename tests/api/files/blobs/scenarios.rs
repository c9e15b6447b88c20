//! Scenarios that run against both S3 servers: the embedded S3 and Garage.

use chrono::TimeDelta;
use parlance::blobs::{Body, Download, Head, Part};
use parlance::clock::Clock;
use parlance::error::Error;
use reqwest::{Method, StatusCode};
use tempfile::tempdir;
use tokio::fs::{self, File};

use super::{EXPIRES, Place, sha256, upload};

macro_rules! on_both {
    ($($name:ident)*) => {
        mod own_s3 {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::own().await).await;
            })*
        }
        mod garage {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Place::garage().await).await;
            })*
        }
    };
}

on_both! {
    an_upload_is_stored_with_the_signed_size_type_and_checksum
    an_upload_that_differs_from_the_signed_request_is_refused
    an_expired_upload_url_is_refused
    a_presigned_url_allows_only_the_signed_request
    requests_without_a_signature_are_refused
    a_download_has_the_presigned_type_and_disposition
    download_urls_expire_and_cannot_be_changed
    a_multipart_upload_can_be_resumed
    a_multipart_upload_with_wrong_parts_cannot_be_completed
    an_aborted_multipart_upload_accepts_no_requests
    the_server_stores_reads_and_deletes_objects
    more_than_a_thousand_objects_are_deleted_in_one_call
    pages_of_other_origins_can_upload_files
}

const TEXT: &[u8] = b"Half a league, half a league, half a league onward.";
const MIB: usize = 1024 * 1024;
/// Minimum size in bytes of every part of a multipart upload except the last.
const PART: usize = 5 * MIB;

async fn an_upload_is_stored_with_the_signed_size_type_and_checksum(place: Place) {
    let upload = upload("attachments/1/original", TEXT);
    let presigned = place.blobs().presign_put(&upload, EXPIRES).await.unwrap();
    let names: Vec<_> = presigned.headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["content-length", "content-type", "x-amz-checksum-sha256"] {
        assert!(names.contains(&name), "{name} is not signed: {names:?}");
    }
    assert_eq!(place.send(&presigned, TEXT).await, StatusCode::OK);
    let head = place.blobs().head(upload.key).await.unwrap();
    let expected =
        Head { byte_size: TEXT.len() as u64, content_type: Some("text/plain".to_owned()), sha256: Some(sha256(TEXT)) };
    assert_eq!(head, Some(expected));
}

async fn an_upload_that_differs_from_the_signed_request_is_refused(place: Place) {
    let upload = upload("attachments/1/original", TEXT);
    let presigned = place.blobs().presign_put(&upload, EXPIRES).await.unwrap();
    let other = TEXT.to_ascii_uppercase();
    let refused = [
        ("shorter", place.send(&presigned, &TEXT[1..]).await),
        ("longer", place.send(&presigned, [TEXT, TEXT].concat()).await),
        ("empty", place.send(&presigned, "").await),
        ("another type", place.send_but(&presigned, TEXT, &[("content-type", "text/html")]).await),
        ("other bytes", place.send(&presigned, other).await),
    ];
    for (what, status) in refused {
        assert!(status.is_client_error(), "{what}: {status}");
    }
    let mut elsewhere = presigned.clone();
    elsewhere.url = presigned.url.replace("attachments/1/original", "attachments/2/original");
    assert_eq!(place.send(&elsewhere, TEXT).await, StatusCode::FORBIDDEN);
    for key in ["attachments/1/original", "attachments/2/original"] {
        assert_eq!(place.blobs().head(key).await.unwrap(), None, "{key} exists");
    }
    assert_eq!(place.send(&presigned, TEXT).await, StatusCode::OK, "the URL still accepts the signed upload");
}

async fn an_expired_upload_url_is_refused(place: Place) {
    let ago = place.an_hour_ago().await;
    let upload = upload("attachments/1/original", TEXT);
    let presigned = ago.blobs().presign_put(&upload, EXPIRES).await.unwrap();
    let status = place.send(&presigned, TEXT).await;
    assert!(status.is_client_error(), "{status}");
    assert_eq!(place.blobs().head(upload.key).await.unwrap(), None);
}

async fn a_presigned_url_allows_only_the_signed_request(place: Place) {
    let upload = upload("attachments/1/original", TEXT);
    let put = place.blobs().presign_put(&upload, EXPIRES).await.unwrap();
    assert_eq!(place.send(&put, TEXT).await, StatusCode::OK);
    let download = Download { key: upload.key, content_type: "text/plain", disposition: "inline" };
    let get = place.blobs().presign_get(&download, Clock::system().now(), EXPIRES).await.unwrap();
    for (method, url) in [
        (Method::GET, &put.url),
        (Method::DELETE, &put.url),
        (Method::PUT, &get),
        (Method::DELETE, &get),
        (Method::GET, &get.replace("attachments/1", "attachments/2")),
        (Method::GET, &get.replace("attachments/1/original", "")),
    ] {
        let status = place.ask(method.clone(), url).await;
        assert!(status.is_client_error(), "{status}: {method} {url}");
    }
    assert_eq!(place.ask(Method::GET, &get).await, StatusCode::OK);
}

async fn requests_without_a_signature_are_refused(place: Place) {
    place.blobs().put("attachments/1/original", "text/plain", Body::Bytes(TEXT.to_vec())).await.unwrap();
    for key in ["attachments/1/original", "", "?list-type=2", "?uploads"] {
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::POST] {
            let status = place.ask(method.clone(), &place.bare_url(key)).await;
            assert!(status.is_client_error(), "{method} {key}: {status}");
        }
    }
    assert!(place.blobs().head("attachments/1/original").await.unwrap().is_some());
}

async fn a_download_has_the_presigned_type_and_disposition(place: Place) {
    let key = "attachments/1/original";
    place.blobs().put(key, "application/octet-stream", Body::Bytes(TEXT.to_vec())).await.unwrap();
    let disposition = "attachment; filename=\"poem.txt\"; filename*=UTF-8''po%C3%A8me%20%26%20vers.txt";
    let download = Download { key, content_type: "text/plain; charset=utf-8", disposition };
    let at = Clock::system().now();
    let url = place.blobs().presign_get(&download, at, EXPIRES).await.unwrap();
    assert_eq!(place.blobs().presign_get(&download, at, EXPIRES).await.unwrap(), url, "browsers can cache it");
    let answer = place.http.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers()["content-disposition"], disposition);
    assert_eq!(answer.headers()["cache-control"], "private, max-age=900, immutable");
    assert_eq!(answer.bytes().await.unwrap(), TEXT);
    let answer = place.http.get(&url).header("range", "bytes=7-12").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(answer.bytes().await.unwrap(), &TEXT[7..13]);
}

async fn download_urls_expire_and_cannot_be_changed(place: Place) {
    let key = "attachments/1/original";
    place.blobs().put(key, "text/html", Body::Bytes(TEXT.to_vec())).await.unwrap();
    let download = Download { key, content_type: "application/octet-stream", disposition: "attachment" };
    let get = async |at| place.blobs().presign_get(&download, at, EXPIRES).await.unwrap();
    let expired = get(Clock::system().now() - TimeDelta::hours(1)).await;
    let status = place.ask(Method::GET, &expired).await;
    assert!(status.is_client_error(), "{status}");
    let url = get(Clock::system().now()).await;
    for changed in [url.replace("=attachment", "=inline"), url.replace("X-Amz-Expires=900", "X-Amz-Expires=9000")] {
        assert_ne!(changed, url);
        assert_eq!(place.ask(Method::GET, &changed).await, StatusCode::FORBIDDEN);
    }
    assert_eq!(place.ask(Method::GET, &url).await, StatusCode::OK);
}

/// Returns two parts of an upload. The second part is small.
fn pieces() -> [Vec<u8>; 2] {
    [vec![b'a'; PART], TEXT.to_vec()]
}

async fn a_multipart_upload_can_be_resumed(place: Place) {
    let (key, [first, second]) = ("attachments/1/original", pieces());
    let id = place.blobs().create_multipart(key, "text/plain").await.unwrap();
    assert_eq!(place.blobs().list_parts(key, &id).await.unwrap(), Some(Vec::new()));
    let part = async |number, bytes: &[u8]| {
        place.blobs().presign_part(key, &id, number, bytes.len() as u64, EXPIRES).await.unwrap()
    };
    assert_eq!(place.send(&part(2, &second).await, second.clone()).await, StatusCode::OK);
    let sizes = async || {
        let parts = place.blobs().list_parts(key, &id).await.unwrap().unwrap();
        parts.iter().map(|part| (part.number, part.byte_size)).collect::<Vec<_>>()
    };
    assert_eq!(sizes().await, [(2, second.len() as u64)]);
    let presigned = part(1, &first).await;
    assert!(place.send(&presigned, vec![b'a'; PART + 1]).await.is_client_error(), "longer than signed");
    assert_eq!(sizes().await, [(2, second.len() as u64)]);
    assert_eq!(place.send(&presigned, first.clone()).await, StatusCode::OK);
    assert_eq!(sizes().await, [(1, first.len() as u64), (2, second.len() as u64)]);
    let parts = place.blobs().list_parts(key, &id).await.unwrap().unwrap();
    place.blobs().complete_multipart(key, &id, &parts).await.unwrap();
    place.blobs().complete_multipart(key, &id, &parts).await.expect("a retry is no error");
    assert_eq!(place.blobs().list_parts(key, &id).await.unwrap(), None);
    let head = place.blobs().head(key).await.unwrap().unwrap();
    assert_eq!((head.byte_size, head.content_type.as_deref()), ((PART + TEXT.len()) as u64, Some("text/plain")));
    let directory = tempdir().unwrap();
    let mut file = File::create(directory.path().join("whole")).await.unwrap();
    place.blobs().download(key, &mut file, u64::MAX).await.unwrap();
    assert_eq!(fs::read(directory.path().join("whole")).await.unwrap(), [first, second].concat());
}

async fn a_multipart_upload_with_wrong_parts_cannot_be_completed(place: Place) {
    let (key, [first, second]) = ("attachments/1/original", pieces());
    let id = place.blobs().create_multipart(key, "text/plain").await.unwrap();
    for (number, bytes) in [(1, &first), (2, &second)] {
        let part = place.blobs().presign_part(key, &id, number, bytes.len() as u64, EXPIRES).await.unwrap();
        assert_eq!(place.send(&part, bytes.clone()).await, StatusCode::OK);
    }
    let parts = place.blobs().list_parts(key, &id).await.unwrap().unwrap();
    let invented = Part { number: 3, ..parts[1].clone() };
    let swapped = [Part { etag: parts[1].etag.clone(), ..parts[0].clone() }, parts[1].clone()];
    for wrong in [&[][..], &[parts[0].clone(), parts[1].clone(), invented], &swapped] {
        place.blobs().complete_multipart(key, &id, wrong).await.expect_err("parts that do not exist");
    }
    assert_eq!(place.blobs().head(key).await.unwrap(), None);
    assert_eq!(place.blobs().list_parts(key, &id).await.unwrap(), Some(parts.clone()), "parts are kept");
    place.blobs().complete_multipart(key, &id, &parts).await.unwrap();
}

async fn an_aborted_multipart_upload_accepts_no_requests(place: Place) {
    let (key, [_, second]) = ("attachments/1/original", pieces());
    let id = place.blobs().create_multipart(key, "text/plain").await.unwrap();
    let part = place.blobs().presign_part(key, &id, 1, second.len() as u64, EXPIRES).await.unwrap();
    assert_eq!(place.send(&part, second.clone()).await, StatusCode::OK);
    place.blobs().abort_multipart(key, &id).await.unwrap();
    place.blobs().abort_multipart(key, &id).await.expect("a repeated abort is no error");
    assert_eq!(place.blobs().list_parts(key, &id).await.unwrap(), None);
    assert!(place.send(&part, second).await.is_client_error(), "a part of an aborted upload");
    let error = place.blobs().complete_multipart(key, &id, &[]).await.unwrap_err();
    assert!(!error.is_unavailable(), "{error}");
    assert_eq!(place.blobs().head(key).await.unwrap(), None);
}

async fn the_server_stores_reads_and_deletes_objects(place: Place) {
    let blobs = place.blobs();
    assert!(blobs.is_ready().await);
    let (key, directory) = ("attachments/1/small.webp", tempdir().unwrap());
    let path = directory.path().join("file");
    fs::write(&path, vec![7; 3 * MIB]).await.unwrap();
    blobs.put(key, "image/webp", Body::Bytes(TEXT.to_vec())).await.unwrap();
    blobs.put(key, "image/webp", Body::File(path.clone())).await.expect("put replaces an object");
    let head = blobs.head(key).await.unwrap().unwrap();
    assert_eq!((head.byte_size, head.content_type.as_deref()), (3 * MIB as u64, Some("image/webp")));
    let download = async |key: &str, limit| {
        let mut file = File::create(&path).await.unwrap();
        blobs.download(key, &mut file, limit).await
    };
    assert_eq!(download(key, 3 * MIB as u64).await.unwrap(), 3 * MIB as u64);
    assert_eq!(fs::read(&path).await.unwrap(), vec![7; 3 * MIB]);
    assert!(matches!(download(key, 3 * MIB as u64 - 1).await, Err(Error::S3TooLarge(_))));
    assert!(matches!(download("attachments/2", 1).await, Err(Error::S3Missing(_))));
    blobs.delete(&[key.to_owned(), "attachments/2".to_owned()]).await.unwrap();
    blobs.delete(&[key.to_owned()]).await.expect("a repeated delete is no error");
    blobs.delete(&[]).await.unwrap();
    assert_eq!(blobs.head(key).await.unwrap(), None);
}

/// S3 deletes at most 1000 objects in one request.
async fn more_than_a_thousand_objects_are_deleted_in_one_call(place: Place) {
    let keys: Vec<_> = (0..1001).map(|number| format!("attachments/{number}")).collect();
    for key in [&keys[0], &keys[1000]] {
        place.blobs().put(key, "text/plain", Body::Bytes(TEXT.to_vec())).await.unwrap();
    }
    place.blobs().delete(&keys).await.unwrap();
    for key in [&keys[0], &keys[1000]] {
        assert_eq!(place.blobs().head(key).await.unwrap(), None);
    }
}

async fn pages_of_other_origins_can_upload_files(place: Place) {
    let upload = upload("attachments/1/original", TEXT);
    let presigned = place.blobs().presign_put(&upload, EXPIRES).await.unwrap();
    let preflight = place.http.request(Method::OPTIONS, &presigned.url).headers(
        [
            ("origin", "https://chat.example.org"),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "content-type,x-amz-checksum-sha256"),
        ]
        .into_iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect(),
    );
    let answer = preflight.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    for (name, value) in [
        ("access-control-allow-origin", "https://chat.example.org"),
        ("access-control-allow-methods", "put"),
        ("access-control-allow-headers", "x-amz-checksum-sha256"),
    ] {
        // Garage answers every preflight with `*` if the name of the bucket is local to its access key. Garage applies
        // the rules only to the request after the preflight.
        let allowed = answer.headers()[name].to_str().unwrap().to_ascii_lowercase();
        assert!(allowed == "*" || allowed.contains(value), "{name}: {allowed}");
    }
    let mut put = place.http.put(&presigned.url).header("origin", "https://chat.example.org").body(TEXT);
    for (name, value) in presigned.headers.iter().filter(|(name, _)| name != "content-length") {
        put = put.header(name, value);
    }
    let answer = put.send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let exposed = answer.headers()["access-control-expose-headers"].to_str().unwrap().to_ascii_lowercase();
    assert!(exposed.contains("etag"), "{exposed}");
}
