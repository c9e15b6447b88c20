//! Resetting a password by a code.

use serde_json::json;

use crate::support::{Answer, Node, PASSWORD, User, receiving};

const EMAIL: &str = "ada@example.org";
const PHONE: &str = "+4915112345678";
const NEW_PASSWORD: &str = "another long battery staple";

async fn login(node: &Node, identifier: &str, password: &str) -> Answer {
    let query = "mutation ($input: LoginInput!) { login(input: $input) { viewer { user { id } } } }";
    node.call(None, query, json!({"input": {"identifier": identifier, "password": password}})).await
}

#[tokio::test]
async fn a_code_sets_a_new_password_and_ends_all_other_sessions() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    ada.verify(&node, PHONE).await;
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let inbox = phone.inbox().await;
    let code = node.code(PHONE, "RESET_PASSWORD").await;
    let data = node.reset_password(PHONE, &code, NEW_PASSWORD).await.data();
    let fresh = User::from_payload(&node, &data["resetPassword"]);
    assert_eq!((&fresh.id, &data["resetPassword"]["isNewAccount"]), (&ada.id, &json!(false)));
    assert_eq!(inbox.socket.closed().await, 4403);
    for device in [&ada, &phone] {
        assert_eq!(device.call("{ viewer { id } }", json!({})).await.code(), "UNAUTHENTICATED");
    }
    let sessions = fresh.query("{ viewer { sessions { id } } }", json!({})).await["viewer"]["sessions"].clone();
    assert_eq!(sessions, json!([{"id": fresh.session}]));
    assert_eq!(login(&node, EMAIL, PASSWORD).await.code(), "UNAUTHENTICATED");
    login(&node, EMAIL, NEW_PASSWORD).await.data();
    for to in [EMAIL, PHONE] {
        node.notices().next_with(to, &["was reset", &ada.username]).await;
    }
    let again = node.reset_password(PHONE, &code, "a third long battery staple").await;
    assert_eq!((again.code(), again.violations()), ("BAD_USER_INPUT", vec!["code"]));
}

#[tokio::test]
async fn a_refused_password_does_not_use_up_the_code() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    let code = node.code(EMAIL, "RESET_PASSWORD").await;
    for weak in ["short", "password1234", "telechargement", "ada@example.org", &ada.username] {
        for _ in 0..2 {
            let refused = node.reset_password(EMAIL, &code, weak).await;
            assert_eq!((refused.code(), refused.violations()), ("BAD_USER_INPUT", vec!["newPassword"]), "{weak}");
        }
    }
    assert_eq!(ada.query("{ viewer { hasPassword } }", json!({})).await["viewer"]["hasPassword"], true);
    node.reset_password(EMAIL, &code, NEW_PASSWORD).await.data();
}

#[tokio::test]
async fn a_reset_gives_a_password_to_an_account_that_has_none() {
    let node = receiving().start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    let code = node.code(EMAIL, "RESET_PASSWORD").await;
    let data = node.reset_password(EMAIL, &code, NEW_PASSWORD).await.data();
    assert_eq!(data["resetPassword"]["viewer"]["user"]["id"], ada.id.as_str());
    login(&node, &ada.username, NEW_PASSWORD).await.data();
}

#[tokio::test]
async fn an_unverified_address_gets_no_code_that_resets_the_password() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    let update = "mutation ($email: String!) { updateProfile(input: {email: $email}) { viewer { id } } }";
    ada.query(update, json!({"email": EMAIL})).await;
    node.request_code(EMAIL, "RESET_PASSWORD").await.data();
    // Any other code arrives.
    node.code(EMAIL, "LOGIN").await;
    assert_eq!(node.notices().unread(EMAIL), 0);
}

/// A code that was sent before the address moved to another account resets no password.
#[tokio::test]
async fn a_code_resets_only_the_password_of_the_account_that_has_the_address() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    let code = node.code(EMAIL, "RESET_PASSWORD").await;
    ada.verify(&node, "new@example.org").await;
    let refused = node.reset_password(EMAIL, &code, NEW_PASSWORD).await;
    assert_eq!((refused.code(), refused.violations()), ("BAD_USER_INPUT", vec!["code"]));
    login(&node, &ada.username, PASSWORD).await.data();
}
