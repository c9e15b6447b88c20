//! Helpers for uploads, downloads and messages with attachments.

use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

use super::client::{Answer, User, http_client};

const CREATE: &str = "mutation ($input: CreateUploadInput!) { createUpload(input: $input) {
    attachment { id state fileName contentType byteSize url } url method headers { name value } expiresAt
} }";

const COMPLETE: &str = "mutation ($id: ID!) { completeUpload(input: {attachmentId: $id}) { attachment {
    id state rejection fileName contentType byteSize width height durationMs blurhash waveform
    url small: thumbnailUrl medium: thumbnailUrl(size: MEDIUM) large: thumbnailUrl(size: LARGE)
} } }";

const SEND: &str = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) {
    message { id number kind body clientId attachments { id state fileName url } }
} }";

impl User {
    pub async fn create_upload(&self, input: Value) -> Answer {
        self.call(CREATE, json!({"input": input})).await
    }

    /// Calls `createUpload` and returns its payload.
    pub async fn begin_upload(&self, name: &str, content_type: &str, byte_size: usize) -> Value {
        let input = json!({"fileName": name, "contentType": content_type, "byteSize": byte_size});
        self.create_upload(input).await.data()["createUpload"].clone()
    }

    pub async fn complete_upload(&self, id: &Value) -> Answer {
        self.call(COMPLETE, json!({"id": id})).await
    }

    /// Uploads a file and completes the upload. Returns the attachment, which may be READY or REJECTED.
    pub async fn try_upload(&self, name: &str, content_type: &str, bytes: &[u8]) -> Value {
        let begun = self.begin_upload(name, content_type, bytes.len()).await;
        assert_eq!(put(&begun, bytes.to_vec()).await, 200);
        let answer = self.complete_upload(&begun["attachment"]["id"]).await.data();
        answer["completeUpload"]["attachment"].clone()
    }

    /// Uploads a file and returns the attachment. Panics if the attachment is not READY.
    pub async fn upload(&self, name: &str, content_type: &str, bytes: &[u8]) -> Value {
        let attachment = self.try_upload(name, content_type, bytes).await;
        assert_eq!(attachment["state"], "READY", "{attachment:#}");
        attachment
    }

    /// Uploads a small text file and returns the id of the attachment.
    pub async fn upload_note(&self, text: &str) -> Value {
        self.upload("note.txt", "text/plain", text.as_bytes()).await["id"].clone()
    }

    pub async fn try_send_with(&self, conversation: &str, body: Option<&str>, attachments: &[&Value]) -> Answer {
        let input = json!({"conversationId": conversation, "body": body, "attachmentIds": attachments});
        self.call(SEND, json!({"input": input})).await
    }

    /// Sends a message with attachments and returns it.
    pub async fn send_with(&self, conversation: &str, body: Option<&str>, attachments: &[&Value]) -> Value {
        self.try_send_with(conversation, body, attachments).await.data()["sendMessage"]["message"].clone()
    }

    pub async fn forward(&self, message: &Value, to: &str) -> Answer {
        let query = "mutation ($id: ID!, $to: ID!) {
            forwardMessages(input: {messageIds: [$id], conversationIds: [$to]}) {
                messages { id kind body forwarded attachments { id url } }
            }
        }";
        self.call(query, json!({"id": message["id"], "to": to})).await
    }

    pub async fn delete_message(&self, message: &Value, scope: &str) -> Answer {
        let query = "mutation ($id: ID!, $scope: DeleteScope!) {
            deleteMessage(input: {messageId: $id, scope: $scope}) { messageId }
        }";
        self.call(query, json!({"id": message["id"], "scope": scope})).await
    }

    /// Reads an attachment through the field `node`. Returns null if the user may not see the attachment.
    pub async fn attachment(&self, id: &Value) -> Value {
        let query = "query ($id: ID!) { node(id: $id) { id ... on Attachment {
            state fileName contentType byteSize rejection url thumbnailUrl
        } } }";
        self.query(query, json!({"id": id})).await["node"].clone()
    }
}

/// Uploads bytes with the method, URL and headers in a `createUpload` payload. Returns the HTTP status.
pub async fn put(begun: &Value, bytes: Vec<u8>) -> u16 {
    let method = begun["method"].as_str().unwrap().parse().unwrap();
    let mut request = http_client().build().unwrap().request(method, begun["url"].as_str().unwrap());
    for header in begun["headers"].as_array().unwrap() {
        let (name, value) = (header["name"].as_str().unwrap(), header["value"].as_str().unwrap());
        // reqwest sets Content-Length itself, as browsers do.
        if name != "content-length" {
            request = request.header(name, value);
        }
    }
    request.body(bytes).send().await.unwrap().status().as_u16()
}

pub async fn get(url: &Value) -> reqwest::Response {
    let url = url.as_str().unwrap_or_else(|| panic!("no URL: {url}"));
    http_client().build().unwrap().get(url).send().await.unwrap()
}

/// Returns a JPEG with this width and height in pixels.
pub fn picture(width: u32, height: u32) -> Vec<u8> {
    let shade = |value: u32, of: u32| u8::try_from(value * 255 / of.max(1)).unwrap();
    let image = RgbImage::from_fn(width, height, |x, y| Rgb([shade(x, width), shade(y, height), 128]));
    let mut bytes = std::io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}
