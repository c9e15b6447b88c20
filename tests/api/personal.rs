//! Personal renderings, one for each viewer: their cost is linear in the number of viewers, and they neither delay
//! other users nor block a node.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{ALLOWANCE, Api, Node, NodeProcess, PASSWORD, Socket, TestDatabase, User, unique};

/// Maximum time that another user's `sendMessage` may take during an attack.
const SEND: Duration = Duration::from_millis(500);

/// Number of times that a test measures sends. A loaded machine delays the sends of some runs, but not of all.
const RUNS: usize = 3;

/// A document whose fields depend on the viewer.
const VIEWER_FIELDS: &str = "subscription { inbox { __typename ... on MessageAdded { message {
    body sender { username viewerIsContact } conversation { title viewerMembership { id unreadCount } }
} } } }";

/// A document that loads a hundred messages for each event, with fields that depend on the viewer.
const COSTLY: &str = "subscription { inbox { ... on MessageAdded { message { id conversation {
    messages(last: 100) { nodes { id body status sender { username viewerIsContact presence { status } }
        conversation { title viewerMembership { unreadCount } } } }
} } } } }";

async fn register(api: &Api, name: &str) -> User {
    User::register(api.clone(), &format!("{name}_{}", unique()), PASSWORD).await
}

/// Registers users through a node in the test process, because its password hashes are cheap.
async fn crowd(database: &TestDatabase, count: usize) -> Vec<User> {
    let node = Node::build().start_on(database).await;
    let mut users = Vec::new();
    while users.len() < count {
        let some = (0..20.min(count - users.len())).map(|_| node.register("user"));
        users.extend(join_all(some).await);
    }
    node.kill();
    users
}

/// A user who sends messages to another user while the node does other work.
struct Bystanders {
    sender: User,
    conversation: String,
}

impl Bystanders {
    async fn new(api: &Api) -> Self {
        let (sender, other) = (register(api, "eve").await, register(api, "mallory").await);
        let conversation = sender.open_direct(&other).await;
        let bystanders = Self { sender, conversation };
        // The first second fills the caches of the node, so that later measurements show only the delay.
        bystanders.send_until(async { tokio::time::sleep(Duration::from_secs(1)).await }).await;
        bystanders
    }

    /// Asserts that in one of several runs of `work` no send takes longer than `SEND`.
    async fn are_not_delayed_by(&self, mut work: impl AsyncFnMut()) {
        let mut longest = Vec::new();
        while longest.len() < RUNS {
            let took = self.send_until(work()).await;
            if took < SEND {
                return;
            }
            longest.push(took);
        }
        panic!("the longest sends of another user took {longest:?}");
    }

    /// Sends messages until `work` is complete. Returns the longest time that a send took.
    async fn send_until(&self, work: impl Future<Output = ()>) -> Duration {
        let (mut longest, mut work) = (Duration::ZERO, std::pin::pin!(work));
        let mut done = false;
        while !done {
            let begin = Instant::now();
            let mut send = std::pin::pin!(self.sender.send(&self.conversation, "still here"));
            tokio::select! {
                biased;
                _ = &mut send => {}
                () = &mut work, if !done => {
                    done = true;
                    send.await;
                }
            }
            longest = longest.max(begin.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        longest
    }
}

async fn subscribed(user: &User) -> Socket {
    let mut socket = user.socket().await;
    socket.subscribe("it", VIEWER_FIELDS, json!({})).await;
    assert_eq!(socket.receive().await["payload"]["data"]["inbox"]["__typename"], "CaughtUp");
    socket
}

#[tokio::test]
async fn a_message_reaches_a_thousand_viewers_without_delaying_other_users() {
    const VIEWERS: usize = 1000;
    const MESSAGES: i64 = 3;
    // The test client answers pings only while it reads. It reads each socket only after all of them are open.
    let settings = [("MAX_GROUP_SIZE", "2000"), ("SOCKET_PING_INTERVAL", "3600")];
    let database = TestDatabase::new().await;
    let crowd = crowd(&database, VIEWERS).await;
    let node = NodeProcess::start_with(&database, 0, &settings).await;
    let api = node.api();
    let ada = register(&api, "ada").await;
    let viewers: Vec<_> = crowd.iter().map(|user| user.on(api.clone())).collect();
    let group = ada.create_group("A crowd", &viewers.iter().collect::<Vec<_>>()).await;
    let mut sockets = Vec::new();
    for some in viewers.chunks(50) {
        sockets.extend(join_all(some.iter().map(subscribed)).await);
    }
    let bystanders = Bystanders::new(&api).await;
    let mut heard = 0;
    let hear = async || {
        let numbers = heard..heard + MESSAGES;
        heard = numbers.end;
        for number in numbers.clone() {
            ada.send(&group, &format!("message {number}")).await;
        }
        for (viewer, socket) in viewers.iter().zip(&mut sockets) {
            let mut unread = 0;
            for number in numbers.clone() {
                let event = socket.receive().await["payload"]["data"]["inbox"].clone();
                let message = &event["message"];
                assert_eq!(message["body"], format!("message {number}"), "{}: {event}", viewer.username);
                assert_eq!(message["sender"]["viewerIsContact"], false);
                let now = message["conversation"]["viewerMembership"]["unreadCount"].as_i64().unwrap();
                // The count is read during rendering, so the count may include later messages.
                assert!((unread.max(number + 1)..=numbers.end).contains(&now), "{event}");
                unread = now;
            }
        }
    };
    bystanders.are_not_delayed_by(hear).await;
}

/// Opens a socket with this number of costly subscriptions. Returns the socket, and how many of the subscriptions were
/// accepted.
async fn attack(user: &User, subscriptions: usize, alike: bool) -> (Socket, usize) {
    let mut socket = user.socket().await;
    for number in 0..subscriptions {
        // An alias makes each document different, so that subscriptions share no rendering.
        let other = COSTLY.replacen("message { id", &format!("message {{ id a{number}: number"), 1);
        let query = if alike { COSTLY.to_owned() } else { other };
        socket.subscribe(&number.to_string(), &query, json!({})).await;
    }
    let mut granted = 0;
    for number in 0..subscriptions {
        let answer = socket.receive_of(&number.to_string()).await;
        if answer["type"] == "next" {
            granted += 1;
        } else {
            let error = &answer["payload"][0]["extensions"];
            assert_eq!((&error["code"], &error["limit"]), (&json!("RATE_LIMITED"), &json!("SUBSCRIPTION_BUDGET")));
        }
    }
    (socket, granted)
}

async fn messages_in_event(socket: &mut Socket, id: &str) -> usize {
    let event: Value = socket.receive_of(id).await;
    event["payload"]["data"]["inbox"]["message"]["conversation"]["messages"]["nodes"].as_array().unwrap().len()
}

/// Subscriptions that exceed the budget are refused, and the accepted subscriptions get events. Meanwhile other users
/// can send messages, and the node stops in time.
#[tokio::test]
async fn costly_subscriptions_neither_delay_other_users_nor_the_shutdown() {
    const DRAIN: Duration = Duration::from_secs(1 + 5);
    let settings = [("SOCKET_OPERATIONS_PER_SECOND", "1000"), ("DRAIN_DELAY", "1"), ("DRAIN_TIMEOUT", "5")];
    let database = TestDatabase::new().await;
    let mut node = NodeProcess::start_with(&database, 0, &settings).await;
    let api = node.api();
    let (ada, bob) = (register(&api, "ada").await, register(&api, "bob").await);
    let group = ada.create_group("An attack", &[&bob]).await;
    for number in 0..100 {
        ada.send(&group, &format!("message {number}")).await;
    }
    let bystanders = Bystanders::new(&api).await;

    let (mut socket, granted) = attack(&bob, 64, true).await;
    assert!((20..64).contains(&granted), "{granted} of 64 are within the budget");
    let hear = async || {
        ada.send(&group, "one event").await;
        for number in 0..granted {
            assert_eq!(messages_in_event(&mut socket, &number.to_string()).await, 100);
        }
    };
    bystanders.are_not_delayed_by(hear).await;

    // More sockets do not raise the budget of a user. Another user has a separate budget.
    let (socket, more) = attack(&bob, 100, false).await;
    assert_eq!(more, 0);
    let mut sockets = vec![socket];
    let mut sum = 0;
    for _ in 0..3 {
        let (socket, granted) = attack(&ada, 100, false).await;
        sockets.push(socket);
        sum += granted;
    }
    assert!((20..64).contains(&sum), "{sum}");
    let flood = async || {
        for number in 0..10 {
            ada.send(&group, &format!("event {number}")).await;
        }
    };
    bystanders.are_not_delayed_by(flood).await;

    // The node stops while some events are still being rendered.
    let begin = Instant::now();
    node.terminate();
    assert!(node.ended().await.success());
    assert!(begin.elapsed() < DRAIN + ALLOWANCE, "{:?}", begin.elapsed());
}
