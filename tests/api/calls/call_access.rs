//! Tokens for a call's room on a LiveKit server: their claims, and which devices get a token.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, User};

const URL: &str = "wss://livekit.example.org";
const SECRET: &str = "a secret that the LiveKit server shares";

async fn node() -> Node {
    let flags = [("url", URL), ("api-key", "APIparlance"), ("api-secret", SECRET)];
    let build =
        |builder: crate::support::NodeBuilder, (name, value)| builder.flag(&format!("--livekit-{name}={value}"));
    flags.into_iter().fold(Node::build(), build).start_alone().await
}

/// Starts a call that rings for all other participants. Returns its id.
async fn start_call(user: &User, conversation: &str) -> String {
    let query = "mutation ($input: StartCallInput!) { startCall(input: $input) { call { id } } }";
    let data = user.query(query, json!({"input": {"conversationId": conversation, "kind": "VIDEO"}})).await;
    data["startCall"]["call"]["id"].as_str().unwrap().to_owned()
}

async fn accept(user: &User, call: &str) -> Answer {
    let query = "mutation ($id: ID!) { acceptCall(input: {callId: $id}) { call { participants { sessionId } } } }";
    user.call(query, json!({"id": call})).await
}

async fn access(user: &User, call: &str) -> Answer {
    user.call("query ($id: ID!) { callAccess(callId: $id) { url token expiresAt } }", json!({"id": call})).await
}

/// Returns the claims of a token. Panics if the signature is wrong.
fn claims(token: &Value) -> Value {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_required_spec_claims(&["iss", "sub", "nbf", "exp"]);
    validation.set_issuer(&["APIparlance"]);
    validation.validate_nbf = true;
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::decode::<Value>(token.as_str().unwrap(), &key, &validation).unwrap().claims
}

#[tokio::test]
async fn a_token_has_the_claims_that_livekit_requires() {
    let node = node().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let rename = "mutation { updateProfile(input: {displayName: \"Ada L.\"}) { viewer { id } } }";
    ada.query(rename, json!({})).await;
    let call = start_call(&ada, &ada.open_direct(&bob).await).await;
    let before = Clock::system().now();
    let data = access(&ada, &call).await.data()["callAccess"].clone();
    assert_eq!(data["url"], URL);
    let mut claims = claims(&data["token"]);
    let times = ["nbf", "exp"].map(|name| claims.as_object_mut().unwrap().remove(name).unwrap().as_i64().unwrap());
    let [nbf, exp] = times.map(|seconds| DateTime::from_timestamp(seconds, 0).unwrap());
    assert_eq!(exp - nbf, TimeDelta::minutes(10));
    assert!((nbf - before).abs() < TimeDelta::minutes(1), "{nbf}");
    assert_eq!(data["expiresAt"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), exp);
    let expected = json!({
        "iss": "APIparlance",
        "sub": ada.session,
        "name": "Ada L.",
        "video": {
            "room": call,
            "roomJoin": true,
            "canPublish": true,
            "canSubscribe": true,
            "canPublishData": true,
        },
    });
    assert_eq!(claims, expected);
}

#[tokio::test]
async fn only_devices_in_the_call_get_a_livekit_token() {
    let node = node().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let tablet = User::login(&node, &ada.username, PASSWORD).await;
    let call = start_call(&ada, &ada.open_direct(&bob).await).await;
    // Bob has not answered yet, and Ada's other device is not in the call.
    for user in [&bob, &tablet] {
        assert_eq!(access(user, &call).await.code(), "FORBIDDEN");
    }
    assert_eq!(access(&eve, &call).await.code(), "NOT_FOUND");
    assert_eq!(access(&ada, "cal_x").await.violations(), ["callId"]);
    assert_eq!(node.call(None, "{ callAccess(callId: \"x\") { url } }", json!({})).await.code(), "UNAUTHENTICATED");

    accept(&bob, &call).await.data();
    let of_bob = access(&bob, &call).await.data()["callAccess"]["token"].clone();
    assert_eq!(claims(&of_bob)["sub"], bob.session.as_str());
    bob.query("mutation ($id: ID!) { leaveCall(input: {callId: $id}) { call { id } } }", json!({"id": call})).await;
    for user in [&ada, &bob] {
        assert_eq!(access(user, &call).await.code(), "FORBIDDEN");
    }
}

#[tokio::test]
async fn call_access_is_null_without_livekit() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let call = start_call(&ada, &ada.open_direct(&bob).await).await;
    assert_eq!(access(&ada, &call).await.data(), json!({"callAccess": null}));
}

/// In a mesh call each device sends to every other device. By default a mesh call admits eight devices.
#[tokio::test]
async fn a_livekit_call_admits_more_devices_than_a_mesh_call() {
    let node = node().await;
    let ada = node.register("ada").await;
    let mut others = Vec::new();
    for _ in 0..9 {
        others.push(node.register("other").await);
    }
    let group = ada.create_group("All hands", &others.iter().collect::<Vec<_>>()).await;
    let call = start_call(&ada, &group).await;
    let mut inside = 0;
    for other in &others {
        let data = accept(other, &call).await.data();
        inside = data["acceptCall"]["call"]["participants"].as_array().unwrap().len();
    }
    assert_eq!(inside, 10);
    assert!(access(&others[8], &call).await.data()["callAccess"]["token"].is_string());
}
