//! Clients that send and receive messages while a test makes parts of the system fail.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use parlance::log::{Cursor, Seq};
use parlance::store::schema::messages;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::{Api, ClientScale, PASSWORD, Socket, User, unique, within};

/// Time that a client waits before a retry.
const CLIENT_RETRY: Duration = Duration::from_millis(20);
/// Maximum time that a test waits until clients have recovered from a fault. Longer than all faults and recoveries.
const RECOVERY: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

const INBOX: &str = "subscription ($after: String) { inbox(after: $after) {
    __typename
    ... on DurableEvent { cursor }
    ... on MessageAdded { message { id number body conversation { id } } }
} }";

pub struct Clients {
    shared: Arc<Shared>,
    listeners: JoinSet<()>,
    senders: JoinSet<()>,
}

struct Shared {
    scale: ClientScale,
    apis: Vec<Api>,
    conversations: Vec<Conversation>,
    stop: CancellationToken,
    /// Acknowledged messages, in the order of the responses.
    acknowledged: Mutex<Vec<Message>>,
    /// Number of acknowledged messages of each sender.
    sent: Vec<AtomicUsize>,
    retries: AtomicUsize,
    listeners: Vec<Mutex<Listener>>,
    /// Number of times that a test has made all listeners reconnect.
    reconnect: watch::Sender<usize>,
}

struct Conversation {
    id: String,
    /// Indexes of the users.
    participants: Vec<usize>,
}

/// The events that one listener has received over all its connections.
#[derive(Default)]
struct Listener {
    /// Index of the user.
    user: usize,
    cursor: Option<String>,
    seq: Seq,
    received: Vec<(Seq, Message)>,
    /// Number of `CaughtUp` events.
    connections: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    conversation: String,
    number: i64,
    id: String,
    body: String,
}

impl Message {
    fn new(conversation: &str, message: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (id, body) = (text(&message["id"]), text(&message["body"]));
        Self { conversation: conversation.to_owned(), number: message["number"].as_i64().unwrap(), id, body }
    }
}

impl Clients {
    /// Connects all clients. Returns when messages of each sender are acknowledged.
    pub async fn start(apis: Vec<Api>, scale: ClientScale) -> Self {
        let mut users = Vec::new();
        for n in 0..scale.users {
            users.push(User::register(apis[n % apis.len()].clone(), &format!("user_{}", unique()), PASSWORD).await);
        }
        let listener = |n: usize| Mutex::new(Listener { user: n % users.len(), ..Listener::default() });
        let shared = Arc::new(Shared {
            conversations: conversations(&users).await,
            stop: CancellationToken::new(),
            acknowledged: Mutex::default(),
            sent: users.iter().map(|_| AtomicUsize::default()).collect(),
            retries: AtomicUsize::default(),
            listeners: (0..scale.listeners).map(listener).collect(),
            reconnect: watch::Sender::new(0),
            scale,
            apis,
        });
        let mut clients = Self { shared, listeners: JoinSet::new(), senders: JoinSet::new() };
        for n in 0..scale.listeners {
            clients.listeners.spawn(listen(Arc::clone(&clients.shared), n, users[n % users.len()].clone()));
        }
        clients.each_listener("is subscribed", |_, listener| listener.connections > 0).await;
        for (n, user) in users.into_iter().enumerate() {
            clients.senders.spawn(send(Arc::clone(&clients.shared), n, user));
        }
        clients.more_acknowledged().await;
        clients
    }

    /// Waits until `ClientScale::messages` more messages of each sender are acknowledged.
    pub async fn more_acknowledged(&mut self) {
        let shared = Arc::clone(&self.shared);
        let count = |sender: &AtomicUsize| sender.load(Ordering::SeqCst);
        let goals: Vec<_> = shared.sent.iter().map(|sender| count(sender) + shared.scale.messages).collect();
        let holds = || shared.sent.iter().zip(&goals).all(|(sender, goal)| count(sender) >= *goal);
        self.until("each sender has more messages acknowledged", holds).await;
    }

    /// Waits until each listener has received all messages that are acknowledged at the time of the call.
    pub async fn all_delivered(&mut self) {
        let mut newest = HashMap::new();
        for message in self.shared.acknowledged.lock().unwrap().iter() {
            let number = newest.entry(message.conversation.clone()).or_insert(0);
            *number = message.number.max(*number);
        }
        let has_newest = |listener: &Listener, conversation: &str| {
            let last = listener.received.iter().rev().find(|(_, message)| message.conversation == conversation);
            let received = last.map_or(0, |(_, message)| message.number);
            received >= newest.get(conversation).copied().unwrap_or(0)
        };
        let shared = Arc::clone(&self.shared);
        self.each_listener("has all messages", |_, listener| {
            shared.conversations_of(listener.user).all(|conversation| has_newest(listener, &conversation.id))
        })
        .await;
    }

    /// Makes all listeners reconnect and resume at the same time. Waits until all listeners have caught up.
    pub async fn reconnect_all(&mut self) {
        let connections = |listener: &Mutex<Listener>| listener.lock().unwrap().connections;
        let before: Vec<_> = self.shared.listeners.iter().map(connections).collect();
        self.shared.reconnect.send_modify(|times| *times += 1);
        self.each_listener("is connected again", |n, listener| listener.connections > before[n]).await;
    }

    /// Returns the number of requests that were retried because the client got no response or UNAVAILABLE.
    pub fn retries(&self) -> usize {
        self.shared.retries.load(Ordering::SeqCst)
    }

    /// Stops the senders, waits until all messages are delivered, and calls `Shared::check`.
    pub async fn finish(mut self, database_url: &str) {
        self.shared.stop.cancel();
        let senders = std::mem::take(&mut self.senders);
        within(RECOVERY, "the last messages are acknowledged", senders.join_all()).await;
        self.all_delivered().await;
        self.listeners.shutdown().await;
        self.shared.check(database_url).await;
    }

    async fn each_listener(&mut self, what: &str, holds: impl Fn(usize, &Listener) -> bool) {
        let shared = Arc::clone(&self.shared);
        let all = || shared.listeners.iter().enumerate().all(|(n, listener)| holds(n, &listener.lock().unwrap()));
        self.until(&format!("each listener {what}"), all).await;
    }

    /// Waits until `holds` returns true. Panics if a client has panicked.
    async fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                for tasks in [&mut self.listeners, &mut self.senders] {
                    if let Some(ended) = tasks.try_join_next() {
                        ended.unwrap();
                    }
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        within(RECOVERY, what, waiting).await;
    }
}

/// Opens a group of all users, and a direct conversation for each pair.
async fn conversations(users: &[User]) -> Vec<Conversation> {
    let (first, others) = users.split_first().unwrap();
    let group = first.create_group("All", &others.iter().collect::<Vec<_>>()).await;
    let mut conversations = vec![Conversation { id: group, participants: (0..users.len()).collect() }];
    for (n, pair) in users.chunks_exact(2).enumerate() {
        let id = pair[0].open_direct(&pair[1]).await;
        conversations.push(Conversation { id, participants: vec![2 * n, 2 * n + 1] });
    }
    conversations
}

impl Shared {
    fn conversations_of(&self, user: usize) -> impl Iterator<Item = &Conversation> {
        self.conversations.iter().filter(move |conversation| conversation.participants.contains(&user))
    }

    /// Asserts that each acknowledged message is stored once, and no other message is stored. Each listener has received
    /// each message of its conversations once, in the order of the numbers, and no message of other conversations. All
    /// listeners have received a message with the same cursor.
    async fn check(&self, database_url: &str) {
        use diesel::prelude::*;
        use diesel_async::{AsyncConnection as _, AsyncPgConnection, RunQueryDsl};

        let mut acknowledged = self.acknowledged.lock().unwrap().clone();
        acknowledged.sort_by(|a, b| (&a.conversation, a.number).cmp(&(&b.conversation, b.number)));
        let mut connection = AsyncPgConnection::establish(database_url).await.unwrap();
        let stored: i64 = messages::table.count().get_result(&mut connection).await.unwrap();
        assert_eq!(usize::try_from(stored).unwrap(), acknowledged.len(), "stored and acknowledged messages");
        let in_conversation =
            |id: &str| acknowledged.iter().filter(|message| message.conversation == id).cloned().collect::<Vec<_>>();
        for conversation in &self.conversations {
            let numbers: Vec<_> = in_conversation(&conversation.id).iter().map(|message| message.number).collect();
            assert_eq!(numbers, (1..).take(numbers.len()).collect::<Vec<_>>(), "numbers without holes and duplicates");
        }
        let mut seqs = HashMap::new();
        for (n, listener) in self.listeners.iter().enumerate() {
            let (user, mut received) = {
                let listener = listener.lock().unwrap();
                (listener.user, listener.received.clone())
            };
            for (seq, message) in &received {
                let first = *seqs.entry(message.id.clone()).or_insert(*seq);
                assert_eq!(first, *seq, "listener {n} has received {message:?} with another cursor");
            }
            // Stable, so the messages of one conversation stay in the order in which they were received.
            received.sort_by(|(_, a), (_, b)| a.conversation.cmp(&b.conversation));
            let received: Vec<_> = received.into_iter().map(|(_, message)| message).collect();
            let mut own: Vec<_> = self.conversations_of(user).map(|conversation| conversation.id.as_str()).collect();
            own.sort_unstable();
            let expected: Vec<_> = own.into_iter().flat_map(in_conversation).collect();
            assert!(received == expected, "listener {n} has received {received:#?}\ninstead of {expected:#?}");
        }
    }
}

/// Sends messages to the user's conversations in turn. Uses another node after a request fails.
async fn send(shared: Arc<Shared>, sender: usize, user: User) {
    let devices: Vec<_> = shared.apis.iter().map(|api| user.on(api.clone())).collect();
    let conversations: Vec<_> = shared.conversations_of(sender).map(|conversation| &conversation.id).collect();
    let mut node = sender;
    for n in 0.. {
        let (conversation, body) = (conversations[n % conversations.len()], format!("{sender}-{n}"));
        let message = acknowledged(&shared, &devices, &mut node, conversation, &body).await;
        assert_eq!(message["body"], body.as_str());
        shared.acknowledged.lock().unwrap().push(Message::new(conversation, &message));
        shared.sent[sender].fetch_add(1, Ordering::SeqCst);
        if shared.stop.run_until_cancelled(sleep(shared.scale.pause)).await.is_none() {
            return;
        }
    }
}

/// Sends one message, and repeats the request with the same `clientId` until it is acknowledged.
async fn acknowledged(shared: &Shared, devices: &[User], node: &mut usize, conversation: &str, body: &str) -> Value {
    within(RECOVERY, "a message is acknowledged", async {
        loop {
            let device = &devices[*node % devices.len()];
            match timeout(shared.scale.patience, device.attempt_send(conversation, body, body)).await {
                Ok(Ok(answer)) if answer.body.get("errors").is_none() => {
                    return answer.data()["sendMessage"]["message"].clone();
                }
                Ok(Ok(answer)) => assert_eq!(answer.code(), "UNAVAILABLE", "{:#}", answer.body),
                Ok(Err(_)) | Err(_) => {}
            }
            *node += 1;
            shared.retries.fetch_add(1, Ordering::SeqCst);
            sleep(CLIENT_RETRY).await;
        }
    })
    .await
}

/// Receives events until the task is aborted. Connects to another node when a connection ends. Every second listener
/// also connects to another node when no event arrives for `ClientScale::patience`.
async fn listen(shared: Arc<Shared>, number: usize, user: User) {
    let listener = &shared.listeners[number];
    let mut reconnect = shared.reconnect.subscribe();
    for attempt in number.. {
        let api = &shared.apis[attempt % shared.apis.len()];
        let cursor = listener.lock().unwrap().cursor.clone();
        let opened = timeout(shared.scale.patience, subscribe(api, &user, cursor)).await;
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

async fn subscribe(api: &Api, user: &User, after: Option<String>) -> Option<Socket> {
    let mut socket = Socket::try_open(&api.url, &user.access_token).await?;
    let payload = json!({"query": INBOX, "variables": {"after": after}});
    socket.try_send(json!({"id": "inbox", "type": "subscribe", "payload": payload})).await?;
    Some(socket)
}

/// Receives one event. Returns None if the connection or the subscription has ended.
async fn receive(listener: &Mutex<Listener>, socket: &mut Socket) -> Option<()> {
    let message = socket.try_receive().await?;
    match message["type"].as_str() {
        Some("next") => {
            assert!(message["payload"].get("errors").is_none(), "{message:#}");
            listener.lock().unwrap().record(&message["payload"]["data"]["inbox"]);
            Some(())
        }
        Some("error") => {
            assert_eq!(message["payload"][0]["extensions"]["code"], "UNAVAILABLE", "{message:#}");
            None
        }
        _ => panic!("{message:#}"),
    }
}

impl Listener {
    /// Records an event, and checks that its cursor is later than the cursor of the event before.
    fn record(&mut self, event: &Value) {
        let cursor = event["cursor"].as_str().unwrap();
        let seq = cursor.parse::<Cursor>().unwrap_or_else(|_| panic!("{event:#}")).seq;
        match event["__typename"].as_str().unwrap() {
            "ResyncRequired" => panic!("no event was lost: {event:#}"),
            "CaughtUp" => {
                self.connections += 1;
                assert!(seq >= self.seq, "caught up to before {}: {event:#}", self.seq);
            }
            kind => {
                assert!(seq > self.seq, "twice or out of order, after {}: {event:#}", self.seq);
                if kind == "MessageAdded" {
                    let conversation = event["message"]["conversation"]["id"].as_str().unwrap();
                    self.received.push((seq, Message::new(conversation, &event["message"])));
                }
            }
        }
        self.seq = seq;
        self.cursor = Some(cursor.to_owned());
    }
}
