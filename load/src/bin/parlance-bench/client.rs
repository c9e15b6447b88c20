//! A client over one HTTP connection that it keeps.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long enough for any answer that is still of use.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Someone registered.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) id: String,
    pub(super) token: String,
}

pub(super) struct Client {
    connection: SendRequest<Body>,
    host: String,
    authorization: Option<String>,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: Option<T>,
    #[serde(default)]
    errors: Vec<Value>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, account: Option<&Account>) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = handshake(TokioIo::new(stream)).await?;
        // A request tells of whatever ends it.
        tokio::spawn(driver);
        let authorization = account.map(|account| format!("Bearer {}", account.token));
        Ok(Self { connection, host: address.to_string(), authorization })
    }

    /// Registers under a name not taken yet.
    pub(super) async fn register(&mut self, username: &str) -> Result<Account> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
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
        let input = json!({ "username": username, "password": "seven quaint otters juggle" });
        let data: Data = self.ask(document, &input).await?;
        Ok(Account { id: data.register.viewer.user.id, token: data.register.access_token })
    }

    /// Returns the conversation's id.
    pub(super) async fn open_direct(&mut self, other: &Account) -> Result<String> {
        let document = "mutation ($input: OpenDirectConversationInput!) {
            opened: openDirectConversation(input: $input) { conversation { id } } }";
        self.open(document, &json!({ "userId": other.id })).await
    }

    /// Returns the conversation's id.
    pub(super) async fn create_group(&mut self, title: &str, others: &[&str]) -> Result<String> {
        let document = "mutation ($input: CreateGroupInput!) {
            opened: createGroup(input: $input) { conversation { id } } }";
        self.open(document, &json!({ "title": title, "participantIds": others })).await
    }

    async fn open(&mut self, document: &str, input: &Value) -> Result<String> {
        #[derive(Deserialize)]
        struct Data {
            opened: Payload,
        }
        #[derive(Deserialize)]
        struct Payload {
            conversation: Node,
        }
        let data: Data = self.ask(document, input).await?;
        Ok(data.opened.conversation.id)
    }

    /// Returns the message's number.
    pub(super) async fn send_message(&mut self, conversation: &str, client_id: &str, body: &str) -> Result<i32> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Data {
            send_message: Payload,
        }
        #[derive(Deserialize)]
        struct Payload {
            message: Message,
        }
        #[derive(Deserialize)]
        struct Message {
            number: i32,
        }
        let document = "mutation Send($input: SendMessageInput!) {
            sendMessage(input: $input) { message { id number createdAt } } }";
        let input = json!({ "conversationId": conversation, "clientId": client_id, "body": body });
        let data: Data = self.ask(document, &input).await?;
        Ok(data.send_message.message.number)
    }

    async fn ask<T: DeserializeOwned>(&mut self, document: &str, input: &Value) -> Result<T> {
        let body = serde_json::to_vec(&json!({ "query": document, "variables": { "input": input } }))?;
        let mut request =
            Request::post("/graphql").header(header::HOST, &self.host).header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request.body(Body::from(body))?;
        let exchange = async {
            self.connection.ready().await?;
            let response = self.connection.send_request(request).await?;
            let status = response.status();
            let bytes = to_bytes(Body::new(response.into_body()), MAX_ANSWER_BYTES).await?;
            anyhow::Ok((status, bytes))
        };
        let (status, bytes) = timeout(ANSWER_TIMEOUT, exchange)
            .await
            .map_err(|_| anyhow!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))??;
        let answer: Answer<T> =
            serde_json::from_slice(&bytes).with_context(|| format!("{status}: {}", String::from_utf8_lossy(&bytes)))?;
        match answer.data {
            Some(data) if answer.errors.is_empty() => Ok(data),
            _ => bail!("{status}: {}", Value::from(answer.errors)),
        }
    }
}

#[derive(Deserialize)]
struct Node {
    id: String,
}
