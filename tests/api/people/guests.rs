//! Guests: accounts without a password, and how they become regular accounts.

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use serde_json::{Value, json};

use crate::support::{Authenticator, Node, NodeBuilder, PASSWORD, TestDatabase, TestIssuer, User, eventually};

const CREATE: &str = "mutation ($input: CreateGuestInput!) { createGuest(input: $input) {
    accessToken refreshToken isNewAccount session { id }
    viewer { hasPassword user { id username displayName isGuest } }
} }";

fn with_guests() -> NodeBuilder {
    Node::build().flag("--guests=on")
}

async fn guest(node: &Node) -> User {
    User::from_payload(node, &node.call(None, CREATE, json!({"input": {}})).await.data()["createGuest"])
}

async fn is_guest(user: &User) -> Value {
    user.query("{ viewer { user { isGuest } } }", json!({})).await["viewer"]["user"]["isGuest"].clone()
}

async fn upgrade(user: &User, username: &str, password: &str) -> crate::support::Answer {
    let query = "mutation ($input: UpgradeGuestInput!) { upgradeGuest(input: $input) {
        viewer { hasPassword user { username isGuest } }
    } }";
    user.call(query, json!({"input": {"username": username, "password": password}})).await
}

#[tokio::test]
async fn a_guest_chats_and_becomes_a_regular_account() {
    let node = with_guests().start_alone().await;
    let data = node.call(None, "{ serverInfo { guests } }", json!({})).await.data();
    assert_eq!(data["serverInfo"]["guests"], true);
    let input = json!({"input": {"displayName": "Ada", "deviceName": "Kiosk"}});
    let payload = node.call(None, CREATE, input).await.data()["createGuest"].clone();
    assert_eq!((&payload["isNewAccount"], &payload["viewer"]["hasPassword"]), (&json!(true), &json!(false)));
    let user = &payload["viewer"]["user"];
    assert_eq!((&user["displayName"], &user["isGuest"]), (&json!("Ada"), &json!(true)));
    assert!(user["username"].as_str().unwrap().starts_with("guest_"), "{user}");
    let ada = User::from_payload(&node, &payload);
    let bob = node.register("bob").await;
    let conversation = ada.open_direct(&bob).await;
    ada.send(&conversation, "hello").await;

    assert_eq!(upgrade(&ada, &bob.username, PASSWORD).await.code(), "CONFLICT");
    assert_eq!(upgrade(&ada, "a!", "short").await.violations(), ["username", "password"]);
    let upgraded = upgrade(&ada, "ada", PASSWORD).await.data()["upgradeGuest"]["viewer"].clone();
    assert_eq!(upgraded, json!({"hasPassword": true, "user": {"username": "ada", "isGuest": false}}));
    assert_eq!(User::login(&node, "ada", PASSWORD).await.id, ada.id);
    assert_eq!(upgrade(&ada, "ada2", PASSWORD).await.code(), "FORBIDDEN");
    assert_eq!(upgrade(&bob, "bob2", PASSWORD).await.code(), "FORBIDDEN");
}

#[tokio::test]
async fn a_contact_point_a_password_or_an_identity_makes_a_guest_a_regular_account() {
    let database = TestDatabase::new().await;
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).flag("--guests=on").receive_notices().start_on(&database).await;
    let (one, two, three) = (guest(&node).await, guest(&node).await, guest(&node).await);
    // A guest cannot confirm the identity, so its session is enough.
    let expire = "UPDATE sessions SET confirmed_at = now() - interval '11 minutes'";
    database.connection().await.batch_execute(expire).await.unwrap();
    one.verify(&node, "ada@example.org").await;
    let query = "mutation ($new: String!) { changePassword(input: {newPassword: $new}) { viewer { id } } }";
    two.query(query, json!({"new": PASSWORD})).await;
    let token = issuer.token("1", &json!({}));
    assert_eq!(three.link_identity(&token).await.data()["linkIdentity"]["viewer"]["user"]["isGuest"], false);
    for user in [&one, &two, &three] {
        assert_eq!(is_guest(user).await, false);
    }
    assert_eq!(node.user_by_token(&token).await.id, three.id);
    let delete = "mutation { deleteAccount(input: {}) { userId } }";
    assert_eq!(three.call(delete, json!({})).await.code(), "BAD_USER_INPUT");
    guest(&node).await.query(delete, json!({})).await;
}

#[tokio::test]
async fn a_guest_with_a_passkey_is_a_regular_account_and_keeps_its_last_passkey() {
    const REMOVE: &str = "mutation ($id: ID!) { removePasskey(input: {passkeyId: $id}) { passkeyId } }";
    let node = with_guests().start_alone().await;
    let ada = guest(&node).await;
    let mut authenticator = Authenticator::new();
    let passkey = ada.add_passkey(&mut authenticator).await;
    assert_eq!(is_guest(&ada).await, false);
    let data = node.login_with_passkey(&authenticator).await.data();
    assert_eq!(User::from_payload(&node, &data["loginWithPasskey"]).id, ada.id);
    ada.call(REMOVE, json!({"id": passkey["id"]})).await.assert_bad("passkeyId");
    let query = "mutation ($new: String!) { changePassword(input: {newPassword: $new}) { viewer { id } } }";
    ada.query(query, json!({"new": PASSWORD})).await;
    ada.query(REMOVE, json!({"id": passkey["id"]})).await;
}

#[tokio::test]
async fn a_guest_cannot_have_a_second_factor() {
    let node = with_guests().start_alone().await;
    let ada = guest(&node).await;
    let query = "mutation { setUpTotp { secret } }";
    assert_eq!(ada.call(query, json!({})).await.code(), "FORBIDDEN");
    let set_password = "mutation ($new: String!) { changePassword(input: {newPassword: $new}) { viewer { id } } }";
    ada.query(set_password, json!({"new": PASSWORD})).await;
    ada.query(query, json!({})).await;
}

#[tokio::test]
async fn guests_need_the_setting_of_the_operator() {
    let node = Node::start().await;
    assert_eq!(node.call(None, CREATE, json!({"input": {}})).await.code(), "FORBIDDEN");
    let limited = with_guests().limited().flag("--rate-registrations=2/1h").start_alone().await;
    for _ in 0..2 {
        guest(&limited).await;
    }
    assert_eq!(limited.call(None, CREATE, json!({"input": {}})).await.code(), "RATE_LIMITED");
}

#[tokio::test]
async fn abandoned_guests_are_deleted() {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let database = TestDatabase::new().await;
    let node = with_guests().flag("--housekeeping-interval=1").start_on(&database).await;
    let (abandoned, active, participant) = (guest(&node).await, guest(&node).await, guest(&node).await);
    let bob = node.register("bob").await;
    participant.open_direct(&bob).await;
    let mut connection = database.connection().await;
    let age = format!(
        "UPDATE users SET created_at = now() - interval '31 days';
         UPDATE sessions SET expires_at = now() - interval '1 day' WHERE user_id IN (
             SELECT id FROM users WHERE username IN ('{}', '{}', '{}')
         )",
        abandoned.username, participant.username, bob.username
    );
    connection.batch_execute(&age).await.unwrap();
    let count = async |name: &str| {
        let query = format!("SELECT count(*) FROM users WHERE username = '{name}'");
        diesel::sql_query(query).get_result::<Count>(&mut database.connection().await).await.unwrap().count
    };
    eventually("the abandoned guest is deleted", async || count(&abandoned.username).await == 0).await;
    for kept in [&active, &participant, &bob] {
        assert_eq!(count(&kept.username).await, 1, "{}", kept.username);
    }
    // The event removes the guest from the caches of all nodes.
    let query = "SELECT count(*) FROM events WHERE kind = 'user_updated'";
    assert_eq!(diesel::sql_query(query).get_result::<Count>(&mut connection).await.unwrap().count, 1);
}
