//! What people really send: files whose declared type, codec or size is unusual.

use serde_json::{Value, json};

use crate::support::{Node, get, picture};

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/media").join(name)).unwrap()
}

async fn served_type(attachment: &Value) -> String {
    let response = get(&attachment["url"]).await;
    assert_eq!(response.status(), 200);
    response.headers()["content-type"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_file_is_stored_and_served_with_the_type_of_its_content() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let text = b"GIF89a is a file format of 1989".to_vec();
    for (name, declared, bytes, content_type) in [
        ("a.png", "image/png", picture(80, 60), "image/jpeg"),
        ("a.pdf", "application/pdf", picture(80, 60), "image/jpeg"),
        ("a.mp4", "video/mp4", sample("voice.ogg"), "audio/ogg"),
        ("a.txt", "text/plain", text, "text/plain"),
    ] {
        let ready = ada.upload(name, declared, &bytes).await;
        assert_eq!(ready["contentType"], content_type, "{name}");
        assert_eq!(served_type(&ready).await, content_type, "{name}");
        assert_eq!(ready["small"].is_string(), content_type == "image/jpeg", "{name}");
    }
}

#[tokio::test]
async fn a_video_that_the_server_cannot_decode_has_a_size_and_a_duration() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for (name, content_type) in
        [("hvc1.mp4", "video/mp4"), ("hvc1.mov", "video/quicktime"), ("prores.mov", "video/quicktime")]
    {
        let ready = ada.upload(name, content_type, &sample(name)).await;
        assert_eq!((&ready["contentType"], &ready["durationMs"]), (&json!(content_type), &json!(1000)), "{name}");
        assert!(ready["width"].is_number() && ready["height"].is_number(), "{name}");
    }
}

#[tokio::test]
async fn a_picture_beyond_the_pixel_limit_is_sent_without_a_thumbnail() {
    let node = Node::build().flag("--media-max-pixels=10000").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let ready = ada.upload("a.jpg", "image/jpeg", &picture(200, 200)).await;
    assert_eq!((&ready["width"], &ready["height"]), (&json!(200), &json!(200)));
    for thumbnail in ["small", "medium", "large", "blurhash"] {
        assert_eq!(ready[thumbnail], Value::Null, "{thumbnail}");
    }
    assert_eq!(ada.send_with(&direct, None, &[&ready["id"]]).await["kind"], "IMAGE");
    assert_eq!(served_type(&bob.attachment(&ready["id"]).await).await, "image/jpeg");
    let refused = ada.try_upload("a.jpg", "image/jpeg", &picture(201, 200)).await;
    assert_eq!(refused["state"], "REJECTED");
}
