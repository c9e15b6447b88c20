//! Runs the steps of a case on the real log and on the model.

use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use futures_util::Stream as _;
use parlance::clock::Clock;
use parlance::config::{LogSettings, Postgres};
use parlance::ids::{ConversationId, MessageId, ParticipantId, SessionId, UserId};
use parlance::log::{
    Audience, Change, Cursor, Incoming, Interest, Item, Log, Observers, Publication, Seq, Transaction,
};
use parlance::metrics::Metrics;
use parlance::random::Random;
use parlance::store::Database;
use parlance::store::conversations::participants::{self, Participant, ParticipantRole};
use parlance::store::people::privacy::{self, PrivacyChanges};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::broker::HeldBroker;
use super::model::{Heard, Listening, Model, Start};
use super::steps::{self, CONVERSATIONS, Case, NODES, Settings, Step, USERS, Wanted, Write};
use crate::support::{PATIENCE, TestDatabase};

const PAUSE: Duration = Duration::from_millis(2);
/// Poll interval that is longer than any case.
const NEVER: Duration = Duration::from_hours(1);
const OFTEN: Duration = Duration::from_millis(20);
/// Number of items that a client may read at the end of a case. Larger than the number of items of any stream.
const ALL: usize = 100_000;

pub struct World {
    database: Database,
    settings: LogSettings,
    clock: Clock,
    random: Random,
    broker: Arc<HeldBroker>,
    nodes: Vec<Node>,
    users: Vec<UserId>,
    /// First the conversations that users join and leave, then one conversation per user that this user never leaves.
    conversations: Vec<ConversationId>,
    model: Model,
    /// Upper bound for the seq of committed events.
    head: Arc<AtomicI64>,
    streams: Vec<Stream>,
}

struct Node {
    log: Log,
    subscriber: usize,
    _stop: DropGuard,
}

/// A client of one stream, which reads in a separate task.
struct Stream {
    node: usize,
    user: usize,
    interest: Interest,
    start: Start,
    heard: Arc<Mutex<Vec<Heard>>>,
    /// Permits for the items that the client may still read.
    items: Arc<Semaphore>,
    task: JoinHandle<()>,
}

pub fn postgres_settings() -> Postgres {
    Postgres { database_pool_size: 8, database_statement_timeout: PATIENCE, database_idle_timeout: PATIENCE }
}

impl World {
    pub async fn new(test_database: &TestDatabase, database: &Database, case: &Case) -> Self {
        let (clock, random) = (Clock::system(), Random::system());
        let users: Vec<_> = (0..USERS).map(|_| UserId::new(clock.now(), &random)).collect();
        let conversations: Vec<_> =
            (0..CONVERSATIONS + USERS).map(|_| ConversationId::new(clock.now(), &random)).collect();
        create(test_database, &users, &conversations).await;
        let broker = Arc::new(HeldBroker::default());
        let settings = log_settings(case.settings);
        let mut world = Self {
            database: database.clone(),
            settings,
            clock,
            random,
            broker,
            nodes: Vec::new(),
            users,
            conversations,
            model: Model::new(0),
            head: Arc::default(),
            streams: Vec::new(),
        };
        for _ in 0..NODES {
            let node = world.node().await;
            world.nodes.push(node);
        }
        world.model = Model::new(world.nodes[0].log.position().seq);
        let at_home = (0..USERS).map(|user| Write::Join(user, CONVERSATIONS + user));
        let members = (0..USERS).flat_map(|user| (0..CONVERSATIONS).map(move |conversation| (user, conversation)));
        let members = members.filter(|&(user, conversation)| case.members[user][conversation]);
        let writes: Vec<_> =
            at_home.chain(members.map(|(user, conversation)| Write::Join(user, conversation))).collect();
        world.append(0, &writes).await;
        world
    }

    async fn node(&self) -> Node {
        let subscriber = self.broker.next_subscriber();
        let stop = CancellationToken::new();
        let broker = Arc::clone(&self.broker);
        let log = Log::open(
            self.database.clone(),
            broker,
            Observers::default(),
            self.clock,
            self.settings.clone(),
            Metrics::default(),
            stop.clone(),
        );
        Node { log: log.await.unwrap(), subscriber, _stop: stop.drop_guard() }
    }

    pub async fn take(&mut self, step: Step) {
        match step {
            Step::Append { node, writes } => self.append(node, &writes).await,
            Step::Deliver { node, place, count, backwards, kept } => {
                let subscriber = self.nodes[node].subscriber;
                let mut events = self.broker.take(subscriber, place, count, kept);
                if backwards {
                    events.reverse();
                }
                let epoch = self.nodes[node].log.position().epoch;
                self.broker.send(subscriber, Incoming::Published(Publication { epoch, events, messages: Vec::new() }));
            }
            Step::Drop { node, place, count } => {
                self.broker.take(self.nodes[node].subscriber, place, count, false);
            }
            Step::Gap { node } => self.broker.send(self.nodes[node].subscriber, Incoming::Gap),
            Step::Subscribe { node, user, wanted, from, items } => {
                let stream = self.subscribe(node, user, wanted, from, items);
                self.streams.push(stream);
            }
            Step::Read { stream, items } => {
                if let Some(stream) = pick(&self.streams, stream) {
                    stream.items.add_permits(items);
                }
            }
            Step::Disconnect { stream } => {
                if let Some(stream) = pick(&self.streams, stream) {
                    stream.task.abort();
                }
            }
            Step::Restart { node } => {
                self.streams.iter().filter(|stream| stream.node == node).for_each(|stream| stream.task.abort());
                self.nodes[node] = self.node().await;
            }
            Step::Pause => tokio::time::sleep(PAUSE).await,
        }
    }

    /// Appends the events of the writes in one transaction. Skips writes without effect, for example if a user who is
    /// not a participant leaves.
    async fn append(&mut self, node: usize, writes: &[Write]) {
        let log = self.nodes[node].log.clone();
        let written = log.transaction(async |tx| {
            let mut changes = Vec::new();
            for &write in writes {
                let change = self.write(tx, &changes, write).await;
                changes.extend(change);
            }
            for &change in &changes {
                tx.record(change);
            }
            // The model changes before the commit, because clients can read the events before the commit returns.
            self.model.append(&changes);
            self.head.store(self.model.head(), Ordering::SeqCst);
            Ok::<(), parlance::error::Error>(())
        });
        written.await.unwrap();
    }

    async fn write(&self, tx: &mut Transaction<'_>, before: &[Change], write: Write) -> Option<Change> {
        let takes_part = |user, conversation| {
            let mut model = self.model.clone();
            model.append(before);
            model.takes_part(user, conversation, model.head())
        };
        Some(match write {
            Write::Message(conversation) => {
                let message = MessageId::new(self.clock.now(), &self.random);
                Change::MessageAdded { conversation: self.conversations[conversation], message }
            }
            Write::Update(conversation) => {
                Change::ConversationUpdated { conversation: self.conversations[conversation] }
            }
            Write::Receipt(conversation, user) => {
                Change::ReceiptAdvanced { conversation: self.conversations[conversation], user: self.users[user] }
            }
            Write::Read(conversation, user) => {
                Change::ReadAdvanced { conversation: self.conversations[conversation], user: self.users[user] }
            }
            Write::Receipts(user, on) => {
                let user = self.users[user];
                let changes = PrivacyChanges { read_receipts: Some(on), ..PrivacyChanges::default() };
                privacy::update(tx.conn(), user, &changes).await.unwrap();
                if on { Change::ReadReceiptsOn { user } } else { Change::ReadReceiptsOff { user } }
            }
            Write::Revoke(user) => {
                let session = SessionId::new(self.clock.now(), &self.random);
                Change::SessionRevoked { user: self.users[user], session }
            }
            Write::Unknown(conversation) => Change::Unknown(Audience::Conversation(self.conversations[conversation])),
            Write::Join(user, conversation) => {
                let (user, conversation) = (self.users[user], self.conversations[conversation]);
                if takes_part(user, conversation) {
                    return None;
                }
                participants::insert(tx.conn(), &[self.participant(user, conversation)]).await.unwrap();
                Change::ConversationAdded { user, conversation }
            }
            Write::Leave(user, conversation) => {
                let (user, conversation) = (self.users[user], self.conversations[conversation]);
                if !takes_part(user, conversation) {
                    return None;
                }
                participants::delete(tx.conn(), conversation, user).await.unwrap();
                Change::ConversationRemoved { user, conversation }
            }
        })
    }

    fn participant(&self, user_id: UserId, conversation_id: ConversationId) -> Participant {
        let joined_at = self.clock.now();
        let id = ParticipantId::new(joined_at, &self.random);
        Participant::new(id, conversation_id, user_id, ParticipantRole::Member, joined_at)
    }

    fn subscribe(&self, node: usize, user: usize, wanted: Wanted, from: steps::From, items: usize) -> Stream {
        let log = self.nodes[node].log.clone();
        let interest = match wanted {
            Wanted::Inbox => Interest::Inbox,
            Wanted::AllMessages => Interest::Messages(None),
            Wanted::MessagesOf(conversation) => Interest::Messages(Some(self.conversations[conversation])),
        };
        let (start, after) = self.start(&log, from);
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let permits = Arc::new(Semaphore::new(items));
        let task = tokio::spawn(read(
            log,
            self.users[user],
            interest,
            after,
            Reading { head: Arc::clone(&self.head), heard: Arc::clone(&heard), items: Arc::clone(&permits) },
        ));
        Stream { node, user, interest, start, heard, items: permits, task }
    }

    fn start(&self, log: &Log, from: steps::From) -> (Start, Option<Cursor>) {
        let after = |seq| (Start::After(seq), Some(log.cursor(seq)));
        match from {
            steps::From::Now => (Start::Now, None),
            steps::From::Beginning => after(self.model.base()),
            steps::From::Stream(stream) => {
                let last_seq = pick(&self.streams, stream).and_then(Stream::last_seq);
                last_seq.map_or((Start::Now, None), after)
            }
            steps::From::Future => (Start::Invalid, Some(log.cursor(Seq::MAX))),
            steps::From::Elsewhere => {
                let epoch = log.position().epoch.wrapping_add(1);
                (Start::Invalid, Some(Cursor { epoch, seq: self.model.head() }))
            }
        }
    }

    /// Lets all clients read to the end of the log, and compares the received items with the model.
    pub async fn finish(mut self) -> Result<(), String> {
        let mut last = [0; CONVERSATIONS];
        for (conversation, seq) in last.iter_mut().enumerate() {
            self.append(0, &[Write::Message(conversation)]).await;
            *seq = self.model.head();
        }
        let homes: Vec<_> = (0..USERS).map(|user| Write::Message(CONVERSATIONS + user)).collect();
        self.append(0, &homes).await;
        let first_home = self.model.head() - Seq::try_from(USERS).unwrap() + 1;
        for node in &self.nodes {
            self.broker.send(node.subscriber, Incoming::Gap);
        }
        for stream in &self.streams {
            stream.items.add_permits(ALL);
        }
        for stream in self.streams.iter_mut().filter(|stream| !stream.task.is_finished()) {
            let end = match stream.interest {
                Interest::Messages(Some(wanted)) => {
                    let conversation = self.conversations.iter().position(|&id| id == wanted).unwrap();
                    let stays = self.model.takes_part(self.users[stream.user], wanted, self.model.head());
                    stays.then_some(last[conversation])
                }
                _ => Some(first_home + Seq::try_from(stream.user).unwrap()),
            };
            stream.ended(end).await.map_err(|stalled| format!("{stalled}\nin the log\n{}", self.model))?;
        }
        for stream in &self.streams {
            let heard = stream.heard.lock().unwrap().clone();
            let user = self.users[stream.user];
            self.model.check(&Listening { user, interest: stream.interest, start: stream.start, heard })?;
        }
        Ok(())
    }
}

impl Stream {
    /// Returns the seq after which the client would resume.
    fn last_seq(&self) -> Option<Seq> {
        self.heard.lock().unwrap().last().and_then(|heard| match heard.item {
            Item::Event(event) => Some(event.seq),
            Item::CaughtUp(seq) | Item::ResyncRequired(seq) => Some(seq),
            Item::Closed => None,
        })
    }

    /// Waits until the client has received the event at `end`. If `end` is None, waits until the stream closes.
    async fn ended(&mut self, end: Option<Seq>) -> Result<(), String> {
        let ended = async {
            while !self.task.is_finished() && (end.is_none() || self.last_seq() < end) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, ended).await.is_ok();
        let heard = self.heard.lock().unwrap();
        if in_time { Ok(()) } else { Err(format!("a stream did not end in time: {:?} {:?}", self.start, *heard)) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// State that the task of a client shares with the steps.
struct Reading {
    head: Arc<AtomicI64>,
    heard: Arc<Mutex<Vec<Heard>>>,
    items: Arc<Semaphore>,
}

async fn read(log: Log, user: UserId, interest: Interest, after: Option<Cursor>, reading: Reading) {
    let mut stream = std::pin::pin!(log.stream(user, interest, after));
    loop {
        reading.items.acquire().await.unwrap().forget();
        let next = poll_fn(|context| {
            let tail = log.position().seq;
            let taken_down = |item| Heard { item, tail, head: reading.head.load(Ordering::SeqCst) };
            stream.as_mut().poll_next(context).map(|next| next.map(taken_down))
        });
        match next.await {
            Some(heard) => reading.heard.lock().unwrap().push(heard),
            None => return,
        }
    }
}

fn log_settings(settings: Settings) -> LogSettings {
    LogSettings {
        tail_hole_wait: Duration::from_millis(settings.hole_wait_ms),
        tail_poll_interval: if settings.looks { OFTEN } else { NEVER },
        tail_memory: settings.tail_memory,
        stream_queue: settings.stream_queue,
        catch_up_page: settings.catch_up_page,
        consumer_interval: NEVER,
    }
}

fn pick(streams: &[Stream], number: usize) -> Option<&Stream> {
    streams.get(number.checked_rem(streams.len())?)
}

/// Inserts rows for the users and conversations, which rows of `participants` reference.
async fn create(database: &TestDatabase, users: &[UserId], conversations: &[ConversationId]) {
    let users: Vec<_> = users.iter().map(|id| format!("('{0}', '{0}', '', '', now())", id.0)).collect();
    let conversations: Vec<_> =
        conversations.iter().map(|id| format!("('{}', 'GROUP', '', now(), now(), 0)", id.0)).collect();
    let statements = format!(
        "INSERT INTO users (id, username, display_name, password_hash, created_at) VALUES {};
         INSERT INTO conversations (id, kind, title, created_at, last_activity_at, participant_count) VALUES {};",
        users.join(", "),
        conversations.join(", "),
    );
    database.connection().await.batch_execute(&statements).await.unwrap();
}
