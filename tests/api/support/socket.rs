//! Client of the WebSocket subprotocol graphql-transport-ws.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{PATIENCE, within};

/// Maximum time for which a test skips messages until the expected message arrives.
const SKIPPING: Duration = Duration::from_mins(1);

pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Messages of other operations that arrived while `receive_of` waited.
    early: VecDeque<Value>,
}

impl Socket {
    /// Opens a WebSocket without sending `connection_init`.
    pub async fn raw(http_url: &str) -> Self {
        Self::offering(http_url, "graphql-transport-ws").await.0
    }

    /// Opens a WebSocket that offers these subprotocols. Also returns the subprotocol that the server chose.
    pub async fn offering(http_url: &str, protocols: &'static str) -> (Self, String) {
        let (stream, response) = connect_async(Self::request(http_url, protocols)).await.unwrap();
        let chosen = response.headers()["sec-websocket-protocol"].to_str().unwrap().to_owned();
        (Self { stream, early: VecDeque::new() }, chosen)
    }

    fn request(http_url: &str, protocols: &'static str) -> Request {
        let mut request = http_url.replacen("http", "ws", 1).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(protocols));
        request
    }

    /// Opens a WebSocket, sends `connection_init` with the token and waits for `connection_ack`.
    pub async fn open(http_url: &str, token: &str) -> Self {
        let mut socket = Self::raw(http_url).await;
        let authorization = format!("Bearer {token}");
        socket.send(json!({"type": "connection_init", "payload": {"Authorization": authorization}})).await;
        assert_eq!(socket.receive().await, json!({"type": "connection_ack"}));
        socket
    }

    /// Like `open`, but returns None if the server cannot be reached or does not send `connection_ack`.
    pub async fn try_open(http_url: &str, token: &str) -> Option<Self> {
        let (stream, _) = connect_async(Self::request(http_url, "graphql-transport-ws")).await.ok()?;
        let mut socket = Self { stream, early: VecDeque::new() };
        let authorization = format!("Bearer {token}");
        socket.try_send(json!({"type": "connection_init", "payload": {"Authorization": authorization}})).await?;
        (socket.try_receive().await? == json!({"type": "connection_ack"})).then_some(socket)
    }

    /// Sends a message. Returns None if the connection is closed.
    pub async fn try_send(&mut self, message: Value) -> Option<()> {
        self.stream.send(Message::text(message.to_string())).await.ok()
    }

    /// Waits for the next message without a timeout, and answers pings. Returns None if the connection ends.
    pub async fn try_receive(&mut self) -> Option<Value> {
        loop {
            let frame = self.stream.next().await;
            if let ControlFlow::Break(result) = self.frame(frame).await {
                return result.ok();
            }
        }
    }

    pub async fn send(&mut self, message: Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// Sends a text frame whose payload may be invalid UTF-8.
    pub async fn send_bytes_as_text(&mut self, bytes: &'static [u8]) {
        let frame = Frame::message(bytes, OpCode::Data(Data::Text), true);
        self.stream.send(Message::Frame(frame)).await.unwrap();
    }

    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        self.send(json!({"id": id, "type": "subscribe", "payload": {"query": query, "variables": variables}})).await;
    }

    /// Waits for the next message, and answers pings. Panics if the connection closes.
    pub async fn receive(&mut self) -> Value {
        if let Some(message) = self.early.pop_front() {
            return message;
        }
        self.read().await.unwrap_or_else(|close| panic!("closed with {close:?}"))
    }

    /// Waits for the next message of one operation. Keeps other messages for later calls.
    pub async fn receive_of(&mut self, id: &str) -> Value {
        if let Some(place) = self.early.iter().position(|message| message["id"] == id) {
            return self.early.remove(place).unwrap();
        }
        within(SKIPPING, &format!("a message of the operation {id}"), async {
            loop {
                let message = self.read().await.unwrap_or_else(|close| panic!("closed with {close:?}"));
                if message["id"] == id {
                    return message;
                }
                self.early.push_back(message);
            }
        })
        .await
    }

    /// Waits until the server closes the connection, and returns the close code. Skips all messages before it.
    pub async fn closed(mut self) -> u16 {
        let code = within(SKIPPING, "the server closes the connection", async {
            loop {
                if let Err(code) = self.read().await {
                    return code;
                }
            }
        });
        code.await.expect("the server sent no close code")
    }

    /// Closes the connection with this code, and returns the close code of the server.
    pub async fn close(mut self, code: u16) -> u16 {
        let frame = CloseFrame { code: code.into(), reason: "".into() };
        self.stream.send(Message::Close(Some(frame))).await.unwrap();
        self.closed().await
    }

    /// Waits until the server ends the connection, with or without a code.
    pub async fn ended(mut self) {
        within(PATIENCE, "the connection ends", async { while let Some(Ok(_)) = self.stream.next().await {} }).await;
    }

    /// Counts pings without answering them until the server closes the connection, and returns their number.
    pub async fn ended_without_answering(&mut self) -> usize {
        within(PATIENCE, "the server ends the connection", async {
            let mut pings = 0;
            while let Some(Ok(frame)) = self.stream.next().await {
                match frame {
                    Message::Text(text) if text.contains("\"ping\"") => pings += 1,
                    other => panic!("{other:?}"),
                }
            }
            pings
        })
        .await
    }

    /// Returns the headers of a WebSocket upgrade, for an HTTP client that does not support WebSocket.
    pub fn upgrade_headers() -> reqwest::header::HeaderMap {
        let headers = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", "graphql-transport-ws"),
        ];
        headers.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).into_iter().collect()
    }

    async fn read(&mut self) -> Result<Value, Option<u16>> {
        within(PATIENCE, "a message on the socket", async {
            loop {
                let frame = self.stream.next().await;
                if let ControlFlow::Break(result) = self.frame(frame).await {
                    return result;
                }
            }
        })
        .await
    }

    async fn frame(
        &mut self,
        frame: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
    ) -> ControlFlow<Result<Value, Option<u16>>> {
        match frame {
            Some(Ok(Message::Text(text))) => {
                let message: Value = serde_json::from_str(&text).unwrap();
                if message["type"] != "ping" {
                    return ControlFlow::Break(Ok(message));
                }
                // If the send fails, the next read returns the error.
                let _ = self.try_send(json!({"type": "pong"})).await;
                ControlFlow::Continue(())
            }
            Some(Ok(Message::Close(frame))) => ControlFlow::Break(Err(frame.map(|frame| frame.code.into()))),
            Some(Ok(_)) => ControlFlow::Continue(()),
            Some(Err(_)) | None => ControlFlow::Break(Err(None)),
        }
    }
}

/// An `inbox` subscription on a separate socket.
pub struct Inbox {
    pub socket: Socket,
    /// Cursor of the last received event that has a cursor.
    pub cursor: Option<String>,
}

const INBOX: &str = "subscription ($after: String) { inbox(after: $after) {
    __typename
    ... on DurableEvent { cursor }
    ... on MessageAdded { message { id number body clientId conversation { id } sender { id displayName } } }
    ... on MessageUpdated { message { id body deletedAt revision } }
    ... on MessageRemoved { messageId conversationId }
    ... on ConversationAdded { conversation { id kind title } }
    ... on ConversationUpdated { conversation { id participantCount } }
    ... on ConversationRemoved { conversationId }
    ... on ContactsChanged { user { id } }
    ... on MembershipUpdated { conversation { id } }
    ... on CallRinging { call { id state } }
    ... on CallAnswered { call { id state } participant { user { id } sessionId } }
    ... on CallLeft { call { id state } participant { user { id } sessionId } }
    ... on CallEnded { call { id state endReason } }
    ... on ReceiptAdvanced { conversation { id } participant { user { id } lastReadNumber lastDeliveredNumber } }
} }";

impl Inbox {
    pub async fn open(mut socket: Socket, after: Option<&str>) -> Self {
        socket.subscribe("inbox", INBOX, json!({"after": after})).await;
        Self { socket, cursor: after.map(str::to_owned) }
    }

    /// Waits for the next event and returns it.
    pub async fn next(&mut self) -> Value {
        let message = self.socket.receive_of("inbox").await;
        assert_eq!(message["type"], "next", "{message:#}");
        assert!(message["payload"].get("errors").is_none(), "{message:#}");
        let event = message["payload"]["data"]["inbox"].clone();
        // Events of calls have no cursor.
        if let Some(cursor) = event["cursor"].as_str() {
            self.cursor = Some(cursor.to_owned());
        }
        event
    }

    /// Waits for the next event and returns it. Panics if its type is not `kind`.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let event = self.next().await;
        assert_eq!(event["__typename"], kind, "{event:#}");
        event
    }

    /// Waits for the next `MessageAdded` event and returns its message. Skips other events.
    pub async fn message(&mut self) -> Value {
        self.skip_to("MessageAdded").await["message"].clone()
    }

    /// Waits for the next event of this type and returns it. Skips other events.
    pub async fn skip_to(&mut self, kind: &str) -> Value {
        within(SKIPPING, &format!("the event {kind}"), async {
            loop {
                let event = self.next().await;
                if event["__typename"] == kind {
                    return event;
                }
            }
        })
        .await
    }

    /// Receives events up to the next `CaughtUp`, and returns the events before it.
    pub async fn missed(&mut self) -> Vec<Value> {
        within(SKIPPING, "the event CaughtUp", async {
            let mut missed = Vec::new();
            loop {
                let event = self.next().await;
                if event["__typename"] == "CaughtUp" {
                    return missed;
                }
                missed.push(event);
            }
        })
        .await
    }
}
