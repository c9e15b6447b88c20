//! Refresh tokens that are used more than once: by two tabs of a browser, by a retry, or by an attacker.

use std::sync::Arc;

use chrono::TimeDelta;
use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use futures_util::future::join_all;
use parlance::clock::Clock;
use parlance::log::MemoryBroker;
use serde_json::{Value, json};

use crate::support::{Answer, Node, TestDatabase, User};

async fn refresh(node: &Node, token: &str) -> Answer {
    let query = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) {
        accessToken accessTokenExpiresAt refreshToken refreshTokenExpiresAt session { id } viewer { user { id username } }
    } }";
    node.call(None, query, json!({"token": token})).await
}

async fn pair(node: &Node, token: &str) -> Value {
    refresh(node, token).await.data()["refreshSession"].clone()
}

fn refresh_token(pair: &Value) -> &str {
    pair["refreshToken"].as_str().unwrap()
}

async fn is_signed_in(user: &User) -> bool {
    user.call("{ viewer { id } }", json!({})).await.body.get("errors").is_none()
}

async fn tokens(database: &TestDatabase) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = diesel::sql_query("SELECT count(*) FROM refresh_tokens");
    query.get_result::<Count>(&mut database.connection().await).await.unwrap().count
}

/// Starts a node whose clock is `seconds` ahead.
async fn ahead(database: &TestDatabase, seconds: i64) -> Node {
    Node::build().clock(Clock::off_by(TimeDelta::seconds(seconds))).start_on(database).await
}

#[tokio::test]
async fn a_refresh_token_used_twice_within_ten_seconds_gives_the_same_pair() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let others = [ahead(&database, 5).await, Node::build().start_on(&database).await];
    let ada = node.register("ada").await;
    // The first use comes after the start of all nodes, because a start can take seconds.
    let first = pair(&node, &ada.refresh_token).await;
    assert_ne!(refresh_token(&first), ada.refresh_token);
    // Uses the token again at a node whose clock is 5 seconds ahead, at another node, and at the same node.
    for node in others.iter().chain([&node]) {
        assert_eq!(pair(node, &ada.refresh_token).await, first);
    }
    assert_eq!(tokens(&database).await, 2, "a repeated refresh inserts no row");
    let again = User::from_payload(&node, &first);
    assert!(is_signed_in(&again).await && is_signed_in(&ada).await);
    // The pair is valid.
    pair(&node, refresh_token(&first)).await;
}

#[tokio::test]
async fn parallel_refreshes_on_two_nodes_get_the_same_pair() {
    let database = TestDatabase::new().await;
    let broker = Arc::new(MemoryBroker::default());
    let nodes = [
        Node::build().broker(broker.clone()).start_on(&database).await,
        Node::build().broker(broker).start_on(&database).await,
    ];
    let ada = nodes[0].register("ada").await;
    let pairs = join_all((0..16).map(|place| pair(&nodes[place % 2], &ada.refresh_token))).await;
    assert!(pairs.iter().all(|pair| *pair == pairs[0]), "{pairs:#?}");
    assert_eq!(tokens(&database).await, 2);
    assert!(is_signed_in(&User::from_payload(&nodes[1], &pairs[0])).await);
}

#[tokio::test]
async fn a_refresh_token_used_again_after_ten_seconds_ends_the_session() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let first = pair(&node, &ada.refresh_token).await;
    let late = ahead(&database, 11).await;
    assert_eq!(refresh(&late, &ada.refresh_token).await.code(), "UNAUTHENTICATED");
    assert_eq!(refresh(&late, refresh_token(&first)).await.code(), "UNAUTHENTICATED");
    assert_eq!(refresh(&node, &ada.refresh_token).await.code(), "UNAUTHENTICATED", "the session stays revoked");
    assert!(!is_signed_in(&ada.on(&late)).await);
}

/// A browser tab whose token is two refreshes old gets the newest pair. With an older pair, the next refresh of the tab
/// would end the session.
#[tokio::test]
async fn a_refresh_token_whose_successor_was_used_gives_the_newest_pair() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let first = pair(&node, &ada.refresh_token).await;
    let second = pair(&node, refresh_token(&first)).await;
    let third = pair(&node, refresh_token(&second)).await;
    for token in [&ada.refresh_token, refresh_token(&first), refresh_token(&second)] {
        assert_eq!(pair(&node, token).await, third);
    }
    assert_eq!(tokens(&database).await, 4);
    // Only the time since the first use of a token matters, not the time since the first use of its successor.
    let late = ahead(&database, 11).await;
    let fourth = pair(&late, refresh_token(&third)).await;
    assert_eq!(pair(&late, refresh_token(&third)).await, fourth);
    assert_eq!(refresh(&late, refresh_token(&second)).await.code(), "UNAUTHENTICATED");
    assert_eq!(refresh(&late, refresh_token(&fourth)).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn salts_of_older_token_pairs_are_deleted() {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let first = pair(&node, &ada.refresh_token).await;
    let late = ahead(&database, 20).await;
    pair(&late, refresh_token(&first)).await;
    let query = diesel::sql_query("SELECT count(*) FROM refresh_tokens WHERE successor_salt IS NOT NULL");
    let salts = query.get_result::<Count>(&mut database.connection().await).await.unwrap().count;
    assert_eq!(salts, 1, "only the token that was used last keeps its salt");
}

#[tokio::test]
async fn a_revoked_session_gets_no_new_tokens() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let first = User::from_payload(&node, &pair(&node, &ada.refresh_token).await);
    first.query("mutation { logout { sessionId } }", json!({})).await;
    assert_eq!(refresh(&node, &ada.refresh_token).await.code(), "UNAUTHENTICATED");
    assert_eq!(refresh(&node, &first.refresh_token).await.code(), "UNAUTHENTICATED");
}
