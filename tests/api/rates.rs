//! Rate limits of users and addresses, on one node and on several nodes.

mod passwords;

use std::time::Duration;

use parlance::config::SITE_ALLOWANCE;
use parlance::limiter::{Key, Rate};
use reqwest::header::RETRY_AFTER;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use passwords::{FIRST_WAIT, REDIS_BACKOFF, try_login};

use crate::support::{ALLOWANCE, Node, NodeBuilder, PASSWORD, Redis, TestDatabase, User, http};

/// Returns a builder of a node with rate limits turned on and with these flags.
fn limited(flags: &[&str]) -> NodeBuilder {
    flags.iter().fold(Node::build().limited(), |node, flag| node.flag(flag))
}

/// Asserts that the error is RATE_LIMITED, and returns its `extensions.limit` and `extensions.retryAfter` (seconds).
#[track_caller]
fn exceeded(body: &Value) -> (&str, u64) {
    let extensions = &body["errors"][0]["extensions"];
    assert_eq!(extensions["code"], "RATE_LIMITED", "{body:#}");
    (extensions["limit"].as_str().unwrap(), extensions["retryAfter"].as_u64().unwrap())
}

#[tokio::test]
async fn a_rate_limited_request_gets_429_and_retry_after() {
    let node = limited(&["--rate-messages=3/1m"]).start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for body in ["one", "two", "three"] {
        ada.send(&conversation, body).await;
    }
    let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    let body = json!({"query": query, "variables": {"input": {"conversationId": conversation, "body": "four"}}});
    for accept in ["application/graphql-response+json", "application/json"] {
        let request = http::post(&node, &body).bearer_auth(&ada.access_token).header("accept", accept);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 429, "{accept}");
        let retry_after: u64 = response.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
        let body: Value = response.json().await.unwrap();
        assert_eq!(exceeded(&body), ("RATE_MESSAGES", retry_after));
        assert!((1..=20).contains(&retry_after), "{retry_after}");
    }
    // The limit does not affect other users.
    bob.send(&conversation, "me too").await;
}

#[tokio::test]
async fn a_partly_executed_operation_gets_status_200() {
    let node = limited(&["--rate-messages=1/1m"]).start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let query = "mutation ($id: ID!) {
        setTyping(input: {conversationId: $id, typing: true}) { conversationId }
        sendMessage(input: {conversationId: $id, body: \"one\"}) { message { id } }
    }";
    assert_eq!(ada.call(query, json!({"id": conversation})).await.status, 200);
}

const CREATE_INVITE: &str = "mutation ($id: ID!) { createInvite(input: {conversationId: $id}) { invite { code } } }";

/// Ids and other values that the actions use as arguments.
struct Subjects {
    conversation: String,
    group: String,
    message: Value,
    invite_code: Value,
    other: String,
}

/// An action that a rate limit counts: the setting, how often the action is allowed, the query and its variables.
type Action = (&'static str, usize, &'static str, Value);

fn actions(subjects: &Subjects) -> Vec<Action> {
    let Subjects { conversation, group, message, invite_code: code, other } = subjects;
    let upload = json!({"fileName": "a.txt", "contentType": "text/plain", "byteSize": 1});
    vec![
        (
            "RATE_FORWARDS",
            2,
            "mutation ($message: ID!, $to: [ID!]!) {
                forwardMessages(input: {messageIds: [$message], conversationIds: $to}) { messages { id } }
            }",
            json!({"message": message, "to": [conversation, group]}),
        ),
        (
            "RATE_EDITS",
            2,
            "mutation ($message: ID!) { editMessage(input: {messageId: $message, body: \"bye\"}) { message { id } } }",
            json!({"message": message}),
        ),
        (
            "RATE_REACTIONS",
            2,
            "mutation ($message: ID!) { addReaction(input: {messageId: $message, emoji: \"👍\"}) { message { id } } }",
            json!({"message": message}),
        ),
        (
            "RATE_ANNOUNCEMENTS",
            2,
            "mutation ($id: ID!) { setTyping(input: {conversationId: $id, typing: true}) { conversationId } }",
            json!({"id": conversation}),
        ),
        (
            "RATE_GROUPS",
            4,
            "mutation { createGroup(input: {title: \"Group\", participantIds: []}) { conversation { id } } }",
            json!({}),
        ),
        (
            "RATE_ADDITIONS",
            3,
            "mutation ($id: ID!, $user: ID!) {
                addParticipants(input: {conversationId: $id, userIds: [$user]}) { conversation { id } }
            }",
            json!({"id": group, "user": other}),
        ),
        (
            "RATE_CONTACT_REQUESTS",
            2,
            "mutation ($user: ID!) { sendContactRequest(input: {userId: $user}) { __typename } }",
            json!({"user": other}),
        ),
        ("RATE_INVITES", 2, CREATE_INVITE, json!({"id": group})),
        (
            "RATE_JOINS",
            2,
            "mutation ($code: String!) { joinByInvite(input: {code: $code}) { conversation { id } } }",
            json!({"code": code}),
        ),
        (
            "RATE_UPLOADS",
            2,
            "mutation ($upload: CreateUploadInput!) { createUpload(input: $upload) { attachment { id } } }",
            json!({"upload": upload}),
        ),
        ("RATE_SEARCHES", 2, "{ searchMessages(query: \"hello\") { nodes { id } } }", json!({})),
        ("RATE_CHANGES", 2, "mutation { updateProfile(input: {about: \"Hi\"}) { viewer { user { id } } } }", json!({})),
    ]
}

/// An action is allowed as often as its rate limit permits, and is then rejected.
#[tokio::test]
async fn each_rate_limit_of_a_user_counts_only_the_actions_that_it_limits() {
    let node = limited(&[
        "--rate-forwards=4/1h",
        "--rate-edits=2/1h",
        "--rate-reactions=2/1h",
        "--rate-announcements=2/1h",
        "--rate-groups=5/1h",
        "--rate-direct-conversations=2/1h",
        "--rate-additions=6/1h",
        "--rate-contact-requests=2/1h",
        "--rate-invites=3/1h",
        "--rate-joins=2/1h",
        "--rate-uploads=2/1h",
        "--rate-searches=2/1h",
        "--rate-changes=2/1h",
    ])
    .start_alone()
    .await;
    let ada = node.register("ada").await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(node.register("other").await);
    }
    let conversation = ada.open_direct(&others[0]).await;
    let message = ada.send(&conversation, "hello").await["id"].clone();
    // This group uses three of the six additions that RATE_ADDITIONS allows.
    let group = ada.create_group("Group", &[&others[0], &others[1], &others[2]]).await;
    let other = others[1].id.as_str();
    let bob = &others[2];
    let code = ada.query(CREATE_INVITE, json!({"id": group})).await["createInvite"]["invite"]["code"].clone();
    let subjects = Subjects { conversation, group, message, invite_code: code, other: other.to_owned() };
    for (rate, allowed, query, variables) in actions(&subjects) {
        // Bob is a participant already, so his join changes nothing, but counts against the limit.
        let who = if rate == "RATE_JOINS" { bob } else { &ada };
        for _ in 0..allowed {
            let answer = who.call(query, variables.clone()).await;
            assert!(answer.body.get("errors").is_none(), "{rate}: {:#}", answer.body);
        }
        let answer = who.call(query, variables).await;
        assert_eq!(exceeded(&answer.body).0, rate, "{:#}", answer.body);
    }
    // Two direct conversations are allowed. Ada has opened the first one above.
    bob.open_direct(&others[1]).await;
    ada.open_direct(&others[1]).await;
    let third = ada.call(
        "mutation ($id: ID!) { openDirectConversation(input: {userId: $id}) { conversation { id } } }",
        json!({"id": bob.id}),
    );
    assert_eq!(exceeded(&third.await.body).0, "RATE_DIRECT_CONVERSATIONS");
    // Opening a conversation that exists is not counted.
    ada.open_direct(&others[0]).await;
}

#[tokio::test]
async fn the_rates_of_requests_operations_and_cost_are_limited() {
    let node = limited(&["--rate-requests=20/1h", "--rate-operations=6/1h", "--rate-cost=300/1h"]).start_alone().await;
    let ada = node.register("ada").await;
    let list = "{ viewer { conversations(first: 40) { nodes { id title } } } }";
    assert_eq!(ada.call(list, json!({})).await.status, 200);
    assert_eq!(ada.call(list, json!({})).await.status, 200);
    let answer = ada.call(list, json!({})).await;
    assert_eq!((answer.status, exceeded(&answer.body).0), (429, "RATE_COST"));
    // Cheap operations are executed until RATE_OPERATIONS is reached.
    for _ in 0..3 {
        assert_eq!(ada.call("{ serverInfo { version } }", json!({})).await.status, 200);
    }
    let answer = ada.call("{ serverInfo { version } }", json!({})).await;
    assert_eq!((answer.status, exceeded(&answer.body).0), (429, "RATE_OPERATIONS"));
    // Operations of a socket count too. The socket stays open.
    let mut socket = ada.socket().await;
    socket.subscribe("1", "{ serverInfo { version } }", json!({})).await;
    let error = socket.receive().await;
    assert_eq!(error["type"], "error", "{error:#}");
    assert_eq!(error["payload"][0]["extensions"]["limit"], "RATE_OPERATIONS");
    // All clients of an address share one count.
    let mut refused = None;
    for _ in 0..20 {
        let answer = node.call(None, "{ serverInfo { version } }", json!({})).await;
        if answer.status == 429 {
            refused = Some(exceeded(&answer.body).0.to_owned());
        }
    }
    assert_eq!(refused.as_deref(), Some("RATE_REQUESTS"));
}

#[tokio::test]
async fn registrations_are_limited_by_network() {
    let node = limited(&["--rate-registrations=2/1h", "--trusted-proxies=loopback"]).start_alone().await;
    let query = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }";
    let register = async |name: &str, password: &str, address: &str| {
        let variables = json!({"input": {"username": name, "password": password}});
        let body = json!({"query": query, "variables": variables});
        http::send(http::post(&node, &body).header("x-forwarded-for", address)).await
    };
    // A registration with invalid input does not count.
    for _ in 0..3 {
        assert_ne!(register("!", PASSWORD, "2001:db8::1").await.0, 429);
    }
    assert_eq!(register("ada", PASSWORD, "2001:db8::1").await.0, 200);
    assert_eq!(register("bob", PASSWORD, "2001:db8::2").await.0, 200);
    // This address is in the same /64.
    let (status, body) = register("eve", PASSWORD, "2001:db8::ffff:3").await;
    assert_eq!((status, exceeded(&body).0), (429, "RATE_REGISTRATIONS"));
    assert_eq!(register("eve", PASSWORD, "2001:db8:0:1::3").await.0, 200);
}

/// A client that rents a site of IPv6, a /48, has 65,536 networks of 64 bits.
#[tokio::test]
async fn registrations_from_the_networks_of_one_site_are_limited() {
    let node = limited(&["--rate-registrations=1/1h", "--trusted-proxies=loopback"]).start_alone().await;
    let register = async |name: &str, address: &str| {
        let query = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }";
        let variables = json!({"input": {"username": name, "password": PASSWORD}});
        let body = json!({"query": query, "variables": variables});
        http::send(http::post(&node, &body).header("x-forwarded-for", address)).await
    };
    for number in 0..SITE_ALLOWANCE {
        let (status, body) = register(&format!("user_{number}"), &format!("2001:db8:1:{number:x}::1")).await;
        assert_eq!(status, 200, "{body:#}");
    }
    let (status, body) = register("eve", "2001:db8:1:ffff::1").await;
    assert_eq!((status, exceeded(&body).0), (429, "RATE_REGISTRATIONS"));
    // Another site and an IPv4 address have allowances of their own.
    assert_eq!(register("eve", "2001:db8:2::1").await.0, 200);
    assert_eq!(register("bob", "203.0.113.7").await.0, 200);
}

#[tokio::test]
async fn rate_limits_can_be_turned_off() {
    let node = limited(&["--rate-messages=1/1h", "--rate-requests=1/1h", "--rate-limits=off"]).start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for _ in 0..3 {
        ada.send(&conversation, "again").await;
    }
    let node = limited(&["--rate-messages=off"]).start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for _ in 0..3 {
        ada.send(&conversation, "again").await;
    }
}

/// Sends messages until one is rate limited, and returns how many were sent.
async fn send_until_refused(user: &User, conversation: &str) -> usize {
    for sent in 0..100 {
        let answer = user.try_send(conversation, "again", None).await;
        if answer.status == 429 {
            return sent;
        }
        answer.data();
    }
    panic!("no message was rate limited");
}

#[tokio::test]
async fn nodes_share_the_counts_of_rate_limits() {
    let database = TestDatabase::new().await;
    let start = async || limited(&["--rate-messages=10/1h"]).redis(&database.name).await.start_on(&database).await;
    let (one, other) = (start().await, start().await);
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for _ in 0..7 {
        ada.send(&conversation, "hello").await;
    }
    // Nodes exchange their counts every 20 ms. A test cannot observe the exchange, so it waits.
    sleep(ALLOWANCE).await;
    let on_other = ada.on(&other);
    on_other.send(&conversation, "hello").await;
    sleep(ALLOWANCE).await;
    assert_eq!(send_until_refused(&on_other, &conversation).await, 2);
    assert_eq!(ada.try_send(&conversation, "hello", None).await.status, 200, "this node does not know of them yet");
    sleep(ALLOWANCE).await;
    assert_eq!(ada.try_send(&conversation, "hello", None).await.status, 429);
}

/// Several counts at once notify the exchange more often than there are exchanges. A node then exchanged no counts, and
/// considered the error as a failure of Redis.
#[tokio::test]
async fn several_counts_at_once_do_not_interrupt_the_sharing() {
    let database = TestDatabase::new().await;
    let node = limited(&[]).redis(&database.name).await.start_on(&database).await;
    let limiter = node.app.limiter();
    // On a machine under load, Redis may answer late in some rounds.
    for _ in 0..5 {
        for _ in 0..3 {
            limiter.check(Rate::Messages, Key::Name([0; 16]), 1).unwrap();
        }
        // A test cannot observe an exchange without counts, so it waits.
        sleep(ALLOWANCE).await;
        if limiter.is_shared() {
            return;
        }
        sleep(REDIS_BACKOFF).await;
    }
    panic!("the node uses its own counts");
}

#[tokio::test]
async fn a_node_limits_by_its_own_counts_while_redis_is_unavailable() {
    let database = TestDatabase::new().await;
    let mut redis = Redis::start().await;
    let node = limited(&["--rate-messages=5/1h", "--password-tries-per-account=2"])
        .limits_over(&redis.url(), &database.name)
        .start_on(&database)
        .await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    redis.kill().await;
    assert_eq!(send_until_refused(&ada, &conversation).await, 5);
    let begun = Instant::now();
    // The limit of the account allows two attempts. The separate limit of a network where the user is signed in allows
    // two more attempts. A further attempt has to wait at least for a second.
    let mut codes: Vec<String> = Vec::new();
    while codes.last().is_none_or(|code| code == "UNAUTHENTICATED") {
        codes.push(try_login(&node, &ada.username, "wrong").await.0);
        assert!(begun.elapsed() < Duration::from_secs(20), "{codes:?}");
    }
    assert_eq!(codes.last().unwrap(), "RATE_LIMITED");
    assert!(codes.len() == 5 || codes.len() > 5 && begun.elapsed() > FIRST_WAIT, "{codes:?}");
    redis.restart().await;
    // Messages sent while Redis was unavailable still count on this node.
    assert_eq!(ada.try_send(&conversation, "hello", None).await.status, 429);
    bob.send(&conversation, "hello").await;
}
