//! Floods: anonymous clients or accounts send as many requests as they can. The node still serves other users in time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{ALLOWANCE, Api, Node, User};

/// Maximum time that a flood may add to another user's `sendMessage`.
const BOUND: Duration = Duration::from_millis(500).saturating_add(ALLOWANCE);
/// How many times as long as before the flood a `sendMessage` may take, in addition to BOUND. The flood takes at most
/// its share of the processors, and other processes of the machine may need them too.
const FACTOR: u32 = 5;
/// Number of requests of a flood that are in flight at the same time.
const WIDTH: usize = 32;

/// A client with a separate address that sends as many requests as it can. The client stops when the value is dropped.
struct Flood(JoinSet<()>);

impl Flood {
    fn start(node: &Node, token: Option<&str>, query: &str, variables: &Value) -> Self {
        let (api, mut calls) = (Api::from_address(node, 2), JoinSet::new());
        for _ in 0..WIDTH {
            let (api, token) = (api.clone(), token.map(str::to_owned));
            let (query, variables) = (query.to_owned(), variables.clone());
            calls
                .spawn(async move { while api.try_call(token.as_deref(), &query, variables.clone()).await.is_ok() {} });
        }
        Self(calls)
    }

    /// Sends messages of a user while the flood runs. `usual` is the longest time of a message before the flood.
    async fn assert_delays_little(&mut self, user: &User, conversation: &str, usual: Duration) {
        let longest = longest_send(user, conversation).await;
        assert!(longest < BOUND + FACTOR * usual, "{longest:?} instead of {usual:?}");
        assert!(self.0.try_join_next().is_none(), "the flood ended");
    }
}

/// Sends messages, and returns the longest time that one of them took.
async fn longest_send(user: &User, conversation: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        user.send(conversation, "hello").await;
        longest = longest.max(begun.elapsed());
        // The pause spreads the messages over one second.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    longest
}

/// Starts a node. Returns the node, a user, the direct conversation of this user, and another user for a flood.
async fn start() -> (Node, User, String, User) {
    let node = Node::build().limited().start_alone().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let conversation = ada.open_direct(&bob).await;
    (node, ada, conversation, eve)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn costly_documents_of_one_account_do_not_delay_other_users() {
    let (node, ada, conversation, eve) = start().await;
    let group = eve.create_group("Group", &[]).await;
    for number in 0..50 {
        eve.send(&group, &format!("message {number}")).await;
    }
    let query = "{ viewer { conversations(first: 50) { nodes { id title messages(last: 100) { nodes {
        id number body createdAt status sender { id username displayName } reactionGroups { emoji count }
    } } } } } }";
    let usual = longest_send(&ada, &conversation).await;
    let mut flood = Flood::start(&node, Some(&eve.access_token), query, &json!({}));
    flood.assert_delays_little(&ada, &conversation, usual).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_account_do_not_delay_other_users() {
    let (node, ada, conversation, eve) = start().await;
    let group = eve.create_group("Group", &[]).await;
    let query = "mutation ($id: ID!) { sendMessage(input: {conversationId: $id, body: \"flood\"}) { message { id } } }";
    let usual = longest_send(&ada, &conversation).await;
    let mut flood = Flood::start(&node, Some(&eve.access_token), query, &json!({"id": group}));
    flood.assert_delays_little(&ada, &conversation, usual).await;
    // The flood continues while the node stops. The bound is DRAIN_DELAY + DRAIN_TIMEOUT.
    node.stop();
    let begun = Instant::now();
    node.stopped().await;
    assert!(begun.elapsed() < Duration::from_secs(21), "the shutdown took {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_an_anonymous_client_do_not_delay_users() {
    let (node, ada, conversation, _) = start().await;
    let usual = longest_send(&ada, &conversation).await;
    let invalid = format!("{{ {} }}", "a { b } ".repeat(400));
    for query in ["{ __schema { types { name fields { name type { name } } } } }", &invalid] {
        let mut flood = Flood::start(&node, None, query, &json!({}));
        flood.assert_delays_little(&ada, &conversation, usual).await;
    }
}
