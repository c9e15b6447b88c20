//! A listener: a client with one `inbox` subscription over the protocol graphql-transport-ws.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::Account;
use crate::label::Label;
use crate::ledger::ReceivedRange;
use crate::load::{ListenerPlan, Shared};
use crate::scan;
use crate::socket::Socket;

/// Selects the fields of a message that a chat window shows.
const INBOX: &str = "subscription Inbox($after: String) { inbox(after: $after) { __typename ... on CaughtUp { cursor }
    ... on MessageAdded { cursor
        message { id number clientId body createdAt conversation { id } sender { id displayName } } } } }";
/// Like `INBOX`, but with fields that depend on the viewer, so that the server renders each event for each viewer.
const PERSONAL_INBOX: &str = "subscription Inbox($after: String) { inbox(after: $after) {
    __typename ... on CaughtUp { cursor }
    ... on MessageAdded { cursor
        message { id number clientId body createdAt
            conversation { id viewerMembership { unreadCount } } sender { id displayName viewerIsContact } } } } }";
const PROTOCOL: &str = "graphql-transport-ws";
const PONG: &str = r#"{"type":"pong"}"#;
const START_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause before the next attempt to reconnect.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Number of events of which one is parsed completely, to check the fields that `scan` found.
const SAMPLED: u64 = 64;

pub struct Listener {
    index: usize,
    account: Account,
    /// Text of the subscription.
    document: &'static str,
    socket: Socket,
    state: State,
}

/// The state of a listener, which outlives its connections.
struct State {
    ranges: HashMap<u32, ReceivedRange>,
    /// Cursor of the newest event.
    cursor: String,
    events: u64,
    /// Whether the listener must still answer a ping of the server.
    pong_is_due: bool,
}

impl Listener {
    /// Connects, subscribes, and returns when the server has sent `CaughtUp`.
    pub async fn connect(index: usize, address: SocketAddr, plan: &ListenerPlan) -> Result<Self> {
        let ranges = plan.rooms.iter().map(|&room| (room, ReceivedRange::NONE)).collect();
        let mut state = State { ranges, cursor: String::new(), events: 0, pong_is_due: false };
        let document = if plan.personal { PERSONAL_INBOX } else { INBOX };
        let mut socket = open(address, &plan.account, document, None).await?;
        let caught_up = async {
            while state.cursor.is_empty() {
                socket.receive(|event| state.first(event)).await?;
            }
            anyhow::Ok(())
        };
        timeout(START_TIMEOUT, caught_up).await.context("subscribing to the inbox")??;
        Ok(Self { index, account: plan.account.clone(), document, socket, state })
    }

    /// Listens until the load stops, and returns a `ReceivedRange` for each room. Reconnects each time `churn` sends a
    /// notification.
    pub(crate) async fn listen(mut self, shared: Arc<Shared>, churn: Arc<Notify>) -> Vec<(usize, u32, ReceivedRange)> {
        let stop = shared.stop.clone();
        let mut stopped = pin!(stop.cancelled());
        let mut churned = pin!(churn.notified());
        loop {
            let ended = tokio::select! {
                biased;
                () = &mut stopped => break,
                () = &mut churned => {
                    churned.set(churn.notified());
                    None
                }
                error = self.receive(&shared) => Some(error),
            };
            if let Some(error) = ended
                && !shared.persistent
            {
                let index = self.index;
                shared.ledger.violation(format!("listener {index} stopped listening: {error:#}"));
                break;
            }
            let reconnected = tokio::select! {
                () = &mut stopped => break,
                reconnected = self.reconnect(&shared) => reconnected,
            };
            if let Err(error) = reconnected {
                shared.ledger.violation(format!("listener {} could not reconnect: {error:#}", self.index));
                break;
            }
        }
        self.state.ranges.into_iter().map(|(room, range)| (self.index, room, range)).collect()
    }

    /// Answers pings and ignores all messages until `stop` is cancelled.
    pub async fn idle(mut self, stop: CancellationToken) -> Result<()> {
        let listening = async {
            loop {
                self.socket
                    .receive(
                        |event| if scan::is_message(event) { Ok(()) } else { self.state.handle_other_frame(event) },
                    )
                    .await?;
                if std::mem::take(&mut self.state.pong_is_due) {
                    self.socket.send(PONG).await?;
                }
            }
        };
        stop.run_until_cancelled(listening).await.unwrap_or(Ok(()))
    }

    /// Receives events until the connection fails, and returns the error.
    async fn receive(&mut self, shared: &Shared) -> anyhow::Error {
        let Self { index, socket, state, .. } = self;
        loop {
            let mut at = None;
            let received = socket
                .receive(|event| {
                    let at = *at.get_or_insert_with(|| shared.watch.now());
                    state.event(shared, *index, event, at)
                })
                .await;
            let answered = match received {
                Ok(()) if std::mem::take(&mut state.pong_is_due) => socket.send(PONG).await,
                received => received,
            };
            if let Err(error) = answered {
                return error;
            }
        }
    }

    /// Reconnects and resumes from the cursor. If the load is persistent, retries until a connection succeeds.
    async fn reconnect(&mut self, shared: &Shared) -> Result<()> {
        for tried in 0.. {
            shared.reconnects.fetch_add(1, Ordering::Relaxed);
            let address = shared.node(self.index, tried);
            match open(address, &self.account, self.document, Some(&self.state.cursor)).await {
                Ok(socket) => {
                    self.socket = socket;
                    return Ok(());
                }
                Err(error) if !shared.persistent => return Err(error),
                Err(_) => sleep(ERROR_PAUSE).await,
            }
        }
        Ok(())
    }
}

/// Opens a socket and sends the subscription, without waiting for its first event.
async fn open(address: SocketAddr, account: &Account, document: &str, after: Option<&str>) -> Result<Socket> {
    let opened = async {
        let mut socket = Socket::connect(address, PROTOCOL).await?;
        let authorization = format!("Bearer {}", account.token);
        let init = json!({ "type": "connection_init", "payload": { "Authorization": authorization } });
        socket.send(&init.to_string()).await?;
        socket
            .receive(|answer| {
                let answer = String::from_utf8_lossy(answer);
                ensure!(answer.contains("connection_ack"), "expected connection_ack, received {answer}");
                Ok(())
            })
            .await?;
        // Without a cursor the variable is left out, so that all such listeners send the same request.
        let variables = after.map_or_else(|| json!({}), |cursor| json!({ "after": cursor }));
        let payload = json!({ "query": document, "variables": variables });
        socket.send(&json!({ "type": "subscribe", "id": "inbox", "payload": payload }).to_string()).await?;
        anyhow::Ok(socket)
    };
    timeout(START_TIMEOUT, opened).await.context("opening the socket")?
}

impl State {
    fn first(&mut self, event: &[u8]) -> Result<()> {
        let text = || String::from_utf8_lossy(event);
        ensure!(memchr::memmem::find(event, br#""CaughtUp""#).is_some(), "expected CaughtUp, received {}", text());
        scan::text(event, "\"cursor\":").with_context(|| text().into_owned())?.clone_into(&mut self.cursor);
        Ok(())
    }

    fn event(&mut self, shared: &Shared, listener: usize, event: &[u8], at: Duration) -> Result<()> {
        if !scan::is_message(event) {
            return self.handle_other_frame(event);
        }
        let malformed = || String::from_utf8_lossy(event).into_owned();
        let number = scan::number(event, "\"number\":").with_context(malformed)?;
        scan::text(event, "\"cursor\":").with_context(malformed)?.clone_into(&mut self.cursor);
        self.events += 1;
        let Some(client_id) = scan::text(event, "\"clientId\":") else {
            // A system message has no label, so its room is read from its conversation.
            let (room, _) = room_of(shared, event)?;
            return self.record(shared, listener, room, None, number);
        };
        let label = Label::parse(client_id).with_context(malformed)?;
        shared.timeline.received(label.begun, at, event.len());
        if self.events % SAMPLED == 1 {
            let (room, in_full) = room_of(shared, event)?;
            ensure!(room == label.room && in_full == number, "a message in the wrong place: {}", malformed());
        }
        self.record(shared, listener, label.room, Some(label), number)
    }

    fn record(&mut self, shared: &Shared, listener: usize, room: u32, label: Option<Label>, number: i32) -> Result<()> {
        let range = self.ranges.get_mut(&room).with_context(|| format!("a message of room {room}"))?;
        if shared.ledger.delivered(listener, room, range, label, number) {
            shared.permits.add_permits(1);
        }
        Ok(())
    }

    /// Handles all frames that do not contain a message.
    fn handle_other_frame(&mut self, text: &[u8]) -> Result<()> {
        let frame: Value = serde_json::from_slice(text)?;
        match frame["type"].as_str() {
            Some("ping") => self.pong_is_due = true,
            Some("next") => {
                let event = &frame["payload"]["data"]["inbox"];
                let kind = event["__typename"].as_str().with_context(|| frame.to_string())?;
                ensure!(kind != "ResyncRequired", "the server cannot resume from the listener's cursor");
                if let Some(cursor) = event["cursor"].as_str() {
                    cursor.clone_into(&mut self.cursor);
                }
            }
            _ => bail!("not an event: {frame}"),
        }
        Ok(())
    }
}

/// Returns the room and the number of a message. Parses the whole event.
fn room_of(shared: &Shared, event: &[u8]) -> Result<(u32, i32)> {
    let event: Value = serde_json::from_slice(event)?;
    let message = &event["payload"]["data"]["inbox"]["message"];
    let conversation = message["conversation"]["id"].as_str().with_context(|| event.to_string())?;
    let room = *shared.room_indexes.get(conversation).context("a message of an unknown conversation")?;
    let number = message["number"].as_i64().with_context(|| event.to_string())?;
    Ok((room, i32::try_from(number)?))
}
