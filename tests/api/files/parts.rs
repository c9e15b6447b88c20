//! Large files: uploads in parts, which go on where they broke off.

use serde_json::json;

use super::{second_s3, sha256};
use crate::support::{Node, get, put};

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
