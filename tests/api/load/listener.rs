//! One who listens, and comes back with the cursor of the last event, to whichever node answers.

use std::sync::{Arc, Mutex, MutexGuard};

use parlance::log::{Cursor, Seq};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::{CLIENT_RETRY, Message, Shared};
use crate::support::{Api, Socket, User};

const INBOX: &str = "subscription ($after: String) { inbox(after: $after) {
    __typename
    ... on DurableEvent { cursor }
    ... on MessageAdded { message { id number body conversation { id } } }
} }";

pub(super) struct Listener {
    /// Its user's place in the list of users.
    pub(super) user: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cursor: Option<String>,
    seq: Seq,
    heard: Vec<(Seq, Message)>,
    connections: usize,
}

impl Listener {
    pub(super) fn new(user: usize) -> Self {
        Self { user, state: Mutex::default() }
    }

    pub(super) fn is_caught_up(&self) -> bool {
        self.state().cursor.is_some()
    }

    /// How often it has been caught up.
    pub(super) fn connections(&self) -> usize {
        self.state().connections
    }

    pub(super) fn has_heard(&self, conversation: &str, number: i64) -> bool {
        let state = self.state();
        let newest = state.heard.iter().rev().find(|(_, message)| message.conversation == conversation);
        newest.is_some_and(|(_, message)| message.number >= number)
    }

    /// In the order in which they came.
    pub(super) fn heard(&self) -> Vec<(Seq, Message)> {
        self.state().heard.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Takes down what came. Each event comes after the one before, and after its cursor.
    fn take(&self, event: &Value) {
        let mut state = self.state();
        let cursor = event["cursor"].as_str().unwrap();
        let seq = cursor.parse::<Cursor>().unwrap_or_else(|_| panic!("{event:#}")).seq;
        match event["__typename"].as_str().unwrap() {
            "ResyncRequired" => panic!("a resync, where nothing was lost: {event:#}"),
            "CaughtUp" => {
                state.connections += 1;
                assert!(seq >= state.seq, "caught up to before {}: {event:#}", state.seq);
            }
            kind => {
                assert!(seq > state.seq, "twice or out of order, after {}: {event:#}", state.seq);
                if kind == "MessageAdded" {
                    state.heard.push((seq, message(&event["message"])));
                }
            }
        }
        state.seq = seq;
        state.cursor = Some(cursor.to_owned());
    }
}

fn message(message: &Value) -> Message {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Message {
        conversation: text(&message["conversation"]["id"]),
        number: message["number"].as_i64().unwrap(),
        id: text(&message["id"]),
        body: text(&message["body"]),
    }
}

/// Every other listener is patient: it stays with a silent node for as long as its connection lasts.
pub(super) async fn listen(shared: Arc<Shared>, number: usize, user: User) {
    let listener = &shared.listeners[number];
    let mut reconnect = shared.reconnect.subscribe();
    for attempt in number.. {
        let api = &shared.apis[attempt % shared.apis.len()];
        let cursor = listener.state().cursor.clone();
        let opened = timeout(shared.scale.patience, open(api, &user, cursor)).await;
        if let Ok(Some(mut socket)) = opened {
            let listening = async {
                if number.is_multiple_of(2) {
                    while receive(listener, &mut socket).await.is_some() {}
                } else {
                    while let Ok(Some(())) = timeout(shared.scale.patience, receive(listener, &mut socket)).await {}
                }
            };
            tokio::select! {
                () = listening => {}
                changed = reconnect.changed() => {
                    changed.unwrap();
                    continue;
                }
            }
        }
        sleep(CLIENT_RETRY).await;
    }
}

async fn open(api: &Api, user: &User, after: Option<String>) -> Option<Socket> {
    let mut socket = Socket::try_open(&api.url, &user.access_token).await?;
    let payload = json!({"query": INBOX, "variables": {"after": after}});
    socket.try_send(json!({"id": "inbox", "type": "subscribe", "payload": payload})).await?;
    Some(socket)
}

/// The next event; None where the connection or the subscription is to be opened anew.
async fn receive(listener: &Listener, socket: &mut Socket) -> Option<()> {
    let message = socket.try_receive().await?;
    match message["type"].as_str() {
        Some("next") => {
            assert!(message["payload"].get("errors").is_none(), "{message:#}");
            listener.take(&message["payload"]["data"]["inbox"]);
            Some(())
        }
        Some("error") => {
            assert_eq!(message["payload"][0]["extensions"]["code"], "UNAVAILABLE", "{message:#}");
            None
        }
        _ => panic!("{message:#}"),
    }
}
