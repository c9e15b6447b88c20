//! The events of each mutation. `rows` has a row for each mutation with exactly the events that the mutation appends to
//! the log, and exactly the events that the inboxes of all affected users receive.

mod rows;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{TypeKind, TypeSystemDefinition};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};

pub use rows::rows;

use crate::support::{Inbox, Node, NodeBuilder, PASSWORD, PATIENCE, TestDatabase, User, secret_issuer};

/// The last item of a list of events if the server closes the socket because the session has ended.
const CLOSED: &str = "closed";

/// The body of the marker, a message that is sent after the mutation. All events before the marker are events of the
/// mutation.
const MARKER: &str = "the marker";

/// Events without a cursor. A resumed stream does not deliver them.
const LIVE_ONLY: &[&str] = &["PresenceChanged", "TypingChanged"];

/// The node and the data of a test: two users with a direct conversation and a group. `ada` calls the mutation.
pub struct World {
    node: Arc<Node>,
    pub ada: User,
    pub bob: User,
    direct: String,
    /// A group that Ada owns, with Bob as a member.
    group: String,
    /// A message that Bob has sent to the group.
    message: Value,
}

/// Returns the settings of a node on which every mutation can succeed.
pub fn builder() -> NodeBuilder {
    let push = "--push-allowed-networks=127.0.0.0/8";
    Node::build().receive_notices().flag(&secret_issuer()).flag("--guests=on").flag(push)
}

impl World {
    pub async fn new(node: Arc<Node>) -> Self {
        let (ada, bob) = (node.register("ada").await, node.register("bob").await);
        let (direct, group) = (ada.open_direct(&bob).await, ada.create_group("Both", &[&bob]).await);
        let message = bob.send(&group, "hello").await;
        Self { node, ada, bob, direct, group, message }
    }

    /// Bob sends Ada a contact request. Returns its id.
    async fn receive_contact_request(&self) -> Value {
        let query = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } } }";
        self.bob.query(query, json!({"id": self.ada.id})).await["sendContactRequest"]["request"]["id"].clone()
    }

    async fn befriend(&self) {
        let query = "mutation ($id: ID!) { acceptContactRequest(input: {requestId: $id}) { contact { id } } }";
        self.ada.query(query, json!({"id": self.receive_contact_request().await})).await;
    }

    /// Ada calls a mutation whose input is Bob's user id.
    async fn toward_bob(&self, mutation: &str, payload: &str) {
        let query = format!("mutation ($id: ID!) {{ {mutation}(input: {{userId: $id}}) {{ {payload} }} }}");
        self.ada.query(&query, json!({"id": self.bob.id})).await;
    }

    /// Ada calls a mutation whose input is Bob's message. `more` holds further input fields.
    async fn about(&self, mutation: &str, more: &str) {
        let query =
            format!("mutation ($id: ID!) {{ {mutation}(input: {{messageId: $id{more}}}) {{ message {{ id }} }} }}");
        self.ada.query(&query, json!({"id": self.message["id"]})).await;
    }

    /// Ada registers a device at a push service that does not answer. Returns the id of the subscription. The keys are
    /// those of the example in RFC 8291, section 5.
    async fn subscribe_device(&self) -> Value {
        let query = "mutation { registerPushSubscription(input: {webPush: {
            endpoint: \"http://127.0.0.1:9/push\", auth: \"BTBZMqHH6r4Tts7J_aSIgg\",
            p256dh: \"BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4\"
        }}) { pushSubscription { id } } }";
        self.ada.query(query, json!({})).await["registerPushSubscription"]["pushSubscription"]["id"].clone()
    }

    /// Ada schedules a message for tomorrow. Returns its id.
    async fn schedule(&self) -> Value {
        let query = "mutation ($id: ID!, $at: DateTime!) {
            scheduleMessage(input: {conversationId: $id, body: \"later\", sendAt: $at}) { scheduledMessage { id } }
        }";
        let tomorrow = parlance::clock::Clock::system().now() + chrono::TimeDelta::days(1);
        let scheduled = self.ada.query(query, json!({"id": self.direct, "at": tomorrow.to_rfc3339()})).await;
        scheduled["scheduleMessage"]["scheduledMessage"]["id"].clone()
    }
}

/// A mutation and its events, in order: in the log, in the inbox of Ada's other device, and in Bob's inbox.
pub struct Row {
    pub mutation: &'static str,
    pub perform: fn(&World) -> LocalBoxFuture<'_, ()>,
    log: &'static [&'static str],
    ada: &'static [&'static str],
    bob: &'static [&'static str],
}

#[test]
fn every_mutation_has_a_row_in_the_table() {
    let document = parse_schema(parlance::graphql::sdl()).unwrap();
    let mutations = document.definitions.into_iter().find_map(|definition| match definition {
        TypeSystemDefinition::Type(definition) if definition.node.name.node == "Mutation" => match definition.node.kind
        {
            TypeKind::Object(object) => Some(object.fields),
            _ => None,
        },
        _ => None,
    });
    let there: BTreeSet<_> = mutations.unwrap().iter().map(|field| field.node.name.node.to_string()).collect();
    let rows = rows();
    let known: BTreeSet<_> = rows.iter().map(|row| row.mutation.to_owned()).collect();
    assert_eq!(rows.len(), known.len(), "each mutation has one row");
    let missing: Vec<_> = there.difference(&known).collect();
    assert_eq!(missing, [""; 0], "add them to `rows`");
    assert_eq!(known.difference(&there).collect::<Vec<_>>(), [""; 0], "the schema has no such mutation");
}

#[derive(QueryableByName)]
struct Head {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[derive(QueryableByName)]
struct Kind {
    #[diesel(sql_type = Text)]
    kind: String,
}

async fn head(connection: &mut AsyncPgConnection) -> i64 {
    diesel::sql_query("SELECT seq FROM log_head").get_result::<Head>(connection).await.unwrap().seq
}

/// Reads the kinds of the events in the log after the seq `start`, up to and including the seq `end`.
async fn logged(connection: &mut AsyncPgConnection, start: i64, end: i64) -> Vec<String> {
    let query = diesel::sql_query("SELECT kind FROM events WHERE seq > $1 AND seq <= $2 ORDER BY seq");
    let query = query.bind::<BigInt, _>(start).bind::<BigInt, _>(end);
    query.load::<Kind>(connection).await.unwrap().into_iter().map(|row| row.kind).collect()
}

fn is_marker(event: &Value) -> bool {
    event["message"]["body"] == MARKER
}

fn kind(event: &Value) -> String {
    event["__typename"].as_str().unwrap().to_owned()
}

/// Receives events up to the marker, or up to the end of the connection, and returns their types. Events that are not
/// in the log may come after the marker, so the function waits for at least `count` events.
async fn live_events(inbox: &mut Inbox, count: usize) -> Vec<String> {
    let (mut kinds, mut is_marked) = (Vec::new(), false);
    let read = async {
        while !is_marked || kinds.len() < count {
            let Some(message) = inbox.socket.try_receive().await else { return kinds.push(CLOSED.to_owned()) };
            let event = &message["payload"]["data"]["inbox"];
            if is_marker(event) {
                is_marked = true;
            } else {
                kinds.push(kind(event));
            }
        }
    };
    let in_time = tokio::time::timeout(PATIENCE, read).await.is_ok();
    assert!(in_time, "only {kinds:?}, marker: {is_marked}");
    kinds
}

/// Leaves out CallRinging if the call is answered or ends, because CallRinging is delivered only while the call rings.
fn without_past_rings(events: &[&'static str]) -> Vec<&'static str> {
    let is_over = ["CallAnswered", "CallEnded"].iter().any(|kind| events.contains(kind));
    events.iter().copied().filter(|kind| !is_over || *kind != "CallRinging").collect()
}

/// Returns those of the live events that a resumed stream delivers.
fn resumed_of(live: &[&'static str]) -> Vec<&'static str> {
    without_past_rings(live).into_iter().filter(|kind| !LIVE_ONLY.contains(kind)).collect()
}

/// Resumes a stream from the cursor, and returns the types of the events before the marker.
async fn resumed_events(user: &User, cursor: Option<&str>) -> Vec<String> {
    let missed = user.inbox_after(cursor).await.missed().await;
    assert!(missed.last().is_some_and(is_marker), "{missed:?}");
    missed[..missed.len() - 1].iter().map(kind).collect()
}

// A mutation needs a node of its own, so the mutations are in several tests, by their first letter.

#[tokio::test]
async fn mutations_a_to_c_send_exactly_the_expected_events() {
    check_mutations('a'..='c').await;
}

#[tokio::test]
async fn mutations_d_to_m_send_exactly_the_expected_events() {
    check_mutations('d'..='m').await;
}

#[tokio::test]
async fn mutations_n_to_r_send_exactly_the_expected_events() {
    check_mutations('n'..='r').await;
}

#[tokio::test]
async fn mutations_s_to_z_send_exactly_the_expected_events() {
    check_mutations('s'..='z').await;
}

/// Performs each mutation whose first letter is one of `letters`, and compares the events in the log and in the inboxes
/// with its row.
async fn check_mutations(letters: RangeInclusive<char>) {
    let rows = rows().into_iter().filter(|row| row.mutation.starts_with(|letter| letters.contains(&letter)));
    let mut differences = Vec::new();
    for row in rows {
        let database = TestDatabase::new().await;
        let world = World::new(Arc::new(builder().start_on(&database).await)).await;
        let phone = User::login(&*world.node, &world.ada.username, PASSWORD).await;
        let eve = world.node.register("eve").await;
        let last = eve.create_group("Last", &[&world.ada, &world.bob]).await;
        let (mut live_ada, mut live_bob) = (phone.inbox().await, world.bob.inbox().await);
        let (before_ada, before_bob) = (live_ada.cursor.clone(), live_bob.cursor.clone());
        let mut connection = database.connection().await;
        let start = head(&mut connection).await;

        (row.perform)(&world).await;

        let end = head(&mut connection).await;
        eve.send(&last, MARKER).await;
        let mut check = |what: &str, found: &[String], expected: &[&str]| {
            if found != expected {
                differences.push(format!("{}, {what}: {found:?} instead of {expected:?}", row.mutation));
            }
        };
        check("log", &logged(&mut connection, start, end).await, row.log);
        check("log after the mutation", &logged(&mut connection, end, i64::MAX).await, &["message_added"]);
        for (user, expected, live, cursor) in
            [(&phone, row.ada, &mut live_ada, before_ada), (&world.bob, row.bob, &mut live_bob, before_bob)]
        {
            let found = live_events(live, without_past_rings(expected).len()).await;
            // On a loaded machine the call may be over before the node delivers its ring.
            let rang = found.iter().any(|kind| kind == "CallRinging");
            let wanted = if rang { expected.to_vec() } else { without_past_rings(expected) };
            check(&format!("live, {}", user.username), &found, &wanted);
            if expected.last() != Some(&CLOSED) {
                let in_log = resumed_of(expected);
                check(&format!("resumed, {}", user.username), &resumed_events(user, cursor.as_deref()).await, &in_log);
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
