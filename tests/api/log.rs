//! Guarantees of the log, tested with the memory broker and with the Redis broker.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parlance::log::{Broker, Cursor, MemoryBroker, RedisBroker};
use parlance::random::Random;
use parlance::store::conversations::conversations;

use crate::support::{ALLOWANCE, DroppingBroker, Node, PATIENCE, TestDatabase, redis_url, within};

fn memory() -> Arc<dyn Broker> {
    Arc::new(MemoryBroker::default())
}

async fn redis(database: &TestDatabase) -> Arc<dyn Broker> {
    Arc::new(RedisBroker::connect(&redis_url(), &database.name, Random::system()).await.unwrap())
}

/// Defines two tests for each guarantee, in the modules `over_memory` and `over_redis`.
macro_rules! over_both_adapters {
    ($($promise:ident),+ $(,)?) => {
        mod over_memory {
            $(#[tokio::test]
            async fn $promise() {
                let database = crate::support::TestDatabase::new().await;
                super::$promise(&database, super::memory()).await;
            })+
        }

        mod over_redis {
            $(#[tokio::test]
            async fn $promise() {
                let database = crate::support::TestDatabase::new().await;
                let broker = super::redis(&database).await;
                super::$promise(&database, broker).await;
            })+
        }
    };
}

over_both_adapters!(
    two_nodes_deliver_the_same_events_in_the_same_order,
    seq_has_no_holes_and_follows_the_commit_order,
    events_with_a_lost_publication_are_delivered,
    a_lost_publication_is_recovered_long_before_the_next_poll,
    events_are_delivered_when_nothing_is_published,
    a_request_that_fails_leaves_no_hole_in_the_log,
    a_resumed_stream_delivers_exactly_the_missed_events,
);

async fn two_nodes_deliver_the_same_events_in_the_same_order(database: &TestDatabase, broker: Arc<dyn Broker>) {
    let one = Node::build().broker(Arc::clone(&broker)).start_on(database).await;
    let two = Node::build().broker(broker).start_on(database).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inboxes = [ada.inbox().await, bob.inbox().await];
    join_all((0..50).map(|i| if i % 2 == 0 { ada.send(&conversation, "a") } else { bob.send(&conversation, "b") }))
        .await;
    for number in 1..=50 {
        let (here, there) = (inboxes[0].next().await, inboxes[1].next().await);
        assert_eq!(here, there);
        assert_eq!(here["message"]["number"], number);
    }
}

/// While many requests append to the log, each read of the log returns seq 1, 2, 3 … without a gap.
async fn seq_has_no_holes_and_follows_the_commit_order(database: &TestDatabase, broker: Arc<dyn Broker>) {
    use diesel::prelude::*;
    use diesel_async::RunQueryDsl;
    use parlance::store::schema::events;

    // Number of reads during the writes.
    const READS: usize = 4;
    let node = Node::build().broker(broker).start_on(database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Group", &[]).await;
    let mut connection = database.connection().await;
    let (reads, is_written) = (Cell::new(0), Cell::new(false));
    let writing = async {
        let mut written = 1;
        while written == 1 || reads.get() < READS {
            // Groups are created in separate transactions. Messages share transactions.
            let groups = join_all((0..100).map(|_| ada.create_group("Another", &[])));
            let messages = join_all((0..100).map(|_| ada.send(&group, "hello")));
            tokio::join!(groups, messages);
            written += 200;
        }
        is_written.set(true);
        written
    };
    let reading = async {
        loop {
            let is_last = is_written.get();
            let seqs: Vec<i64> =
                events::table.select(events::seq).order(events::seq).load(&mut connection).await.unwrap();
            assert_eq!(seqs, (1..).take(seqs.len()).collect::<Vec<_>>());
            if is_last {
                return seqs.len();
            }
            reads.set(reads.get() + 1);
        }
    };
    let both = async { tokio::join!(writing, reading) };
    let (written, read) = within(4 * PATIENCE, "the log has all events", both).await;
    assert_eq!(read, written);
}

async fn events_with_a_lost_publication_are_delivered(database: &TestDatabase, broker: Arc<dyn Broker>) {
    let broker = Arc::new(DroppingBroker::new(broker, 3));
    let node = Node::build().broker(broker.clone()).start_on(database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inbox = bob.inbox().await;
    for number in 1..=30 {
        ada.send(&conversation, "dropped or not").await;
        assert_eq!(inbox.message().await["number"], number);
    }
    assert!(broker.published.load(std::sync::atomic::Ordering::SeqCst) >= 30, "too few events were published");
}

async fn a_lost_publication_is_recovered_long_before_the_next_poll(database: &TestDatabase, broker: Arc<dyn Broker>) {
    let broker = Arc::new(DroppingBroker::new(broker, 2));
    let node = Node::build().broker(broker).flag("--tail-poll-interval=60000").start_on(database).await;
    let ada = node.register("ada").await;
    let mut inbox = ada.inbox().await;
    // The broker drops events 2, 4, 6 …; the event after each dropped event reveals the gap.
    for i in 0..21 {
        ada.create_group(&format!("Group {i}"), &[]).await;
    }
    for i in 0..21 {
        assert_eq!(inbox.next().await["conversation"]["title"], format!("Group {i}"));
    }
}

async fn events_are_delivered_when_nothing_is_published(database: &TestDatabase, broker: Arc<dyn Broker>) {
    let broker = Arc::new(DroppingBroker::new(broker, 1));
    // This is the default of TAIL_POLL_INTERVAL.
    let interval = Duration::from_secs(1);
    let node = Node::build().broker(broker).start_on(database).await;
    let ada = node.register("ada").await;
    let mut inbox = ada.inbox().await;
    let mut delays = Vec::new();
    for _ in 0..3 {
        let group = ada.create_group("Unheard of", &[]).await;
        let created = Instant::now();
        assert_eq!(inbox.next().await["conversation"]["id"], group.as_str());
        delays.push(created.elapsed());
    }
    delays.sort();
    assert!(delays[0] <= interval && delays[2] < interval + ALLOWANCE, "{delays:?}");
}

async fn a_request_that_fails_leaves_no_hole_in_the_log(database: &TestDatabase, broker: Arc<dyn Broker>) {
    let node = Node::build().broker(broker).start_on(database).await;
    let (ada, stranger) = (node.register("ada").await, node.register("stranger").await);
    let group = ada.create_group("Group", &[]).await;
    let mut inbox = ada.inbox().await;
    let before = inbox.cursor.as_ref().unwrap().parse::<Cursor>().unwrap_or_else(|_| panic!("no cursor")).seq;
    for _ in 0..5 {
        assert_eq!(stranger.try_send(&group, "let me in", None).await.code(), "NOT_FOUND");
        ada.try_send(&group, "again", Some("same")).await.data();
    }
    ada.send(&group, "the second").await;
    assert_eq!(inbox.message().await["number"], 1);
    assert_eq!(inbox.message().await["number"], 2);
    assert_eq!(node.app.log().position().seq, before + 2);
}

async fn a_resumed_stream_delivers_exactly_the_missed_events(database: &TestDatabase, broker: Arc<dyn Broker>) {
    let node = Node::build().broker(broker).flag("--catch-up-page=3").start_on(database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let cursor = bob.cursor_after_message(&ada, &conversation).await;
    join_all((0..20).map(|_| ada.send(&conversation, "missed"))).await;
    let mut inbox = bob.inbox_after(cursor.as_deref()).await;
    let missed = inbox.missed().await;
    let numbers: Vec<_> = missed.iter().map(|event| event["message"]["number"].as_i64().unwrap()).collect();
    assert_eq!(numbers, (2..=21).collect::<Vec<_>>());
    ada.send(&conversation, "live").await;
    assert_eq!(inbox.message().await["number"], 22);
}

/// Dropping an unfinished transaction also releases its locks.
#[tokio::test]
async fn a_dropped_transaction_is_rolled_back() {
    let node = Node::build().flag("--database-pool-size=1").start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Group", &[]).await;
    for _ in 0..5 {
        let (locked, is_locked) = tokio::sync::oneshot::channel();
        let unfinished = node.app.log().transaction(async |tx| {
            let row = conversations::lock(tx.conn(), group.parse().unwrap()).await?;
            locked.send(row.is_some()).unwrap();
            std::future::pending::<Result<(), parlance::error::Error>>().await
        });
        tokio::select! {
            result = unfinished => panic!("the transaction ended: {result:?}"),
            found = is_locked => assert!(found.unwrap()),
        }
    }
    assert_eq!(ada.send(&group, "not held up").await["number"], 1);
}
