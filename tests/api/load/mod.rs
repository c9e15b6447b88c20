//! A load to go on while something fails, and the account of it: every message that was acknowledged came to every
//! listener once, in one order, whatever happened meanwhile.

mod check;
mod listener;
mod sender;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Api, LoadScale, PASSWORD, User, unique};
use listener::Listener;

/// How long a client waits before it tries again.
const CLIENT_RETRY: Duration = Duration::from_millis(20);
/// Longer than any fault lasts together with what mends it; whoever waits for it has failed.
const PATIENCE: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

pub struct Load {
    shared: Arc<Shared>,
    listeners: JoinSet<()>,
    senders: JoinSet<()>,
}

struct Shared {
    scale: LoadScale,
    apis: Vec<Api>,
    conversations: Vec<Conversation>,
    /// No further messages.
    stop: CancellationToken,
    /// In the order in which the answers came.
    acknowledged: Mutex<Vec<Message>>,
    /// How many messages each sender has had acknowledged.
    sent: Vec<AtomicUsize>,
    /// How often a message had to be sent again.
    repeated: AtomicUsize,
    listeners: Vec<Listener>,
    /// Counts the times at which everybody is to reconnect.
    reconnect: watch::Sender<usize>,
}

struct Conversation {
    id: String,
    /// Places in the list of users.
    participants: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    conversation: String,
    number: i64,
    id: String,
    body: String,
}

impl Load {
    /// Everybody is connected, and sends.
    pub async fn start(apis: Vec<Api>, scale: LoadScale) -> Self {
        let mut users = Vec::new();
        for n in 0..scale.users {
            users.push(User::register(apis[n % apis.len()].clone(), &format!("user_{}", unique()), PASSWORD).await);
        }
        let shared = Arc::new(Shared {
            scale,
            conversations: conversations(&users).await,
            stop: CancellationToken::new(),
            acknowledged: Mutex::default(),
            sent: users.iter().map(|_| AtomicUsize::default()).collect(),
            repeated: AtomicUsize::default(),
            listeners: (0..scale.listeners).map(|n| Listener::new(n % users.len())).collect(),
            reconnect: watch::Sender::new(0),
            apis,
        });
        let (listeners, senders) = (JoinSet::new(), JoinSet::new());
        let mut load = Self { shared: Arc::clone(&shared), listeners, senders };
        for (n, listener) in shared.listeners.iter().enumerate() {
            load.listeners.spawn(listener::listen(Arc::clone(&shared), n, users[listener.user].clone()));
        }
        load.until("everybody listens", || shared.listeners.iter().all(Listener::is_caught_up)).await;
        for (n, user) in users.into_iter().enumerate() {
            load.senders.spawn(sender::send(Arc::clone(&shared), n, user));
        }
        load.sends_on().await;
        load
    }

    /// Every sender gets more messages acknowledged.
    pub async fn sends_on(&mut self) {
        let shared = Arc::clone(&self.shared);
        let count = |sent: &AtomicUsize| sent.load(Ordering::SeqCst);
        let goals: Vec<_> = shared.sent.iter().map(|sent| count(sent) + shared.scale.messages).collect();
        self.until("everybody sends on", || shared.sent.iter().zip(&goals).all(|(sent, goal)| count(sent) >= *goal))
            .await;
    }

    /// Every listener has all that is acknowledged by now.
    pub async fn is_heard(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut newest = HashMap::new();
        for message in shared.acknowledged.lock().unwrap().iter() {
            let number = newest.entry(message.conversation.clone()).or_insert(0);
            *number = message.number.max(*number);
        }
        let has_all = |listener: &Listener| {
            let own = |id: &str| shared.conversations_of(listener.user).any(|conversation| conversation.id == id);
            newest.iter().filter(|(id, _)| own(id)).all(|(id, number)| listener.has_heard(id, *number))
        };
        self.until("everybody has heard it", || shared.listeners.iter().all(has_all)).await;
    }

    /// Every listener leaves its socket and comes back with its cursor, all at the same instant.
    pub async fn reconnects(&mut self) {
        let shared = Arc::clone(&self.shared);
        let connections = |listener: &Listener| listener.connections();
        let before: Vec<_> = shared.listeners.iter().map(connections).collect();
        shared.reconnect.send_modify(|times| *times += 1);
        let is_back = |(listener, before): (&Listener, &usize)| connections(listener) > *before;
        self.until("everybody is back", || shared.listeners.iter().zip(&before).all(is_back)).await;
    }

    /// How often a message had to be sent again, because nobody answered or the answer was UNAVAILABLE.
    pub fn repeated(&self) -> usize {
        self.shared.repeated.load(Ordering::SeqCst)
    }

    /// Ends the sending, waits until everything has arrived, and accounts for it.
    pub async fn finish(mut self, database_url: &str) {
        self.shared.stop.cancel();
        let senders = std::mem::take(&mut self.senders);
        tokio::time::timeout(PATIENCE, senders.join_all()).await.expect("the senders' last answers");
        self.is_heard().await;
        self.listeners.shutdown().await;
        check::check(&self.shared, database_url).await;
    }

    /// Waits for a condition; a listener or sender that has found something wrong ends the test.
    async fn until(&mut self, what: &str, holds: impl Fn() -> bool) {
        let waiting = async {
            while !holds() {
                for tasks in [&mut self.listeners, &mut self.senders] {
                    if let Some(ended) = tasks.try_join_next() {
                        ended.unwrap();
                    }
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
    }
}

impl Shared {
    fn conversations_of(&self, user: usize) -> impl Iterator<Item = &Conversation> {
        self.conversations.iter().filter(move |conversation| conversation.participants.contains(&user))
    }
}

/// A group of all, and a direct conversation for each pair.
async fn conversations(users: &[User]) -> Vec<Conversation> {
    let (first, others) = users.split_first().unwrap();
    let group = first.create_group("Load", &others.iter().collect::<Vec<_>>()).await;
    let mut conversations = vec![Conversation { id: group, participants: (0..users.len()).collect() }];
    for (n, pair) in users.chunks_exact(2).enumerate() {
        let id = pair[0].open_direct(&pair[1]).await;
        conversations.push(Conversation { id, participants: vec![2 * n, 2 * n + 1] });
    }
    conversations
}
