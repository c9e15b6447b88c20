//! Typing, presence and rooms on two nodes that exchange events in memory or through Redis.

mod crowds;
mod refusals;
mod scenarios;

use std::sync::Arc;

use parlance::live::{Exchange, MemoryExchange};
use parlance::log::MemoryBroker;
use serde_json::{Value, json};

use crate::support::{Answer, Node, NodeBuilder, Socket, TestDatabase, User, eventually};

/// TYPING_TIMEOUT, PRESENCE_GRACE and PRESENCE_NODE_TTL of most tests, in seconds.
const SECONDS: [u64; 3] = [2, 1, 2];

/// Two nodes, and the values that are needed to start further nodes.
struct Nodes {
    one: Node,
    two: Node,
    way: Way,
    database: TestDatabase,
}

#[derive(Clone)]
enum Way {
    Memory(Arc<MemoryBroker>, Arc<dyn Exchange>),
    Redis,
}

impl Way {
    fn memory() -> Self {
        Self::Memory(Arc::default(), Arc::new(MemoryExchange::default()))
    }

    async fn build(&self, database: &TestDatabase, [typing, grace, ttl]: [u64; 3]) -> NodeBuilder {
        let builder = Node::build()
            .flag(&format!("--typing-timeout={typing}"))
            .flag(&format!("--presence-grace={grace}"))
            .flag(&format!("--presence-node-ttl={ttl}"))
            // Hundreds of sockets that open at the same time may take longer than the default.
            .flag("--socket-init-timeout=60");
        match self {
            Self::Memory(broker, exchange) => builder.broker(Arc::clone(broker) as _).exchange(Arc::clone(exchange)),
            Self::Redis => builder.redis(&database.name).await,
        }
    }

    async fn nodes(self, seconds: [u64; 3]) -> Nodes {
        let database = TestDatabase::new().await;
        let one = self.build(&database, seconds).await.start_on(&database).await;
        let two = self.build(&database, seconds).await.start_on(&database).await;
        Nodes { one, two, way: self, database }
    }
}

const TYPING: &str =
    "subscription ($id: ID!) { typing(conversationId: $id) { conversation { id } user { id } typing } }";
const INBOX: &str = "subscription { inbox { __typename
    ... on TypingChanged { conversation { id } user { id } typing }
    ... on PresenceChanged { user { id } presence { status } }
} }";
const PRESENCE: &str =
    "subscription ($ids: [ID!]!) { presence(userIds: $ids) { user { id } presence { status lastSeenAt } } }";
const ROOM: &str = "subscription ($id: ID!) { room(conversationId: $id) { __typename
    ... on RoomSnapshot { conversation { id } users { id } }
    ... on RoomEntered { user { id } }
    ... on RoomLeft { user { id } }
} }";

/// A subscription on a separate socket.
struct Listener {
    socket: Socket,
    field: &'static str,
}

impl Listener {
    async fn open(user: &User, field: &'static str, query: &str, variables: Value) -> Self {
        let mut socket = user.socket().await;
        socket.subscribe("it", query, variables).await;
        Self { socket, field }
    }

    async fn typing(user: &User, conversation: &str) -> Self {
        Self::open(user, "typing", TYPING, json!({"id": conversation})).await
    }

    async fn inbox(user: &User) -> Self {
        let mut inbox = Self::open(user, "inbox", INBOX, json!({})).await;
        assert_eq!(inbox.next().await["__typename"], "CaughtUp");
        inbox
    }

    async fn presence(user: &User, of: &[&User]) -> Self {
        let ids: Vec<_> = of.iter().map(|user| &user.id).collect();
        Self::open(user, "presence", PRESENCE, json!({"ids": ids})).await
    }

    async fn room(user: &User, conversation: &str) -> Self {
        Self::open(user, "room", ROOM, json!({"id": conversation})).await
    }

    async fn next(&mut self) -> Value {
        let message = self.socket.receive_of("it").await;
        assert_eq!(message["type"], "next", "{message:#}");
        assert!(message["payload"].get("errors").is_none(), "{message:#}");
        message["payload"]["data"][self.field].clone()
    }

    /// Waits for the error that ends the subscription, and returns its code.
    async fn refused(mut self) -> String {
        let message = self.socket.receive_of("it").await;
        assert_eq!(message["type"], "error", "{message:#}");
        message["payload"][0]["extensions"]["code"].as_str().unwrap().to_owned()
    }

    /// Sends a ping. Panics if an event arrives before the pong.
    async fn expect_no_event(&mut self) {
        self.socket.send(json!({"type": "ping"})).await;
        let message = self.socket.receive().await;
        assert_eq!(message["type"], "pong", "{message:#}");
    }

    /// Waits for the status ONLINE. A new subscription may first deliver OFFLINE.
    async fn expect_online(&mut self) {
        let first = self.status().await;
        if first == "OFFLINE" {
            assert_eq!(self.status().await, "ONLINE");
        } else {
            assert_eq!(first, "ONLINE");
        }
    }

    /// Waits for the next event and returns its presence status.
    async fn status(&mut self) -> String {
        self.next().await["presence"]["status"].as_str().unwrap().to_owned()
    }

    /// Waits for the next event, which must be a `RoomSnapshot`, and returns its user ids.
    async fn snapshot(&mut self) -> Vec<String> {
        let event = self.next().await;
        assert_eq!(event["__typename"], "RoomSnapshot", "{event:#}");
        event["users"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits for the next event, which must have this type and this user.
    async fn expect_change(&mut self, kind: &str, user: &User) {
        let event = self.next().await;
        assert_eq!((&event["__typename"], &event["user"]["id"]), (&json!(kind), &json!(user.id)));
    }
}

async fn set_typing(user: &User, conversation: &str, typing: bool) -> Answer {
    let query = "mutation ($input: SetTypingInput!) { setTyping(input: $input) { conversationId } }";
    user.call(query, json!({"input": {"conversationId": conversation, "typing": typing}})).await
}

async fn set_presence(user: &User, status: &str) -> Answer {
    let query = "mutation ($status: PresenceStatus!) { setPresence(input: {status: $status}) {
        presence { status lastSeenAt }
    } }";
    user.call(query, json!({"status": status})).await
}

async fn presence(of: &User, to: &User) -> Value {
    let query = "query ($id: ID!) { user(by: {id: $id}) { presence { status lastSeenAt } } }";
    to.query(query, json!({"id": of.id})).await["user"]["presence"].clone()
}

/// Waits until `last_seen_at` of the user is stored in Postgres.
async fn wait_for_last_seen(database: &TestDatabase, user: &User) {
    use diesel_async::RunQueryDsl as _;
    let mut connection = database.connection().await;
    let query = format!("SELECT 1 FROM users WHERE username = '{}' AND last_seen_at IS NOT NULL", user.username);
    eventually("last_seen_at is stored", async || {
        diesel::sql_query(&query).execute(&mut connection).await.unwrap() > 0
    })
    .await;
}
