//! The number of SQL statements of an operation, which must not depend on the number of rows.

mod events;
mod people;
mod push;

use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::connection::{InstrumentationEvent, set_default_instrumentation};
use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use parlance::domain::messaging::search_indexer;
use parlance::random::Random;
use parlance::store::Database;
use serde_json::json;

use crate::support::{Node, TestDatabase, User, eventually};

static STATEMENTS: AtomicUsize = AtomicUsize::new(0);

/// Starts to count all statements of this process. nextest runs each test in a separate process.
fn count_statements() {
    set_default_instrumentation(|| {
        Some(Box::new(|event: InstrumentationEvent<'_>| {
            let InstrumentationEvent::StartQuery { query, .. } = event else { return };
            let query = query.to_string();
            // A new connection of the pool executes SET first. This statement does not count.
            if !query.starts_with("SET") {
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
async fn the_statement_count_of_a_search_does_not_depend_on_the_number_of_results() {
    count_statements();
    let database = TestDatabase::new().await;
    let settings = Node::config(&[]);
    let pool = Database::connect(&database.url, &settings.postgres).await.unwrap();
    let node = Node::build().quiet().start_on(&database).await;
    let ada = node.register("ada").await;
    let query = "{ searchMessages(query: \"hello\") { nodes { body sender { username } conversation { title } } } }";
    let mut costs = Vec::new();
    for found in [1, 20] {
        for place in costs.len()..found {
            let other = node.register("other").await;
            let group = ada.create_group(&format!("Group {place}"), &[&other]).await;
            other.send(&group, "hello").await;
        }
        // The rebuild ends before the statements are counted. A second node could still execute some.
        search_indexer::rebuild(&pool, &Random::system(), &settings.log, |_| {}).await.unwrap();
        costs.push(statements_of(&ada, query).await);
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0] <= 4, "{costs:?}");
}

#[tokio::test]
async fn the_statement_count_of_a_conversation_list_does_not_depend_on_the_length_of_the_list() {
    count_statements();
    let node = Node::build().quiet().start_alone().await;
    let ada = node.register("ada").await;
    let query = "{ viewer { conversations(first: 20) { nodes {
        title createdBy { username } viewerMembership { unreadCount lastReadMessage { body } }
        lastMessage { body sender { username } }
        participants(first: 10) { nodes { role user { username presence { status lastSeenAt } } } }
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
    // The expected statements, one each: the viewer, the list, creators, last messages, read messages, participants,
    // pages of messages, users of all of these, permissions to see presence, and the times when the users were last
    // seen.
    assert_eq!(twenty, 10);
}

#[tokio::test]
async fn the_statement_count_of_a_message_page_does_not_depend_on_attachments() {
    count_statements();
    let node = Node::build().quiet().start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Files", &[]).await;
    let query = format!(
        "{{ conversation(id: \"{group}\") {{ messages(last: 20) {{ nodes {{
            attachments {{ fileName url thumbnailUrl }} sender {{ avatar {{ url }} }}
        }} }} }} }}"
    );
    ada.send(&group, "text").await;
    let without = statements_of(&ada, &query).await;
    let avatar = ada.upload("a.jpg", "image/jpeg", &crate::support::picture(20, 20)).await["id"].clone();
    let update = "mutation ($id: ID!) { updateProfile(input: {avatarId: $id}) { viewer { id } } }";
    ada.query(update, json!({"id": avatar})).await;
    let mut costs = Vec::new();
    for more in [1, 9] {
        for _ in 0..more {
            let (one, two) = (ada.upload_note("one").await, ada.upload_note("two").await);
            ada.send_with(&group, None, &[&one, &two]).await;
        }
        costs.push(statements_of(&ada, &query).await);
    }
    assert_eq!(costs, [without + 2, without + 2], "one statement for attachments, and one for avatars");
}

#[tokio::test]
async fn the_statement_count_of_a_message_page_does_not_depend_on_replies_reactions_and_pins() {
    count_statements();
    let node = Node::build().quiet().start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Busy", &[]).await;
    let query = format!(
        "{{ conversation(id: \"{group}\") {{
            messages(last: 20) {{ nodes {{
                replyTo {{ body }}
                reactions {{ emoji count viewerHasReacted users(first: 2) {{ nodes {{ username }} }} }}
            }} }}
            pinnedMessages {{ nodes {{ number reactions {{ emoji viewerHasReacted }} }} }}
        }} }}"
    );
    let first = ada.send(&group, "the first").await;
    let message = async || {
        let send = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
        let input = json!({"conversationId": group, "body": "answer", "replyToId": first["id"]});
        let id = ada.query(send, json!({"input": input})).await["sendMessage"]["message"]["id"].clone();
        let change = "mutation ($id: ID!) {
            a: addReaction(input: {messageId: $id, emoji: \"👍\"}) { message { id } }
            b: addReaction(input: {messageId: $id, emoji: \"🎉\"}) { message { id } }
            pinMessage(input: {messageId: $id}) { message { id } }
        }";
        ada.query(change, json!({"id": id})).await;
    };
    message().await;
    let one = statements_of(&ada, &query).await;
    for _ in 0..8 {
        message().await;
    }
    let many = statements_of(&ada, &query).await;
    assert_eq!(one, many);
    // The expected statements, one each: the conversation, the page of messages, pins, messages in `replyTo`,
    // reactions, users who reacted, and the viewer's own reactions.
    assert_eq!(many, 7);
}

/// A cancelled query starts no further statements. A statement that is already running is not cancelled.
#[tokio::test]
async fn a_query_starts_no_statement_after_its_timeout() {
    count_statements();
    let database = TestDatabase::new().await;
    let node = Node::build().quiet().flag("--operation-timeout=5").start_on(&database).await;
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
    // If the query continued, it would load the senders during these requests.
    for _ in 0..20 {
        ada.query("{ viewer { id } }", json!({})).await;
    }
    assert_eq!(STATEMENTS.load(Ordering::SeqCst) - before, 1 + 20, "the COMMIT, and one statement per request");
}

/// Runs `work` and returns the number of statements and the result. The caller must ensure that no other work executes
/// statements.
async fn statements_while<T>(work: impl Future<Output = T>) -> (usize, T) {
    let before = STATEMENTS.load(Ordering::SeqCst);
    let result = work.await;
    (STATEMENTS.load(Ordering::SeqCst) - before, result)
}

#[tokio::test]
async fn waiting_requests_are_stored_in_one_batch_of_few_statements() {
    const DELIVERED: &str = "mutation ($id: ID!) { markDelivered(input: {messageId: $id}) { conversation { id } } }";
    const READ: &str = "mutation ($id: ID!) { markRead(input: {messageId: $id}) { conversation { id } } }";
    const SEND: &str =
        "mutation ($id: ID!) { sendMessage(input: {conversationId: $id, body: \"hello\"}) { message { id } } }";

    count_statements();
    let database = TestDatabase::new().await;
    let node = Node::build().quiet().start_on(&database).await;
    let ada = node.register("ada").await;
    let users = node.register_many(10).await;
    // The first request of each session reads the session from Postgres. Later requests do not.
    join_all(users.iter().map(|user| user.query("{ viewer { id } }", json!({})))).await;
    let group = ada.create_group("Group", &users.iter().collect::<Vec<_>>()).await;
    let message = ada.send(&group, "one").await;
    let id = json!({"id": message["id"]});

    // The expected statements, one each: BEGIN, the lock of the conversation, participants, the insert, the log,
    // COMMIT.
    assert_eq!(statements_while(ada.query(SEND, json!({"id": group}))).await.0, 6);
    // The expected statements, one each: BEGIN, the conversation of the message, the lock, participants, the watermark,
    // the log, COMMIT.
    assert_eq!(statements_while(ada.query(READ, id.clone())).await.0, 7);
    // Receipts that do not move a watermark append no event to the log.
    assert_eq!(statements_while(ada.query(READ, id.clone())).await.0, 6);
    assert_eq!(statements_while(ada.query(DELIVERED, id.clone())).await.0, 6);

    // While the test holds the lock of the conversation, the writer waits with one request, and all other requests are
    // queued.
    let mut lock = database.connection().await;
    lock.batch_execute("BEGIN; SELECT 1 FROM conversations FOR UPDATE").await.unwrap();
    let before = STATEMENTS.load(Ordering::SeqCst);
    let first = ada.query(SEND, json!({"id": group}));
    let others = async {
        eventually("the writer waits", async || STATEMENTS.load(Ordering::SeqCst) == before + 3).await;
        let requests = join_all((0..99).map(|i| match i / users.len() % 3 {
            0 => users[i % users.len()].query(READ, id.clone()),
            1 => users[i % users.len()].query(DELIVERED, id.clone()),
            _ => users[i % users.len()].query(SEND, json!({"id": group})),
        }));
        let release = async {
            let queued = async || node.app.metrics().text().contains("parlance_writer_queue_length 99\n");
            eventually("the other requests are queued", queued).await;
            lock.batch_execute("COMMIT").await.unwrap();
        };
        tokio::join!(requests, release)
    };
    let (statements, _) = statements_while(async { tokio::join!(first, others) }).await;
    // 1 statement for the COMMIT of the test, and 6 for the first message. 8 for the batch of all other requests:
    // BEGIN, the conversations of the messages, the lock, participants, the insert, the watermarks, the log, COMMIT.
    assert_eq!(statements, 1 + 6 + 8);
}

/// A single statement loads, for all groups of the request, up to which number messages are hidden from the viewer.
#[tokio::test]
async fn the_statement_count_of_hidden_history_does_not_depend_on_the_number_of_groups() {
    count_statements();
    let node = Node::build().quiet().start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let joined = async |place: usize| {
        let group = ada.create_group(&format!("Group {place}"), &[]).await;
        ada.update_group(&group, json!({"historyVisible": false})).await.data();
        for _ in 0..place {
            ada.send(&group, "before").await;
        }
        ada.add_participants(&group, &[&bob]).await.data();
        group
    };
    let mut groups = vec![joined(1).await];
    let list = "{ viewer { conversations(first: 20) { nodes { messages(last: 3) { nodes { number } } } } } }";
    let nodes = |groups: &[String]| {
        format!(
            "{{ nodes(ids: {groups:?}) {{ ... on Conversation {{ messages(last: 3) {{ nodes {{ number }} }} }} }} }}"
        )
    };
    // The first request also reads the session from Postgres.
    statements_of(&bob, list).await;
    let one = (statements_of(&bob, list).await, statements_of(&bob, &nodes(&groups)).await);
    for place in 2..10 {
        groups.push(joined(place).await);
    }
    assert_eq!((statements_of(&bob, list).await, statements_of(&bob, &nodes(&groups)).await), one);
}

#[tokio::test]
async fn mentions_add_few_statements_to_sending_a_message_and_reading_a_page() {
    count_statements();
    let node = Node::build().quiet().start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Mentions", &[&bob]).await;
    let named = format!("hello @{}", bob.username);
    for user in [&ada, &bob] {
        user.query("{ viewer { id } }", json!({})).await;
    }
    // Without mentions: BEGIN, the lock, participants, the insert, the log, COMMIT, and the sender for the response.
    for (body, statements) in [("hello", 7), ("hello @nobody", 8), ("hello @all", 8), (&named, 9), ("a@b.example", 7)] {
        assert_eq!(statements_while(ada.send(&group, body)).await.0, statements, "{body}");
    }
    let query = "query ($id: ID!) { conversation(id: $id) {
        messages(last: 50) { nodes { number status mentions { username } mentionsAll } }
        participants { nodes { lastReadNumber } }
    } }";
    let (few, _) = statements_while(ada.query(query, json!({"id": group}))).await;
    for user in [&ada, &bob].iter().cycle().take(30) {
        user.send(&group, &named).await;
    }
    let (many, _) = statements_while(ada.query(query, json!({"id": group}))).await;
    // The expected statements, one each: the conversation, messages, participants, mentions, watermarks, and users with
    // read receipts turned off.
    assert_eq!((few, many), (6, 6));
}
