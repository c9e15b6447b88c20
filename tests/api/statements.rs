//! How many statements a query costs: as many for many rows as for few.

use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::{InstrumentationEvent, set_default_instrumentation};
use serde_json::json;

use crate::support::{Node, User};

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
    // The session, the viewer and the list; then creators, last messages, messages read, participants and pages of
    // messages; then all the users that these lead to.
    assert_eq!(twenty, 9);
}
