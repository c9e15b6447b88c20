//! A listener: one inbox subscription over graphql-transport-ws.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;

use super::Stopwatch;
use super::client::Account;
use super::load::Label;

/// What a chat window asks for of a message.
const INBOX: &str = "subscription Inbox { inbox { __typename ... on MessageAdded { cursor
    message { id number clientId body createdAt conversation { id } sender { id displayName } } } } }";
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// tungstenite clears its whole read buffer at every read, and the processors are shared with what is measured.
const READ_BUFFER: usize = 4096;

/// A message as it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub(super) label: Label,
    pub(super) number: i32,
    pub(super) at: Duration,
}

/// What a listener heard, in the order it came.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) receipts: Vec<Receipt>,
    /// Whatever must not happen: an end, an error, a message from elsewhere.
    pub(super) surprise: Option<String>,
}

pub(super) struct Listener {
    socket: WebSocketStream<TcpStream>,
    conversation: String,
    watch: Stopwatch,
}

#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    payload: Option<Payload>,
}

#[derive(Deserialize)]
struct Payload {
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    inbox: Event,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "__typename")]
    kind: String,
    message: Option<Added>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Added {
    number: i32,
    client_id: Option<String>,
    conversation: Conversation,
}

#[derive(Deserialize)]
struct Conversation {
    id: String,
}

impl Listener {
    /// Returns once the server says that what follows is live.
    pub(super) async fn connect(
        address: SocketAddr,
        account: &Account,
        conversation: &str,
        watch: Stopwatch,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = ClientRequestBuilder::new(format!("ws://{address}/graphql").parse()?)
            .with_sub_protocol("graphql-transport-ws");
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
        let mut listener = Self { socket, conversation: conversation.to_owned(), watch };
        timeout(START_TIMEOUT, listener.subscribe(account)).await.context("subscribing to the inbox")??;
        Ok(listener)
    }

    async fn subscribe(&mut self, account: &Account) -> Result<()> {
        let authorization = format!("Bearer {}", account.token);
        self.say(&json!({ "type": "connection_init", "payload": { "Authorization": authorization } })).await?;
        let answer = self.next_text().await?;
        ensure!(answer.contains("connection_ack"), "in place of connection_ack came {answer}");
        self.say(&json!({ "type": "subscribe", "id": "inbox", "payload": { "query": INBOX } })).await?;
        let answer = self.next_text().await?;
        ensure!(answer.contains("CaughtUp"), "in place of CaughtUp came {answer}");
        Ok(())
    }

    /// Listens until told to stop, and counts on the way.
    pub(super) async fn listen(mut self, count: Arc<AtomicUsize>, stop: CancellationToken) -> Heard {
        let mut heard = Heard::default();
        let ended = stop
            .run_until_cancelled_owned(async {
                loop {
                    if let Some(receipt) = self.next().await? {
                        heard.receipts.push(receipt);
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            })
            .await;
        heard.surprise = ended.and_then(|ended: Result<()>| ended.err()).map(|error| format!("{error:#}"));
        heard
    }

    /// None for what only shows that the server is there.
    async fn next(&mut self) -> Result<Option<Receipt>> {
        let text = self.next_text().await?;
        let at = self.watch.now();
        let frame: Frame = serde_json::from_str(&text).with_context(|| text.clone())?;
        if frame.kind == "ping" {
            self.say(&json!({ "type": "pong" })).await?;
            return Ok(None);
        }
        let event = frame.payload.and_then(|payload| payload.data).map(|data| data.inbox);
        match event {
            Some(Event { kind, message: Some(added) }) if frame.kind == "next" && kind == "MessageAdded" => {
                ensure!(added.conversation.id == self.conversation, "a message of another conversation: {text}");
                let label = added.client_id.as_deref().and_then(Label::parse).context(text)?;
                Ok(Some(Receipt { label, number: added.number, at }))
            }
            _ => bail!("not a message: {text}"),
        }
    }

    async fn next_text(&mut self) -> Result<String> {
        loop {
            match self.socket.next().await.context("the socket ended")?? {
                Message::Text(text) => return Ok(text.as_str().to_owned()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => bail!("the socket brought {other:?}"),
            }
        }
    }

    async fn say(&mut self, message: &serde_json::Value) -> Result<()> {
        Ok(self.socket.send(Message::text(message.to_string())).await?)
    }
}
