//! Files: from the wish to send one to an attachment that is ready.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Node, NodeBuilder, TestDatabase, User, get, picture, put, unique};

/// The S3 that is not the server's own.
fn second_s3() -> NodeBuilder {
    let setting = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}: run the tests with `make test`"));
    Node::build()
        .flag(&format!("--s3-endpoint={}", setting("TEST_S3_ENDPOINT")))
        .flag(&format!("--s3-access-key-id={}", setting("TEST_S3_ACCESS_KEY_ID")))
        .flag(&format!("--s3-secret-access-key={}", setting("TEST_S3_SECRET_ACCESS_KEY")))
        .flag(&format!("--s3-bucket=test-{}", unique().replace('_', "-")))
}

/// In hexadecimal digits.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

async fn whole_way(node: &Node) {
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let mut inbox = bob.inbox().await;
    let bytes = picture(640, 480);
    let begun = ada.begin_upload("C:\\holidays\\Möwe \"1\".jpg", "image/JPEG; q=1", bytes.len()).await;
    let pending = &begun["attachment"];
    assert_eq!((&pending["state"], &pending["url"]), (&json!("PENDING"), &Value::Null));
    assert_eq!(pending["fileName"], "Möwe \"1\".jpg");
    assert_eq!(ada.complete_upload(&pending["id"]).await.code(), "CONFLICT", "nothing is there yet");
    // The address is for so many bytes, and for this type.
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
    assert_eq!(seen["url"], ready["url"], "the same for everybody, for a while");
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
async fn a_picture_goes_the_whole_way() {
    whole_way(&Node::start().await).await;
}

#[tokio::test]
async fn a_picture_goes_the_whole_way_by_another_s3() {
    whole_way(&second_s3().start_alone().await).await;
}

#[tokio::test]
async fn what_cannot_be_sent_cannot_be_uploaded() {
    let flags = ["--max-upload-bytes=1000", "--max-image-bytes=500", "--max-video-bytes=800", "--max-audio-bytes=5000"];
    let node = flags.into_iter().fold(Node::build(), NodeBuilder::flag).start_alone().await;
    let ada = node.register("ada").await;
    let info = node.call(None, "{ serverInfo { maxUploadBytes } }", json!({})).await.data();
    assert_eq!(info["serverInfo"]["maxUploadBytes"], 1000);
    let long = "x".repeat(256);
    for (name, content_type, size, path) in [
        ("", "text/plain", 1, "fileName"),
        ("/", "text/plain", 1, "fileName"),
        ("..", "text/plain", 1, "fileName"),
        ("a\nb", "text/plain", 1, "fileName"),
        ("nul\0", "text/plain", 1, "fileName"),
        ("\u{202E}gpj.exe", "text/plain", 1, "fileName"),
        ("a\u{200E}gpj.exe", "text/plain", 1, "fileName"),
        ("a\u{200F}gpj.exe", "text/plain", 1, "fileName"),
        ("a\u{061C}gpj.exe", "text/plain", 1, "fileName"),
        (&long, "text/plain", 1, "fileName"),
        ("a", "", 1, "contentType"),
        ("a", "image", 1, "contentType"),
        ("a", "image/*", 1, "contentType"),
        ("a", "text/plain\r\nx: y", 1, "contentType"),
        ("a", "text/plain", 0, "byteSize"),
        ("a", "text/plain", -1, "byteSize"),
        ("a", "text/plain", 1001, "byteSize"),
        ("a", "image/png", 501, "byteSize"),
        ("a", "video/mp4", 801, "byteSize"),
        ("a", "audio/mpeg", 1001, "byteSize"),
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

#[tokio::test]
async fn what_is_not_what_it_was_said_to_be_is_rejected_and_removed() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Files", &[]).await;
    for (content_type, bytes) in [
        ("image/png", b"this is no picture".to_vec()),
        ("image/png", picture(8, 8)[..200].to_vec()),
        ("video/mp4", picture(8, 8)),
        ("text/plain", picture(8, 8)),
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

    // Uploaded once more by the same address, which is still good: others get what was looked into.
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
async fn a_checksum_binds_the_upload() {
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

async fn in_parts(node: &Node) {
    const PART: usize = 16 * 1024 * 1024;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let bytes: Vec<u8> = (0..2 * PART + 1000).map(|place| u8::try_from(place % 251).unwrap()).collect();
    let sha256 = sha256(&bytes);
    let query = "mutation ($input: CreateMultipartUploadInput!) { createMultipartUpload(input: $input) {
        attachment { id state } partBytes parts { number byteSize url method headers { name value } } expiresAt
    } }";
    let input = json!({
        "fileName": "large.bin", "contentType": "application/octet-stream", "byteSize": bytes.len(), "sha256": sha256,
    });
    let begun = ada.query(query, json!({"input": input})).await["createMultipartUpload"].clone();
    let id = &begun["attachment"]["id"];
    assert_eq!(begun["partBytes"], PART);
    let parts = begun["parts"].as_array().unwrap();
    let sizes: Vec<_> = parts.iter().map(|part| (part["number"].clone(), part["byteSize"].clone())).collect();
    assert_eq!(sizes, [(json!(1), json!(PART)), (json!(2), json!(PART)), (json!(3), json!(1000))]);
    let part = |number: usize| bytes.chunks(PART).nth(number - 1).unwrap().to_vec();
    assert_ne!(put(&parts[1], part(3)).await, 200, "its length is signed");
    for number in [3, 1] {
        assert_eq!(put(&parts[number - 1], part(number)).await, 200);
    }
    // It broke off here. Another device goes on.
    let resume = "mutation ($id: ID!) { resumeUpload(input: {attachmentId: $id}) {
        uploaded parts { number byteSize url method headers { name value } }
    } }";
    assert_eq!(ada.complete_upload(id).await.code(), "CONFLICT");
    assert_eq!(bob.call(resume, json!({"id": id})).await.code(), "NOT_FOUND");
    let rest = ada.query(resume, json!({"id": id})).await["resumeUpload"].clone();
    assert_eq!(rest["uploaded"], json!([1, 3]));
    assert_eq!(rest["parts"].as_array().unwrap().len(), 1);
    assert_eq!(put(&rest["parts"][0], part(2)).await, 200);
    let ready = ada.complete_upload(id).await.data()["completeUpload"]["attachment"].clone();
    assert_eq!((&ready["state"], &ready["byteSize"]), (&json!("READY"), &json!(bytes.len())), "{ready:#}");
    assert!(get(&ready["url"]).await.bytes().await.unwrap() == bytes);
    assert_eq!(ada.call(resume, json!({"id": id})).await.violations(), ["attachmentId"]);

    // One that goes in a single request is one part.
    let begun = ada.begin_upload("note.txt", "text/plain", 4).await;
    let rest = ada.query(resume, json!({"id": begun["attachment"]["id"]})).await["resumeUpload"].clone();
    assert_eq!((&rest["uploaded"], &rest["parts"][0]["byteSize"]), (&json!([]), &json!(4)));
    assert_eq!(put(&rest["parts"][0], b"note".to_vec()).await, 200);
    let rest = ada.query(resume, json!({"id": begun["attachment"]["id"]})).await["resumeUpload"].clone();
    assert_eq!((&rest["uploaded"], &rest["parts"]), (&json!([1]), &json!([])));
}

#[tokio::test]
async fn a_large_file_goes_in_parts_and_is_resumed() {
    in_parts(&Node::start().await).await;
}

#[tokio::test]
async fn a_large_file_goes_in_parts_by_another_s3() {
    in_parts(&second_s3().start_alone().await).await;
}

/// S3 may die while it puts the parts together, and have neither them nor the whole.
#[tokio::test]
async fn an_upload_that_is_lost_is_called_so() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let query = "mutation { createMultipartUpload(input: {fileName: \"a\", contentType: \"text/plain\", byteSize: 4}) {
        attachment { id } parts { url method headers { name value } }
    } }";
    let begun = ada.query(query, json!({})).await["createMultipartUpload"].clone();
    let id = &begun["attachment"]["id"];
    assert_eq!(put(&begun["parts"][0], b"note".to_vec()).await, 200);
    let files = node.files();
    node.lose_file(files.iter().find(|name| name.starts_with("s3/.upload-")).unwrap());
    let resume = "mutation ($id: ID!) { resumeUpload(input: {attachmentId: $id}) { uploaded } }";
    for answer in [ada.call(resume, json!({"id": id})).await, ada.complete_upload(id).await] {
        assert_eq!(answer.code(), "CONFLICT");
        assert_eq!(answer.violations(), ["attachmentId"]);
        assert!(answer.body["errors"].to_string().contains("is lost"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_upload_is_looked_into_once_however_many_complete_it() {
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

/// A node that dies while it looks into a file holds it up for a while, and not for ever.
#[tokio::test]
async fn what_a_dying_node_was_looking_into_another_looks_into() {
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
async fn a_user_has_so_much_room_and_so_many_uploads_at_once() {
    let node = Node::build().flag("--storage-quota-bytes=1000").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    ada.upload("a", "application/octet-stream", &[7; 600]).await;
    let begin = |size: usize| json!({"fileName": "a", "contentType": "text/plain", "byteSize": size});
    let answers = join_all((0..5).map(|_| ada.create_upload(begin(200)))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert_eq!(refused.len(), 3, "200 and 200 have room");
    assert_eq!(refused[0].violations(), ["byteSize"]);
    bob.create_upload(begin(1000)).await.data();
    // Its address is good for a while, and what it stores counts.
    let eve = node.register("eve").await;
    let lie = eve.try_upload("a.png", "image/png", &[7; 600]).await;
    assert_eq!(lie["state"], "REJECTED");
    assert_eq!(eve.create_upload(begin(401)).await.violations(), ["byteSize"]);
    eve.create_upload(begin(400)).await.data();

    let node = Node::start().await;
    let ada = node.register("ada").await;
    ada.try_upload("a.png", "image/png", b"lie").await;
    let answers = join_all((0..102).map(|_| ada.create_upload(begin(1)))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert_eq!(refused.len(), 3);
    assert_eq!(refused[0].violations(), ["input"]);
}

/// Answers each file with the line.
async fn clamd(line: &'static str) -> String {
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
            stream.write_all(line.as_bytes()).await.unwrap();
        }
    });
    format!("--clamd-address={address}")
}

#[tokio::test]
async fn what_the_scanner_finds_is_rejected_and_without_a_scanner_nothing_is_ready() {
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

#[tokio::test]
async fn so_many_files_wait_to_be_looked_into_and_no_more() {
    // It takes files and says nothing of them, until it hangs up.
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
    // Four are looked into, one waits, and one is turned away while all of them go on.
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

#[tokio::test]
async fn without_s3_files_are_unavailable_and_all_else_is_there() {
    let flags = ["--s3-endpoint=http://127.0.0.1:1", "--s3-access-key-id=a", "--s3-secret-access-key=b"];
    let node = flags.into_iter().fold(Node::build(), NodeBuilder::flag).start_alone().await;
    let (ada, bob): (User, User) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    ada.send(&direct, "hello").await;
    let begun = ada.begin_upload("a", "text/plain", 4).await;
    assert_eq!(ada.complete_upload(&begun["attachment"]["id"]).await.code(), "UNAVAILABLE");
}
