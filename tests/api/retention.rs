//! Deletion of old data: partitions of events, expired sessions and their tokens, and rows of calls that belong to
//! deleted accounts.

use std::sync::{Arc, Mutex};

use diesel::sql_types::{BigInt, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};
use futures_util::future::{BoxFuture, join_all};
use futures_util::{StreamExt as _, pin_mut};
use parlance::ids::SessionId;
use parlance::log::{Broker, Change, Cursor, Event, Incoming, Interest, Item, Publication};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::support::{Node, PASSWORD, TestDatabase, User, eventually};

/// Starts a node that runs the housekeeping every second.
async fn tidy_node(database: &TestDatabase) -> Node {
    Node::build().flag("--housekeeping-interval=1").start_on(database).await
}

async fn execute(database: &TestDatabase, sql: &str) {
    database.connection().await.batch_execute(sql).await.unwrap();
}

async fn number(database: &TestDatabase, sql: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        number: i64,
    }
    let row: Row =
        sql_query(format!("SELECT ({sql}) AS number")).get_result(&mut database.connection().await).await.unwrap();
    row.number
}

/// Waits until the query returns the number `expected`.
async fn eventually_equals(database: &TestDatabase, sql: &str, expected: i64) {
    eventually(&format!("{sql} is {expected}"), async || number(database, sql).await == expected).await;
}

async fn partitions(database: &TestDatabase) -> Vec<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let query =
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'events'::regclass ORDER BY 1";
    let rows: Vec<Row> = sql_query(query).load(&mut database.connection().await).await.unwrap();
    rows.into_iter().map(|row| row.name).collect()
}

/// Moves the events of the last day to the partition of `days` days ago.
async fn age_events(database: &TestDatabase, days: i32) {
    let sql = format!(
        "DO $$
         DECLARE
             day date := (now() AT TIME ZONE 'UTC')::date - {days};
         BEGIN
             EXECUTE format(
                 'CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
                 'events_' || to_char(day, 'YYYYMMDD'), day || ' 00:00:00+00', day + 1 || ' 00:00:00+00'
             );
             UPDATE events SET created_at = (day + time '12:00') AT TIME ZONE 'UTC'
             WHERE created_at > now() - interval '1 day';
         END $$"
    );
    execute(database, &sql).await;
}

/// Makes the events of the last day older than the retention, and waits until housekeeping has dropped all events.
async fn forget_events(database: &TestDatabase) {
    // The query comes first, because housekeeping may drop the events as soon as they are old.
    let head = number(database, "SELECT max(seq) FROM events").await;
    age_events(database, 8).await;
    eventually_equals(database, "SELECT forgotten FROM log_head", head).await;
    assert_eq!(number(database, "SELECT count(*) FROM events").await, 0);
}

fn cursor(text: Option<&str>) -> Cursor {
    text.unwrap().parse().unwrap_or_else(|_| panic!("no cursor"))
}

#[tokio::test]
async fn a_cursor_before_dropped_events_requires_a_resync_and_continues_live() {
    let database = TestDatabase::new().await;
    let node = tidy_node(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let old = bob.cursor_after_message(&ada, &conversation).await;
    ada.send(&conversation, "dropped before it was read").await;
    forget_events(&database).await;
    assert!(partitions(&database).await.len() <= 5, "{:?}", partitions(&database).await);

    let mut inbox = bob.inbox_after(old.as_deref()).await;
    let resync = inbox.next().await;
    assert_eq!(resync["__typename"], "ResyncRequired");
    let caught_up = inbox.next().await;
    assert_eq!((&caught_up["__typename"], &caught_up["cursor"]), (&json!("CaughtUp"), &resync["cursor"]));
    ada.send(&conversation, "live").await;
    assert_eq!(inbox.message().await["body"], "live");
    // Queries return all messages. A stream that resumes from the cursor of the resync misses no event.
    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 9) { nodes { body } } } }";
    let data = bob.query(query, json!({"id": conversation})).await;
    assert_eq!(data["conversation"]["messages"]["nodes"].as_array().unwrap().len(), 3);
    let missed = bob.inbox_after(resync["cursor"].as_str()).await.missed().await;
    assert_eq!(missed.len(), 1);
    assert_eq!(missed[0]["message"]["body"], "live");
}

#[tokio::test]
async fn the_cursor_of_the_last_dropped_event_is_still_valid() {
    let database = TestDatabase::new().await;
    let node = tidy_node(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let before = bob.cursor_after_message(&ada, &conversation).await;
    let last = bob.cursor_after_message(&ada, &conversation).await;
    forget_events(&database).await;
    for body in ["a week ago", "almost"] {
        ada.send(&conversation, body).await;
    }
    age_events(&database, 6).await;
    ada.send(&conversation, "today").await;
    // The housekeeping of another node finds no partition to drop.
    drop(tidy_node(&database).await);

    assert_eq!(number(&database, "SELECT forgotten FROM log_head").await, cursor(last.as_deref()).seq);
    let missed = bob.inbox_after(last.as_deref()).await.missed().await;
    let bodies: Vec<_> = missed.iter().map(|event| event["message"]["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, ["a week ago", "almost", "today"]);
    assert_eq!(bob.inbox_after(before.as_deref()).await.next().await["__typename"], "ResyncRequired");
}

#[tokio::test]
async fn a_slow_stream_gets_resync_required_when_unread_events_are_dropped() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--housekeeping-interval=1").flag("--catch-up-page=2").start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let start = bob.cursor_after_message(&ada, &conversation).await;
    for _ in 0..5 {
        ada.send(&conversation, "too old before it is read").await;
    }
    let start = cursor(start.as_deref());
    let items = node.app.log().stream(bob.id.parse().unwrap(), Interest::Inbox, Some(start));
    pin_mut!(items);
    let seq_of = |item: Option<Item>| match item.unwrap() {
        Item::Event(event) => event.seq,
        other => panic!("{other:?}"),
    };
    assert_eq!(seq_of(items.next().await), start.seq + 1);
    forget_events(&database).await;
    // The stream has the current page in memory, but the events of the next page are dropped.
    assert_eq!(seq_of(items.next().await), start.seq + 2);
    assert_eq!(items.next().await, Some(Item::ResyncRequired(start.seq + 5)));
    assert_eq!(items.next().await, Some(Item::CaughtUp(start.seq + 5)));
    ada.send(&conversation, "live").await;
    assert_eq!(seq_of(items.next().await), start.seq + 6);
}

/// A stream that was open the whole time has missed no event, even if the last event that it delivered was dropped.
#[tokio::test]
async fn a_stream_that_missed_no_event_needs_no_resync() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--housekeeping-interval=1").flag("--stream-queue=1").start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let group = ada.create_group("Group", &[&bob]).await;
    let stream = || Box::pin(node.app.log().stream(bob.id.parse().unwrap(), Interest::Inbox, None));
    // This stream will be detached from the tail because its user leaves a conversation.
    let mut recalled = stream();
    assert!(matches!(recalled.next().await, Some(Item::CaughtUp(_))));
    ada.create_group("Of no concern to Bob", &[]).await;
    forget_events(&database).await;

    let leave = "mutation ($id: ID!) { leaveConversation(input: {conversationId: $id}) { conversationId } }";
    bob.query(leave, json!({"id": group})).await;
    let event = recalled.next().await.unwrap();
    assert!(matches!(event, Item::Event(Event { change: Change::ConversationRemoved { .. }, .. })), "{event:?}");

    // The queue of this stream will overflow.
    let mut overflowing = stream();
    assert!(matches!(overflowing.next().await, Some(Item::CaughtUp(_))));
    ada.create_group("Nor this", &[]).await;
    forget_events(&database).await;
    for _ in 0..3 {
        ada.send(&conversation, "much").await;
    }
    for _ in 0..3 {
        let event = overflowing.next().await.unwrap();
        assert!(matches!(event, Item::Event(Event { change: Change::MessageAdded { .. }, .. })), "{event:?}");
    }
}

/// A broker that delivers no events, but can report that events may have been lost.
#[derive(Default)]
struct DeafBroker {
    subscriber: Mutex<Option<mpsc::Sender<Incoming>>>,
}

impl DeafBroker {
    fn report_gap(&self) {
        self.subscriber.lock().unwrap().as_ref().unwrap().try_send(Incoming::Gap).unwrap();
    }
}

impl Broker for DeafBroker {
    fn publish<'a>(&'a self, _: &'a Publication) -> BoxFuture<'a, parlance::error::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn subscribe(&self, _: CancellationToken) -> mpsc::Receiver<Incoming> {
        let (sender, receiver) = mpsc::channel(16);
        *self.subscriber.lock().unwrap() = Some(sender);
        receiver
    }
}

/// A node misses events for longer than the retention. Afterwards its streams require a resync, and the node closes the
/// connections of sessions that were revoked in the meantime.
#[tokio::test]
async fn streams_require_a_resync_after_the_node_missed_events_that_were_dropped() {
    let database = TestDatabase::new().await;
    let node = tidy_node(&database).await;
    let phone = node.register("ada").await;
    let laptop = User::login(&node, &phone.username, PASSWORD).await;
    let group = phone.create_group("Before", &[]).await;
    let broker = Arc::new(DeafBroker::default());
    let away = Node::build().broker(broker.clone()).flag("--tail-poll-interval=60000").start_on(&database).await;
    let (mut kept, ended) = (phone.on(&away).inbox().await, laptop.on(&away).inbox().await);
    let mut calls = phone.on(&away).call_events().await;

    phone.send(&group, "dropped").await;
    phone.query("mutation { revokeOtherSessions { sessionIds } }", json!({})).await;
    let new = phone.create_group("Meanwhile", &[]).await;
    forget_events(&database).await;
    broker.report_gap();
    assert_eq!(kept.next().await["__typename"], "ResyncRequired");
    // `callEvents` has no cursor, so the subscription ends and the client must subscribe again.
    let over = calls.socket.receive_of("calls").await;
    assert_eq!((&over["type"], &over["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("UNAVAILABLE")));
    assert_eq!(ended.socket.closed().await, 4403);
    let viewer = "{ viewer { id } }";
    assert_eq!(laptop.on(&away).call(viewer, json!({})).await.code(), "UNAUTHENTICATED");
    phone.on(&away).query(viewer, json!({})).await;

    phone.send(&new, "live").await;
    broker.report_gap();
    assert_eq!(kept.message().await["body"], "live");
}

#[tokio::test]
async fn nodes_that_start_concurrently_create_missing_partitions() {
    let database = TestDatabase::new().await;
    // Drops all partitions, as if no node had run for weeks.
    let drop_all = "DO $$
        DECLARE
            partition regclass;
        BEGIN
            FOR partition IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'events'::regclass LOOP
                EXECUTE format('DROP TABLE %s', partition);
            END LOOP;
        END $$";
    execute(&database, drop_all).await;
    let nodes = join_all((0..3).map(|_| tidy_node(&database))).await;
    let first = number(&database, "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')::bigint").await;
    let made = partitions(&database).await;
    assert!(made.len() >= 4 && made.contains(&format!("events_{first}")), "{made:?}");
    for node in &nodes {
        node.register("ada").await.create_group("Today", &[]).await;
    }
}

/// Several nodes drop many partitions while users send messages.
#[tokio::test]
async fn housekeeping_on_several_nodes_does_not_disturb_senders() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Group", &[]).await;
    let mut inbox = ada.inbox().await;
    for old in 0..20 {
        ada.send(&group, "old").await;
        age_events(&database, 60 - old).await;
    }
    let housekeepers = join_all((0..3).map(|_| tidy_node(&database))).await;
    let sends = async {
        for _ in 0..50 {
            ada.send(&group, "meanwhile").await;
        }
    };
    // The 21 dropped events are the creation of the group and the 20 old messages.
    tokio::join!(sends, eventually_equals(&database, "SELECT forgotten FROM log_head", 21));
    for number in 1..=70 {
        assert_eq!(inbox.message().await["number"], number);
    }
    let old = "SELECT count(*) FROM events WHERE created_at < now() - interval '7 days'";
    assert_eq!(number(&database, old).await, 0);
    drop(housekeepers);
}

/// A backup can lock the table for hours. The drop waits until the backup ends, but senders do not wait.
#[tokio::test]
async fn dropping_a_partition_waits_for_long_readers_without_blocking_senders() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Group", &[]).await;
    age_events(&database, 8).await;
    let mut backup = database.connection().await;
    backup.batch_execute("BEGIN; LOCK TABLE events IN ACCESS SHARE MODE").await.unwrap();
    let tidy = tidy_node(&database).await;
    let waiting = "SELECT count(*) FROM pg_locks
        WHERE relation = 'events'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted";
    for expected in 1..=2 {
        eventually_equals(&database, waiting, 1).await;
        assert_eq!(ada.on(&tidy).send(&group, "not held up").await["number"], expected);
        eventually_equals(&database, waiting, 0).await;
    }
    assert_eq!(number(&database, "SELECT forgotten FROM log_head").await, 0);
    backup.batch_execute("COMMIT").await.unwrap();
    eventually_equals(&database, "SELECT forgotten FROM log_head", 1).await;
}

#[tokio::test]
async fn only_expired_sessions_and_tokens_are_deleted() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let phone = node.register("ada").await;
    let sign_in = async || User::login(&node, &phone.username, PASSWORD).await;
    let (long_gone, lately_gone, outlived, many) = (sign_in().await, sign_in().await, sign_in().await, sign_in().await);
    let id = |user: &User| user.session.parse::<SessionId>().unwrap().0;
    let sql = format!(
        "UPDATE sessions SET expires_at = now() - interval '31 days' WHERE id IN ('{0}', '{2}', '{3}');
         UPDATE sessions SET expires_at = now() - interval '29 days' WHERE id = '{1}';
         UPDATE refresh_tokens SET expires_at = now() - interval '29 days' WHERE session_id IN ('{0}', '{1}', '{3}');
         -- As if an earlier setting had given tokens a longer lifetime.
         UPDATE refresh_tokens SET spent_at = now() - interval '40 days' WHERE session_id = '{2}';
         INSERT INTO refresh_tokens (hash, session_id, expires_at)
         SELECT sha256(i::text::bytea), '{3}', now() - interval '2 hours' FROM generate_series(1, 2500) AS i",
        id(&long_gone),
        id(&lately_gone),
        id(&outlived),
        id(&many),
    );
    execute(&database, &sql).await;
    let refresh = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) {
        accessToken refreshToken session { id } viewer { user { id username } }
    } }";
    let data = node.call(None, refresh, json!({"token": phone.refresh_token})).await.data();
    let again = User::from_payload(&node, &data["refreshSession"]);

    let tidy = tidy_node(&database).await;
    // The remaining tokens are a used and an unused token of the phone, and a token that expires later than its
    // session.
    eventually_equals(&database, "SELECT count(*) FROM refresh_tokens", 3).await;
    eventually_equals(&database, "SELECT count(*) FROM sessions", 3).await;
    for (user, count) in [(&phone, 1), (&long_gone, 0), (&lately_gone, 1), (&outlived, 1), (&many, 0)] {
        let there = format!("SELECT count(*) FROM sessions WHERE id = '{}'", id(user));
        assert_eq!(number(&database, &there).await, count);
    }
    // A used token can be used again for ten seconds. A later use still counts as theft and ends the session.
    execute(&database, "UPDATE refresh_tokens SET spent_at = spent_at - interval '11 seconds'").await;
    assert_eq!(tidy.call(None, refresh, json!({"token": phone.refresh_token})).await.code(), "UNAUTHENTICATED");
    assert_eq!(again.call("{ viewer { id } }", json!({})).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn call_participants_of_deleted_accounts_are_deleted_with_the_events() {
    let database = TestDatabase::new().await;
    let node = tidy_node(&database).await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let (max, zoe) = (node.register("max").await, node.register("zoe").await);
    let group = ada.create_group("Five", &[&bob, &eve, &max, &zoe]).await;
    let call = ada.start_call(&group).await.call_id();
    // Ada and Zoe stay, so the call does not end when the others are gone.
    zoe.accept_call(&call).await.data();
    eve.accept_call(&call).await.data();
    bob.accept_call(&call).await.data();
    bob.leave_call(&call).await.data();
    eve.delete_account(Some(PASSWORD)).await.data();

    let places = "SELECT count(*) FROM call_participants";
    let old = |days: i32| format!("UPDATE call_participants SET left_at = now() - interval '{days} days'");
    execute(&database, &format!("{} WHERE left_at IS NOT NULL", old(6))).await;
    // The housekeeping deletes the row of another deleted account, but not the rows above.
    max.accept_call(&call).await.data();
    max.delete_account(Some(PASSWORD)).await.data();
    let is_recent = "left_at > now() - interval '1 day'";
    execute(&database, &format!("{} WHERE {is_recent}", old(8))).await;
    eventually_equals(&database, &format!("{places} WHERE left_at < now() - interval '7 days'"), 0).await;
    assert_eq!(number(&database, places).await, 4);
    execute(&database, &format!("{} WHERE left_at IS NOT NULL", old(8))).await;
    eventually_equals(&database, places, 3).await;
}
