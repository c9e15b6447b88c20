//! A GraphQL client that uses one persistent HTTP/1.1 connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::scan;

/// Maximum time of a request. Longer than OPERATION_TIMEOUT, which is 30 s by default, so that the timeout of the
/// server ends first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
const MAX_ANSWER_BYTES: usize = 1 << 20;
pub const PASSWORD: &str = "seven quaint otters juggle";
const SEND: &str =
    "mutation Send($input: SendMessageInput!) { sendMessage(input: $input) { message { id number createdAt } } }";

/// A registered user with an access token. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Account {
    pub id: Arc<str>,
    pub token: Arc<str>,
}

pub struct Client {
    stream: TcpStream,
    address: SocketAddr,
    /// Bytes that were read and do not form a complete response yet.
    read: Vec<u8>,
}

/// An HTTP response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub body: Vec<u8>,
}

/// A signed request that uploads one file.
#[derive(Debug)]
pub struct Upload {
    pub id: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
}

/// The GraphQL errors of a response.
#[derive(Debug)]
pub struct Refused(Vec<Value>);

impl Refused {
    /// Whether an error has the code UNAVAILABLE, so that a retry may succeed.
    pub fn is_unavailable(&self) -> bool {
        self.0.iter().any(|error| error["extensions"]["code"] == "UNAVAILABLE")
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", Value::from(self.0.clone()))
    }
}

impl std::error::Error for Refused {}

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
    #[serde(default)]
    errors: Vec<Value>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, address, read: Vec::with_capacity(1024) })
    }

    /// Registers a user. The name must not be taken yet.
    pub async fn register(&mut self, username: &str) -> Result<Account> {
        #[derive(Deserialize)]
        struct Data {
            register: Payload,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Payload {
            access_token: String,
            viewer: Viewer,
        }
        #[derive(Deserialize)]
        struct Viewer {
            user: Node,
        }
        let document =
            "mutation ($input: RegisterInput!) { register(input: $input) { accessToken viewer { user { id } } } }";
        let input = json!({ "username": username, "password": PASSWORD });
        let data: Data = self.ask(None, document, &input).await?;
        Ok(Account { id: data.register.viewer.user.id.into(), token: data.register.access_token.into() })
    }

    /// Opens the direct conversation of two users, and returns its id.
    pub async fn open_direct(&mut self, viewer: &Account, other: &Account) -> Result<String> {
        let document = "mutation ($input: OpenDirectConversationInput!) {
            opened: openDirectConversation(input: $input) { conversation { id } } }";
        self.open(viewer, document, &json!({ "userId": *other.id })).await
    }

    /// Creates a group, and returns the id of its conversation.
    pub async fn create_group(&mut self, owner: &Account, title: &str, others: &[Account]) -> Result<String> {
        let document = "mutation ($input: CreateGroupInput!) {
            opened: createGroup(input: $input) { conversation { id } } }";
        let others: Vec<&str> = others.iter().map(|account| &*account.id).collect();
        self.open(owner, document, &json!({ "title": title, "participantIds": others })).await
    }

    async fn open(&mut self, viewer: &Account, document: &str, input: &Value) -> Result<String> {
        #[derive(Deserialize)]
        struct Data {
            opened: Payload,
        }
        #[derive(Deserialize)]
        struct Payload {
            conversation: Node,
        }
        let data: Data = self.ask(Some(viewer), document, input).await?;
        Ok(data.opened.conversation.id)
    }

    /// Creates an attachment with a size of `bytes` bytes, and returns the request that uploads its file.
    pub async fn create_upload(&mut self, viewer: &Account, name: &str, bytes: u64) -> Result<Upload> {
        #[derive(Deserialize)]
        struct Data {
            created: Payload,
        }
        #[derive(Deserialize)]
        struct Payload {
            attachment: Node,
            url: String,
            headers: Vec<Header>,
        }
        #[derive(Deserialize)]
        struct Header {
            name: String,
            value: String,
        }
        let document = "mutation ($input: CreateUploadInput!) {
            created: createUpload(input: $input) { attachment { id } url headers { name value } } }";
        let input = json!({ "fileName": name, "contentType": "application/octet-stream", "byteSize": bytes });
        let Data { created } = self.ask(Some(viewer), document, &input).await?;
        let headers = created.headers.into_iter().map(|header| (header.name, header.value)).collect();
        Ok(Upload { id: created.attachment.id, url: created.url, headers })
    }

    /// Completes an upload, and returns the download URL. If the server cannot inspect the file now, the error is a
    /// `Refused` with the code UNAVAILABLE.
    pub async fn complete_upload(&mut self, viewer: &Account, id: &str) -> Result<String> {
        #[derive(Deserialize)]
        struct Data {
            completed: Payload,
        }
        #[derive(Deserialize)]
        struct Payload {
            attachment: Attachment,
        }
        #[derive(Deserialize)]
        struct Attachment {
            state: String,
            url: Option<String>,
        }
        let document = "mutation ($input: CompleteUploadInput!) {
            completed: completeUpload(input: $input) { attachment { state url } } }";
        let data: Data = self.ask(Some(viewer), document, &json!({ "attachmentId": id })).await?;
        let Attachment { state, url } = data.completed.attachment;
        url.with_context(|| format!("the attachment is {state}"))
    }

    /// Sends a message, and returns its number.
    pub async fn send_message(
        &mut self,
        sender: &Account,
        conversation: &str,
        client_id: &str,
        body: &str,
    ) -> Result<i32> {
        let input = json!({ "conversationId": conversation, "clientId": client_id, "body": body });
        let answer = self.post(Some(sender), SEND, &input).await?;
        let number = scan::number(&answer, "\"number\":").filter(|_| !answer.starts_with(b"{\"errors\""));
        number.with_context(|| String::from_utf8_lossy(&answer).into_owned())
    }

    /// Sends an operation as a proxy forwards it for the client at `address`, and returns the response with its status.
    /// The server must trust the loopback network as a proxy.
    pub async fn forward(
        &mut self,
        address: Ipv4Addr,
        viewer: Option<&Account>,
        document: &str,
        variables: &Value,
    ) -> Result<Response> {
        let body = json!({ "query": document, "variables": variables }).to_string();
        let headers = format!("X-Forwarded-For: {address}\r\nAccept: application/graphql-response+json\r\n");
        self.exchange(&headers, viewer, &body).await
    }

    async fn ask<T: DeserializeOwned>(&mut self, viewer: Option<&Account>, document: &str, input: &Value) -> Result<T> {
        let bytes = self.post(viewer, document, input).await?;
        let answer: Answer<T> =
            serde_json::from_slice(&bytes).with_context(|| String::from_utf8_lossy(&bytes).into_owned())?;
        match answer.data {
            Some(data) if answer.errors.is_empty() => Ok(data),
            _ => Err(Refused(answer.errors).into()),
        }
    }

    /// Sends a request, and returns the body of the response. Ignores the HTTP status.
    async fn post(&mut self, viewer: Option<&Account>, document: &str, input: &Value) -> Result<Vec<u8>> {
        let body = json!({ "query": document, "variables": { "input": input } }).to_string();
        Ok(self.exchange("", viewer, &body).await?.body)
    }

    /// Sends a request, and returns the response. `headers` contains further header lines, each with its line break.
    async fn exchange(&mut self, headers: &str, viewer: Option<&Account>, body: &str) -> Result<Response> {
        let authorization =
            viewer.map(|viewer| format!("Authorization: Bearer {}\r\n", viewer.token)).unwrap_or_default();
        let request = format!(
            "POST /graphql HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n{authorization}{headers}\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len(),
        );
        let exchange = async {
            self.stream.write_all(request.as_bytes()).await?;
            self.response().await
        };
        timeout(ANSWER_TIMEOUT, exchange)
            .await
            .map_err(|_| anyhow!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))?
    }

    async fn response(&mut self) -> Result<Response> {
        loop {
            if let Some((head, body)) = extent(&self.read)? {
                let status = status(&self.read)?;
                let body = self.read.drain(..head + body).skip(head).collect();
                return Ok(Response { status, body });
            }
            ensure!(self.read.len() < MAX_ANSWER_BYTES, "an answer does not end");
            ensure!(self.stream.read_buf(&mut self.read).await? > 0, "the connection ended before the answer");
        }
    }
}

/// Returns the status of a response, which has three digits after `HTTP/1.1 `.
fn status(read: &[u8]) -> Result<u16> {
    let digits = read.get(9..12).context("a response without a status")?;
    Ok(std::str::from_utf8(digits)?.parse()?)
}

/// Returns the lengths of a response's head and body in bytes. None if the response is not complete yet.
fn extent(read: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(end) = memchr::memmem::find(read, b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&read[..end])?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let length: usize = length.with_context(|| format!("an answer of unknown length: {head}"))?.parse()?;
    Ok((read.len() >= end + 4 + length).then_some((end + 4, length)))
}

#[cfg(test)]
mod tests {
    use super::{extent, status};

    #[test]
    fn content_length_decides_where_an_answer_ends() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 4\r\n\r\nbodyHTTP/1.1";
        assert_eq!((extent(answer).unwrap(), status(answer).unwrap()), (Some((70, 4)), 200));
        assert_eq!(extent(&answer[..73]).unwrap(), None);
        assert_eq!(extent(b"HTTP/1.1 200 OK\r\n").unwrap(), None);
        assert!(extent(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }
}
