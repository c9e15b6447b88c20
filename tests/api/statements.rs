//! How many statements a query costs: as many for many rows as for few.

use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::{InstrumentationEvent, set_default_instrumentation};
use diesel_async::SimpleAsyncConnection as _;
use serde_json::json;

use crate::support::{Node, TestDatabase, User};

static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

/// From here on every statement of this process counts; nextest gives each test its own.
fn count_statements() {
    set_default_instrumentation(|| {
        Some(Box::new(|event: InstrumentationEvent<'_>| {
            // A new connection of the pool begins with SET.
            if let InstrumentationEvent::StartQuery { query, .. } = event
                && !query.to_string().starts_with("SET")
            {
                STATEMENTS.fetch_add(1, Ordering::SeqCst);
            }
        }))
    })
    .unwrap();
}

async fn statements_of(user: &User, query: &str) -> usize {
    let before = STATEMENTS.load(Ordering::SeqCst);
    user.query(query, json!({})).await;
    STATEMENTS.load(Ordering::SeqCst) - before
}

#[tokio::test]
async fn a_list_of_conversations_costs_the_same_however_long_it_is() {
    count_statements();
    // The tail's own look at Postgres would count too.
    let node = Node::build().flag("--tail-poll-interval=60000").start_alone().await;
    let ada = node.register("ada").await;
    let query = "{ viewer { conversations(first: 20) { nodes {
        title createdBy { username } viewerMembership { unreadCount lastReadMessage { body } }
        lastMessage { body sender { username } }
        participants(first: 10) { nodes { role user { username } } }
        messages(last: 3) { nodes { number sender { displayName } } }
    } } } }";
    let conversation = async |place: usize| {
        let others = [node.register("one").await, node.register("two").await];
        let group = ada.create_group(&format!("Group {place}"), &others.iter().collect::<Vec<_>>()).await;
        for other in &others {
            let message = other.send(&group, "hello").await;
            ada.mark_read(&message).await.data();
        }
        others[0].send(&group, "unread").await;
    };
    conversation(0).await;
    let one = statements_of(&ada, query).await;
    for place in 1..20 {
        conversation(place).await;
    }
    let twenty = statements_of(&ada, query).await;
    assert_eq!(one, twenty);
    // The viewer and the list; then creators, last messages, messages read, participants and pages of
    // messages; then all the users that these lead to.
    assert_eq!(twenty, 8);
}

/// A query that is stopped asks for nothing more, though what it has asked for is not taken back.
#[tokio::test]
async fn a_query_whose_time_is_up_begins_no_statement() {
    count_statements();
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--tail-poll-interval=60000").flag("--operation-timeout=1").start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Slow", &[]).await;
    ada.send(&group, "one").await;
    let mut lock = database.connection().await;
    lock.batch_execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let query = "query ($id: ID!) { conversation(id: $id) { messages { nodes { sender { username } } } } }";
    let answer = ada.call(query, json!({"id": group})).await;
    assert_eq!(answer.code(), "OPERATION_TOO_COMPLEX");
    let before = STATEMENTS.load(Ordering::SeqCst);
    lock.batch_execute("COMMIT").await.unwrap();
    // The senders would have been asked for long before these are through.
    for _ in 0..20 {
        ada.query("{ viewer { id } }", json!({})).await;
    }
    assert_eq!(STATEMENTS.load(Ordering::SeqCst) - before, 1 + 20, "the COMMIT, and each viewer");
}
