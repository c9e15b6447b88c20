//! The messages of errors name the next step.

use chrono::TimeDelta;
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, Socket, TestDatabase, User, http};

const VIEWER: &str = "{ viewer { id } }";
const REFRESH: &str =
    "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) { accessToken refreshToken } }";

/// Asserts that the first error has this code, and that its message contains each of the texts.
fn assert_names(body: &Value, code: &str, texts: &[&str]) {
    assert_eq!(body["errors"][0]["extensions"]["code"], code, "{body}");
    let message = body["errors"][0]["message"].as_str().unwrap();
    for text in texts {
        assert!(message.contains(text), "{text} in {message}");
    }
}

#[tokio::test]
async fn without_a_token_the_error_says_how_to_send_it() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let expected = ["`Authorization: Bearer …`", "`connection_init`", "`login`"];
    let body = json!({"query": VIEWER});
    for request in [
        http::post(&node, &body),
        http::post(&node, &body).header("authorization", &ada.access_token),
        http::post(&node, &body).header("authorization", "Bearer"),
        http::post(&node, &body).basic_auth("ada", Some(PASSWORD)),
        http::post(&node, &json!({"query": "mutation { logout { sessionId } }"})),
        http::get(&node, &[("query", VIEWER)]).header("apollo-require-preflight", "true"),
    ] {
        assert_names(&http::send(request).await.1, "UNAUTHENTICATED", &expected);
    }
    for init in [json!({"type": "connection_init"}), json!({"type": "connection_init", "payload": {}})] {
        for query in [VIEWER, "subscription { inbox { __typename } }"] {
            let (mut socket, _) = Socket::offering(&node.url("/graphql"), "graphql-transport-ws").await;
            socket.send(init.clone()).await;
            assert_eq!(socket.receive().await["type"], "connection_ack");
            socket.send(json!({"type": "subscribe", "id": "1", "payload": {"query": query}})).await;
            let answer = socket.receive().await;
            let errors = answer["payload"].get("errors").unwrap_or(&answer["payload"]);
            assert_names(&json!({"errors": errors}), "UNAUTHENTICATED", &expected);
        }
    }
}

#[tokio::test]
async fn for_an_invalid_or_expired_access_token_the_error_says_to_refresh() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let expected = ["`refreshSession`", "`login`"];
    for token in ["x", "a.b.c", &format!("{}x", ada.access_token), &ada.refresh_token] {
        assert_names(&node.call(Some(token), VIEWER, json!({})).await.body, "UNAUTHENTICATED", &expected);
    }
    let later = Node::build().clock(Clock::off_by(TimeDelta::seconds(901))).start_on(&database).await;
    assert_names(&ada.on(&later).call(VIEWER, json!({})).await.body, "UNAUTHENTICATED", &expected);
}

#[tokio::test]
async fn after_the_end_of_a_session_the_errors_say_to_log_in() {
    let node = Node::start().await;
    let phone = node.register("ada").await;
    let laptop = User::login(&node, &phone.username, PASSWORD).await;
    phone.query("mutation { revokeOtherSessions { sessionIds } }", json!({})).await;
    assert_names(&laptop.call(VIEWER, json!({})).await.body, "UNAUTHENTICATED", &["session has ended", "`login`"]);
    for token in ["", "parlance_rt_x", &laptop.refresh_token, &"x".repeat(1000)] {
        let answer = node.call(None, REFRESH, json!({"token": token})).await;
        assert_names(&answer.body, "UNAUTHENTICATED", &["refresh token", "`login`"]);
    }
}

#[tokio::test]
async fn a_wrong_password_or_name_says_what_to_check() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let login = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
    for (name, password) in [(ada.username.as_str(), "not her password"), ("nobody_has_this_name", PASSWORD)] {
        let answer = node.call(None, login, json!({"input": {"identifier": name, "password": password}})).await;
        assert_names(&answer.body, "UNAUTHENTICATED", &["name or the password", "`register`"]);
    }
}

#[tokio::test]
async fn a_rate_limit_says_how_long_to_wait() {
    for (flag, query, waits) in [
        ("--rate-operations=1/1h", "{ serverInfo { version } }", " minutes."),
        ("--rate-requests=1/1m", "{ serverInfo { version } }", " seconds."),
        ("--rate-operations=1/10d", "{ serverInfo { version } }", " hours."),
    ] {
        let node = Node::build().limited().flag(flag).start_alone().await;
        node.call(None, query, json!({})).await;
        let answer = node.call(None, query, json!({})).await;
        assert_names(&answer.body, "RATE_LIMITED", &["Try again in ", waits]);
    }
}
