//! Uploads of files, from `createUpload` to an attachment that is READY.

mod completing;
mod contents;
mod parts;
mod scanning;
mod turns;

use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use parlance::config::S3Settings;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Node, NodeBuilder, TestDatabase, User, get, picture, put, unique};

/// Returns a builder of a node that uses the Garage of `make test` instead of the embedded S3.
fn second_s3() -> NodeBuilder {
    let setting = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}: run the tests with `make test`"));
    Node::build()
        .flag(&format!("--s3-endpoint={}", setting("TEST_S3_ENDPOINT")))
        .flag(&format!("--s3-access-key-id={}", setting("TEST_S3_ACCESS_KEY_ID")))
        .flag(&format!("--s3-secret-access-key={}", setting("TEST_S3_SECRET_ACCESS_KEY")))
        .flag(&format!("--s3-bucket=test-{}", unique().replace('_', "-")))
}

/// Returns the SHA-256 in hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

async fn upload_send_and_download(node: &Node) {
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let mut inbox = bob.inbox().await;
    let bytes = picture(640, 480);
    let begun = ada.begin_upload("C:\\holidays\\Möwe \"1\".jpg", "image/JPEG; q=1", bytes.len()).await;
    let pending = &begun["attachment"];
    assert_eq!((&pending["state"], &pending["url"]), (&json!("PENDING"), &Value::Null));
    assert_eq!(pending["fileName"], "Möwe \"1\".jpg");
    assert_eq!(ada.complete_upload(&pending["id"]).await.code(), "CONFLICT", "the file is not uploaded yet");
    // The URL accepts only the announced number of bytes.
    assert_ne!(put(&begun, bytes[1..].to_vec()).await, 200);
    assert_eq!(put(&begun, bytes.clone()).await, 200);

    let ready = ada.complete_upload(&pending["id"]).await.data()["completeUpload"]["attachment"].clone();
    assert_eq!((&ready["state"], &ready["contentType"]), (&json!("READY"), &json!("image/jpeg")));
    assert_eq!((&ready["width"], &ready["height"]), (&json!(640), &json!(480)));
    assert!(ready["blurhash"].is_string() && ready["waveform"].is_null(), "{ready:#}");
    assert_eq!(ada.complete_upload(&pending["id"]).await.data()["completeUpload"]["attachment"], ready);

    let sent = ada.send_with(&direct, None, &[&ready["id"]]).await;
    assert_eq!((&sent["kind"], &sent["body"]), (&json!("IMAGE"), &Value::Null));
    assert_eq!(sent["attachments"][0]["id"], ready["id"]);
    assert_eq!(inbox.message().await["id"], sent["id"]);
    let seen = bob.attachment(&ready["id"]).await;
    // The URLs change every 30 minutes. If they change between two queries, the next two queries get the same URL.
    let same = async || bob.attachment(&ready["id"]).await["url"] == ada.attachment(&ready["id"]).await["url"];
    assert!(same().await || same().await, "all users get the same URL for a while");
    let response = get(&seen["url"]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "image/jpeg");
    assert_eq!(
        response.headers()["content-disposition"],
        "inline; filename=\"M_we _1_.jpg\"; filename*=UTF-8''M%C3%B6we%20%221%22.jpg"
    );
    assert_eq!(response.bytes().await.unwrap().len(), usize::try_from(ready["byteSize"].as_i64().unwrap()).unwrap());
    for (size, side) in [("small", 160), ("medium", 480), ("large", 640)] {
        let response = get(&ready[size]).await;
        assert_eq!(response.headers()["content-type"], "image/webp");
        let thumbnail = image::load_from_memory(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(thumbnail.width(), side, "{size}");
    }
}

#[tokio::test]
async fn a_picture_is_uploaded_sent_and_downloaded() {
    upload_send_and_download(&Node::start().await).await;
}

#[tokio::test]
async fn a_picture_is_uploaded_sent_and_downloaded_with_garage() {
    upload_send_and_download(&second_s3().start_alone().await).await;
}

#[tokio::test]
async fn uploads_with_invalid_names_types_sizes_or_checksums_are_refused() {
    let flags =
        ["--max-upload-bytes=4000", "--max-image-bytes=2000", "--max-video-bytes=3000", "--max-audio-bytes=5000"];
    let node = flags.into_iter().fold(Node::build(), NodeBuilder::flag).start_alone().await;
    let ada = node.register("ada").await;
    let info = node.call(None, "{ serverInfo { maxUploadBytes } }", json!({})).await.data();
    assert_eq!(info["serverInfo"]["maxUploadBytes"], 4000);
    let (long, long_emoji) = ("x".repeat(256), "🦀".repeat(256));
    for (name, content_type, size, path) in [
        ("", "text/plain", 1, "fileName"),
        ("/", "text/plain", 1, "fileName"),
        ("..", "text/plain", 1, "fileName"),
        ("a\nb", "text/plain", 1, "fileName"),
        ("nul\0", "text/plain", 1, "fileName"),
        ("\u{202E}gpj.exe", "text/plain", 1, "fileName"),
        ("a\u{2067}gpj.exe", "text/plain", 1, "fileName"),
        ("a\u{2028}b.txt", "text/plain", 1, "fileName"),
        (&long, "text/plain", 1, "fileName"),
        (&long_emoji, "text/plain", 1, "fileName"),
        ("a", "", 1, "contentType"),
        ("a", "image", 1, "contentType"),
        ("a", "image/*", 1, "contentType"),
        ("a", "text/plain\r\nx: y", 1, "contentType"),
        ("a", "text/plain", 0, "byteSize"),
        ("a", "text/plain", -1, "byteSize"),
        ("a", "text/plain", 4001, "byteSize"),
        ("a", "image/png", 2001, "byteSize"),
        ("a", "video/mp4", 3001, "byteSize"),
        ("a", "audio/mpeg", 4001, "byteSize"),
    ] {
        let input = json!({"fileName": name, "contentType": content_type, "byteSize": size});
        assert_eq!(ada.create_upload(input.clone()).await.violations(), [path], "{input}");
        let query = "mutation ($input: CreateMultipartUploadInput!) {
            createMultipartUpload(input: $input) { attachment { id } }
        }";
        assert_eq!(ada.call(query, json!({"input": input})).await.violations(), [path], "{input}");
    }
    for sha256 in ["", "0", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
        let input = json!({"fileName": "a", "contentType": "text/plain", "byteSize": 1, "sha256": sha256});
        assert_eq!(ada.create_upload(input).await.violations(), ["sha256"], "{sha256}");
    }
    let input = json!({"fileName": "../../etc/passwd", "contentType": "Text/Plain; charset=x", "byteSize": 1000});
    let begun = ada.create_upload(input).await.data()["createUpload"]["attachment"].clone();
    assert_eq!((&begun["fileName"], &begun["contentType"]), (&json!("passwd"), &json!("text/plain")));
    let input = json!({"input": {"fileName": "a", "contentType": "a/b", "byteSize": 1}});
    let query = "mutation ($input: CreateUploadInput!) { createUpload(input: $input) { url } }";
    assert_eq!(node.call(None, query, input).await.code(), "UNAUTHENTICATED");
}

/// The URL and the header Content-Disposition have the name in several encodings, and so have to carry several times
/// its bytes.
#[tokio::test]
async fn a_file_name_has_up_to_255_characters_of_any_script() {
    for node in [Node::start().await, second_s3().start_alone().await] {
        let ada = node.register("ada").await;
        for name in ["ж", "の", "🦀", "e\u{301}"] {
            let name: String = name.chars().cycle().take(251).chain(".txt".chars()).collect();
            let ready = ada.upload(&name, "text/plain", b"a text").await;
            assert_eq!(ready["fileName"], name.as_str());
            let response = get(&ready["url"]).await;
            assert_eq!(response.status(), 200, "{name}");
            let disposition = response.headers()["content-disposition"].to_str().unwrap();
            let encoded = disposition.split_once("filename*=UTF-8''").unwrap().1;
            assert_eq!(percent_encoding::percent_decode_str(encoded).decode_utf8().unwrap(), name.as_str());
        }
    }
}

#[tokio::test]
async fn a_file_that_does_not_match_its_declared_type_is_rejected_and_removed() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Files", &[]).await;
    for (content_type, bytes) in [
        ("image/png", b"this is no picture".to_vec()),
        ("image/png", picture(8, 8)[..200].to_vec()),
        ("video/mp4", b"this is no video".to_vec()),
        ("image/jpeg", b"GIF89a is a file format of 1989".to_vec()),
    ] {
        let rejected = ada.try_upload("lie", content_type, &bytes).await;
        assert_eq!((&rejected["state"], &rejected["url"]), (&json!("REJECTED"), &Value::Null), "{content_type}");
        assert!(!rejected["rejection"].as_str().unwrap().is_empty());
        let again = ada.complete_upload(&rejected["id"]).await.data();
        assert_eq!(again["completeUpload"]["attachment"], rejected);
        assert_eq!(ada.try_send_with(&group, Some("look"), &[&rejected["id"]]).await.violations(), ["attachmentIds.0"]);
    }
    let objects = |node: &Node| node.files().into_iter().filter(|path| path.contains("att_")).collect::<Vec<_>>();
    assert_eq!(objects(&node), [""; 0]);

    // A second upload to the same URL, which is still valid, does not replace the inspected file.
    let begun = ada.begin_upload("note.txt", "text/plain", 4).await;
    assert_eq!(put(&begun, b"good".to_vec()).await, 200);
    let ready = ada.complete_upload(&begun["attachment"]["id"]).await.data();
    assert_eq!(put(&begun, b"evil".to_vec()).await, 200);
    let response = get(&ready["completeUpload"]["attachment"]["url"]).await;
    let how = response.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(how.starts_with("attachment; "), "{how}");
    assert_eq!(response.text().await.unwrap(), "good");
}

#[tokio::test]
async fn an_upload_must_match_its_checksum() {
    for node in [Node::start().await, second_s3().start_alone().await] {
        let ada = node.register("ada").await;
        let sha256 = sha256(b"good").to_uppercase();
        let input = json!({"fileName": "a", "contentType": "text/plain", "byteSize": 4, "sha256": sha256});
        let begun = ada.create_upload(input).await.data()["createUpload"].clone();
        assert_ne!(put(&begun, b"evil".to_vec()).await, 200);
        assert_eq!(ada.complete_upload(&begun["attachment"]["id"]).await.code(), "CONFLICT");
        assert_eq!(put(&begun, b"good".to_vec()).await, 200);
        let ready = ada.complete_upload(&begun["attachment"]["id"]).await.data();
        assert_eq!(ready["completeUpload"]["attachment"]["state"], "READY");
    }
}

#[tokio::test]
async fn storage_and_pending_uploads_per_user_are_limited() {
    let node = Node::build().flag("--storage-quota-bytes=1000").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    ada.upload("a", "application/octet-stream", &[7; 600]).await;
    let begin = |size: usize| json!({"fileName": "a", "contentType": "text/plain", "byteSize": size});
    let answers = join_all((0..5).map(|_| ada.create_upload(begin(200)))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert_eq!(refused.len(), 3, "two uploads of 200 bytes have room");
    assert_eq!(refused[0].violations(), ["byteSize"]);
    bob.create_upload(begin(1000)).await.data();
    // A rejected upload counts against the limit while its URL is valid.
    let eve = node.register("eve").await;
    let lie = eve.try_upload("a.png", "image/png", &[7; 600]).await;
    assert_eq!(lie["state"], "REJECTED");
    assert_eq!(eve.create_upload(begin(401)).await.violations(), ["byteSize"]);
    eve.create_upload(begin(400)).await.data();

    let node = Node::start().await;
    let ada = node.register("ada").await;
    ada.try_upload("a.png", "image/png", b"lie").await;
    // A few at a time, because each waits for the transaction of the one before.
    let uploads = stream::iter(0..102).map(|_| ada.create_upload(begin(1)));
    let answers: Vec<_> = uploads.buffer_unordered(8).collect().await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert_eq!(refused.len(), 3);
    assert_eq!(refused[0].violations(), ["input"]);
}

#[tokio::test]
async fn the_storage_quota_is_ten_gib_by_default_and_zero_means_unlimited() {
    const GIB: i64 = 1 << 30;
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    ada.upload_note("one").await;
    let begin = json!({"fileName": "a", "contentType": "text/plain", "byteSize": 10});
    let statement = format!("UPDATE attachments SET byte_size = {}", 10 * GIB - 10);
    database.connection().await.batch_execute(&statement).await.unwrap();
    ada.create_upload(begin.clone()).await.data();
    assert_eq!(ada.create_upload(begin.clone()).await.violations(), ["byteSize"]);
    let unlimited = Node::build().flag("--storage-quota-bytes=0").s3(&node.s3).start_on(&database).await;
    ada.on(&unlimited).create_upload(begin).await.data();
}

#[tokio::test]
async fn only_files_are_unavailable_without_s3() {
    let flags = ["--s3-endpoint=http://127.0.0.1:1", "--s3-access-key-id=a", "--s3-secret-access-key=b"];
    let node = flags.into_iter().fold(Node::build(), NodeBuilder::flag).start_alone().await;
    let (ada, bob): (User, User) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    ada.send(&direct, "hello").await;
    let begun = ada.begin_upload("a", "text/plain", 4).await;
    assert_eq!(ada.complete_upload(&begun["attachment"]["id"]).await.code(), "UNAVAILABLE");
}

/// Clients may use another host name of S3 than the server does. A signature is valid for one host name only.
#[tokio::test]
async fn presigned_urls_use_the_public_endpoint() {
    let own = Node::start().await;
    let second = second_s3().start_alone().await;
    for settings in [&own.s3, &second.s3] {
        let endpoint = settings.s3_endpoint.clone().unwrap();
        let public = endpoint.replace("127.0.0.1", "localhost");
        assert_ne!(public, endpoint);
        let settings = S3Settings { s3_public_endpoint: Some(public.clone()), ..settings.clone() };
        let node = Node::build().s3(&settings).start_alone().await;
        let ada = node.register("ada").await;
        let mut begun = ada.begin_upload("note.txt", "text/plain", 4).await;
        let url = begun["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&public), "{url}");
        begun["url"] = json!(url.replace(&public, &endpoint));
        assert_eq!(put(&begun, b"note".to_vec()).await, 403, "the host name is signed");
        begun["url"] = json!(url);
        assert_eq!(put(&begun, b"note".to_vec()).await, 200);
        let ready = ada.complete_upload(&begun["attachment"]["id"]).await.data();
        let url = &ready["completeUpload"]["attachment"]["url"];
        assert!(url.as_str().unwrap().starts_with(&public), "{url}");
        assert_eq!(get(url).await.text().await.unwrap(), "note");
    }
}
