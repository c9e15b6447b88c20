//! Sessions, access tokens and refresh tokens.

use chrono::TimeDelta;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, TestDatabase, User};

const REFRESH: &str = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) {
    accessToken refreshToken session { id } viewer { user { id username } }
} }";

async fn is_signed_in(user: &User) -> bool {
    let answer = user.call("{ viewer { id } }", json!({})).await;
    let signed_in = answer.body.get("errors").is_none();
    assert!(signed_in || answer.code() == "UNAUTHENTICATED", "{answer:?}");
    signed_in
}

#[tokio::test]
async fn a_refresh_returns_a_new_pair_of_tokens_for_the_session() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    // Clients may send an expired access token in the header. This token must not prevent the refresh.
    let data = node.call(Some("an.expired.token"), REFRESH, json!({"token": ada.refresh_token})).await.data();
    let again = User::from_payload(&node, &data["refreshSession"]);
    assert_eq!(again.session, ada.session);
    assert_ne!(again.refresh_token, ada.refresh_token);
    assert!(is_signed_in(&again).await);
}

#[tokio::test]
async fn forged_tokens_are_rejected_and_revoke_no_session() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for token in ["", "parlance_rt_", &ada.session, "parlance_rt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "\0"] {
        assert_eq!(node.call(None, REFRESH, json!({"token": token})).await.code(), "UNAUTHENTICATED");
    }
    for token in ["", "x", "a.b.c", &ada.refresh_token, &format!("{}x", ada.access_token)] {
        let answer = node.call(Some(token), "{ viewer { id } }", json!({})).await;
        assert_eq!(answer.code(), "UNAUTHENTICATED", "{token}");
    }
    assert!(is_signed_in(&ada).await);
}

#[tokio::test]
async fn an_access_token_expires_before_its_refresh_token() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let later = |seconds| Clock::off_by(TimeDelta::seconds(seconds));
    let in_time = Node::build().clock(later(880)).start_on(&database).await;
    assert!(is_signed_in(&ada.on(&in_time)).await);
    let too_late = Node::build().clock(later(901)).start_on(&database).await;
    assert!(!is_signed_in(&ada.on(&too_late)).await);
    // The refresh token is still valid.
    let data = too_late.call(None, REFRESH, json!({"token": ada.refresh_token})).await.data();
    assert!(data["refreshSession"]["accessToken"].is_string());
    let after_a_week = Node::build().clock(later(8 * 24 * 3600)).start_on(&database).await;
    let token = &data["refreshSession"]["refreshToken"];
    assert_eq!(after_a_week.call(None, REFRESH, json!({"token": token})).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn sessions_can_be_listed_and_revoked() {
    let node = Node::start().await;
    let phone = node.register("ada").await;
    let laptop = User::login(&node, &phone.username, PASSWORD).await;
    let tablet = User::login(&node, &phone.username, PASSWORD).await;
    let bob = node.register("bob").await;

    let data = phone.query("{ viewer { sessions { id viewerIsCurrent createdAt lastUsedAt } } }", json!({})).await;
    let sessions = data["viewer"]["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 3);
    let current: Vec<_> = sessions.iter().filter(|session| session["viewerIsCurrent"] == true).collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["id"], phone.session.as_str());

    let revoke = "mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId } }";
    assert_eq!(bob.call(revoke, json!({"id": laptop.session})).await.code(), "NOT_FOUND");
    assert!(is_signed_in(&laptop).await);
    phone.query(revoke, json!({"id": laptop.session})).await;
    assert!(!is_signed_in(&laptop).await);
    assert_eq!(phone.call(revoke, json!({"id": laptop.session})).await.code(), "NOT_FOUND");

    let data = phone.query("mutation { revokeOtherSessions { sessionIds } }", json!({})).await;
    assert_eq!(data["revokeOtherSessions"]["sessionIds"], json!([tablet.session]));
    assert!(!is_signed_in(&tablet).await);

    phone.query("mutation { logout { sessionId } }", json!({})).await;
    assert!(!is_signed_in(&phone).await);
    assert!(is_signed_in(&bob).await);
}

#[tokio::test]
async fn revoking_a_session_closes_the_sockets_of_this_session_only() {
    let node = Node::start().await;
    let phone = node.register("ada").await;
    let laptop = User::login(&node, &phone.username, PASSWORD).await;
    let (mut kept, closed) = (phone.inbox().await, laptop.inbox().await);
    phone.query("mutation { revokeOtherSessions { sessionIds } }", json!({})).await;
    assert_eq!(closed.socket.closed().await, 4403);
    let bob = node.register("bob").await;
    let conversation = bob.open_direct(&phone).await;
    bob.send(&conversation, "still there?").await;
    assert_eq!(kept.message().await["body"], "still there?");
}

#[tokio::test]
async fn a_socket_closes_when_its_token_expires() {
    let node = Node::build().flag("--access-token-ttl=10").start_alone().await;
    let ada = node.register("ada").await;
    let inbox = ada.inbox().await;
    assert_eq!(inbox.socket.closed().await, 4403);
    assert!(!is_signed_in(&ada).await);
}

/// Other services can verify access tokens with the published key.
#[tokio::test]
async fn the_public_key_verifies_access_tokens() {
    let node = Node::build().own_key().start_alone().await;
    let ada = node.register("ada").await;
    let keys: JwkSet = node.http.get(node.url("/.well-known/jwks.json")).send().await.unwrap().json().await.unwrap();
    let header = jsonwebtoken::decode_header(&ada.access_token).unwrap();
    assert_eq!(header.alg, Algorithm::EdDSA);
    let key = DecodingKey::from_jwk(keys.find(&header.kid.unwrap()).unwrap()).unwrap();
    let claims = decode::<Value>(&ada.access_token, &key, &Validation::new(Algorithm::EdDSA)).unwrap().claims;
    assert_eq!(claims["sub"], ada.id.as_str());
    assert_eq!(claims["sid"], ada.session.as_str());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 900);
}

/// A node accepts only tokens that are signed with its own key.
#[tokio::test]
async fn nodes_with_the_same_key_accept_each_others_tokens() {
    let database = TestDatabase::new().await;
    let maker = Node::build().own_key().start_on(&database).await;
    let sharer = Node::build().key(&maker.key_path()).start_on(&database).await;
    let stranger = Node::build().own_key().start_on(&database).await;
    let ada = maker.register("ada").await;
    assert!(is_signed_in(&ada.on(&sharer)).await);
    assert!(!is_signed_in(&ada.on(&stranger)).await);
}
