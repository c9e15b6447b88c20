//! The search index follows the log: changes of messages, dead nodes, lost events and rebuilds.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use parlance::domain::messaging::search_indexer;
use parlance::random::Random;
use parlance::store::Database;
use serde_json::json;

use crate::support::{ALLOWANCE, Node, TestDatabase, User, eventually, eventually_within};

/// Searches without waiting for the index.
async fn found_now(user: &User, query: &str) -> Vec<String> {
    let search = "query ($query: String!) { searchMessages(query: $query) { nodes { body } } }";
    let data = user.query(search, json!({"query": query})).await;
    let nodes = data["searchMessages"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["body"].as_str().unwrap().to_owned()).collect()
}

async fn found(user: &User, query: &str) -> Vec<String> {
    user.indexed().await;
    found_now(user, query).await
}

/// Starts a node that does not index messages during the test.
async fn node_without_index(database: &TestDatabase) -> Node {
    Node::build().flag("--consumer-interval=60000").start_on(database).await
}

#[tokio::test]
async fn a_message_is_found_within_a_second() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for body in ["first tickets", "second tickets"] {
        ada.send(&conversation, body).await;
        let limit = Duration::from_secs(1) + ALLOWANCE;
        eventually_within(limit, body, async || found_now(&bob, body).await == [body]).await;
    }
}

#[tokio::test]
async fn the_index_follows_edits_deletions_and_expiry() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let (edited, deleted) = (ada.send(&conversation, "apples").await, ada.send(&conversation, "pears").await);
    assert_eq!(found(&bob, "apples").await, ["apples"]);
    ada.edit(&edited, "plums").await.data();
    ada.delete(&deleted).await.data();
    assert_eq!(found(&bob, "apples").await, [""; 0]);
    assert_eq!(found(&bob, "plums").await, ["plums"]);
    assert_eq!(found(&bob, "pears").await, [""; 0]);

    let send = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    let input = json!({"conversationId": conversation, "body": "cherries", "expiresIn": 5});
    ada.query(send, json!({"input": input})).await;
    assert_eq!(found(&bob, "cherries").await, ["cherries"]);
    eventually("the message expires", async || found(&bob, "cherries").await.is_empty()).await;
}

#[tokio::test]
async fn messages_of_a_blocked_sender_are_indexed_for_the_sender_only() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    bob.query("mutation ($id: ID!) { blockUser(input: {userId: $id}) { __typename } }", json!({"id": ada.id})).await;
    ada.send(&conversation, "hidden words").await;
    assert_eq!(found(&ada, "hidden").await, ["hidden words"]);
    assert_eq!(found(&bob, "hidden").await, [""; 0]);
}

#[tokio::test]
async fn another_node_indexes_messages_after_the_indexing_node_dies() {
    let database = TestDatabase::new().await;
    let one = Node::build().start_on(&database).await;
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    ada.send(&conversation, "before").await;
    assert_eq!(found(&bob, "before").await, ["before"]);
    let two = Node::build().start_on(&database).await;
    let (ada, bob) = (ada.on(&two), bob.on(&two));
    drop(one);
    ada.send(&conversation, "after").await;
    assert_eq!(found(&bob, "after").await, ["after"]);
}

#[tokio::test]
async fn a_node_indexes_what_was_sent_while_no_node_indexed() {
    let database = TestDatabase::new().await;
    let idle = node_without_index(&database).await;
    let (ada, bob) = (idle.register("ada").await, idle.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    // More than two batches.
    for number in 0..1100 {
        ada.send(&conversation, &format!("ticket {number}")).await;
    }
    assert_eq!(found_now(&bob, "ticket").await, [""; 0]);
    let node = Node::build().start_on(&database).await;
    let bob = bob.on(&node);
    for number in [0, 499, 500, 1099] {
        assert_eq!(found(&bob, &format!("ticket {number}")).await[..], [format!("ticket {number}")]);
    }
}

#[tokio::test]
async fn the_index_is_rebuilt_if_events_were_dropped_before_they_were_handled() {
    let database = TestDatabase::new().await;
    let idle = node_without_index(&database).await;
    let (ada, bob) = (idle.register("ada").await, idle.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    ada.send(&conversation, "lost event").await;
    // Stands for a partition that was dropped. No other rebuild is running.
    let dropped = "DELETE FROM events; UPDATE log_head SET forgotten = seq; UPDATE search_state SET rebuilding = NULL;
        INSERT INTO consumers (name, position) VALUES ('search', 0) ON CONFLICT (name) DO UPDATE SET position = 0";
    database.connection().await.batch_execute(dropped).await.unwrap();
    let node = Node::build().start_on(&database).await;
    assert_eq!(found(&bob.on(&node), "lost").await, ["lost event"]);
}

#[tokio::test]
async fn a_newer_text_analysis_rebuilds_the_index_at_the_start() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Łódź", &[&bob]).await;
    ada.send(&group, "old analysis").await;
    assert_eq!(found(&bob, "old").await, ["old analysis"]);
    drop(node);
    let older = "UPDATE search_state SET analysis = 0; DELETE FROM search_index;
        UPDATE conversations SET search_title = lower(title); UPDATE users SET search_name = ''";
    database.connection().await.batch_execute(older).await.unwrap();
    let node = Node::build().start_on(&database).await;
    let bob = bob.on(&node);
    eventually("the index is rebuilt", async || found(&bob, "old").await == ["old analysis"]).await;
    let listed = "{ viewer { conversations(filter: {titleContains: \"lodz\"}) { nodes { id } } } }";
    assert_eq!(bob.query(listed, json!({})).await["viewer"]["conversations"]["nodes"][0]["id"], group.as_str());
    let users = "query ($name: String!) { searchUsers(query: $name) { nodes { id } } }";
    let data = bob.query(users, json!({"name": ada.username})).await;
    assert_eq!(data["searchUsers"]["nodes"][0]["id"], ada.id.as_str());
}

#[tokio::test]
async fn a_rebuild_works_beside_a_running_node_and_without_one() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for number in 0..600 {
        ada.send(&conversation, &format!("ticket {number}")).await;
    }
    ada.indexed().await;
    let settings = Node::config(&[]);
    let pool = Database::connect(&database.url, &settings.postgres).await.unwrap();
    let rebuild = async || {
        let damage = "DELETE FROM search_index";
        database.connection().await.batch_execute(damage).await.unwrap();
        let mut left = Vec::new();
        search_indexer::rebuild(&pool, &Random::system(), &settings.log, |messages| left.push(messages)).await.unwrap();
        assert!(left.is_sorted_by(|earlier, later| earlier >= later), "{left:?}");
    };
    rebuild().await;
    assert_eq!(found(&bob, "ticket 599").await, ["ticket 599"]);
    drop(node);
    rebuild().await;
    let node = node_without_index(&database).await;
    assert_eq!(found(&bob.on(&node), "ticket 599").await, ["ticket 599"]);
}

#[tokio::test]
async fn the_lag_of_the_index_is_a_metric() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    ada.send(&conversation, "hello").await;
    eventually("the consumer reaches the head of the log", async || {
        let position = node.metric("parlance_consumer_position{consumer=\"search\"}").await;
        position > 0 && position == node.metric("parlance_log_position").await
    })
    .await;
}
