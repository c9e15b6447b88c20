//! Large files: multipart uploads that can be resumed.

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
    assert_ne!(put(&parts[1], part(3)).await, 200, "the length of a part is signed");
    for number in [3, 1] {
        assert_eq!(put(&parts[number - 1], part(number)).await, 200);
    }
    // The upload is interrupted here. `resumeUpload` lists the missing parts.
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

    // `resumeUpload` returns one part for an upload in a single request.
    let begun = ada.begin_upload("note.txt", "text/plain", 4).await;
    let rest = ada.query(resume, json!({"id": begun["attachment"]["id"]})).await["resumeUpload"].clone();
    assert_eq!((&rest["uploaded"], &rest["parts"][0]["byteSize"]), (&json!([]), &json!(4)));
    assert_eq!(put(&rest["parts"][0], b"note".to_vec()).await, 200);
    let rest = ada.query(resume, json!({"id": begun["attachment"]["id"]})).await["resumeUpload"].clone();
    assert_eq!((&rest["uploaded"], &rest["parts"]), (&json!([1]), &json!([])));
}

#[tokio::test]
async fn a_multipart_upload_can_be_resumed() {
    in_parts(&Node::start().await).await;
}

#[tokio::test]
async fn a_multipart_upload_can_be_resumed_with_garage() {
    in_parts(&second_s3().start_alone().await).await;
}

/// After S3 dies while it assembles the parts, S3 may have neither the parts nor the object.
#[tokio::test]
async fn a_lost_multipart_upload_is_reported_as_lost() {
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
