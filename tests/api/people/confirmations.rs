//! Confirmation of the identity, and changes of accounts without a password.

use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::SimpleAsyncConnection as _;
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, TestDatabase, User, contact_point, receiving};

const EMAIL: &str = "ada@example.org";
const PHONE: &str = "+4915112345678";

async fn let_confirmations_expire(database: &TestDatabase) {
    let expire = "UPDATE sessions SET confirmed_at = now() - interval '11 minutes'";
    database.connection().await.batch_execute(expire).await.unwrap();
}

async fn change_password(user: &User, current: Option<&str>, new: &str) -> Answer {
    let query = "mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { viewer { hasPassword } } }";
    user.call(query, json!({"input": {"currentPassword": current, "newPassword": new}})).await
}

async fn delete(user: &User, input: Value) -> Answer {
    let query = "mutation ($input: DeleteAccountInput!) { deleteAccount(input: $input) { userId } }";
    user.call(query, json!({"input": input})).await
}

/// Asserts that the first password can be set, which needs a confirmed identity, and removes it again.
async fn assert_confirmed(database: &TestDatabase, user: &User) {
    change_password(user, None, PASSWORD).await.data();
    database.connection().await.batch_execute("UPDATE users SET password_hash = NULL").await.unwrap();
}

#[track_caller]
fn assert_unconfirmed(answer: &Answer) {
    assert_eq!(answer.code(), "FORBIDDEN", "{:#}", answer.body);
    let error = &answer.body["errors"][0];
    assert_eq!(error["extensions"]["reason"], "CONFIRMATION_REQUIRED");
    assert!(error["message"].as_str().unwrap().contains("`confirmIdentity`"), "{error}");
}

#[tokio::test]
async fn the_password_or_a_code_confirms_the_identity() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    let until = |answer: Answer| {
        let until: DateTime<Utc> =
            answer.data()["confirmIdentity"]["confirmedUntil"].as_str().unwrap().parse().unwrap();
        let left = until - Clock::system().now();
        assert!(left > TimeDelta::minutes(9) && left <= TimeDelta::minutes(10), "{left}");
    };
    until(ada.confirm_by_password(PASSWORD).await);
    let wrong = ada.confirm_by_password("another password").await;
    assert_eq!((wrong.code(), wrong.violations()), ("BAD_USER_INPUT", vec!["password"]));
    let code = ada.code(&node, EMAIL, "CONFIRM").await;
    until(ada.confirm_by_code(EMAIL, &code).await);
    let used = ada.confirm_by_code(EMAIL, &code).await;
    assert_eq!((used.code(), used.violations()), ("BAD_USER_INPUT", vec!["code.code"]));
    let malformed = ada.confirm_by_code("nowhere@", "12").await;
    assert_eq!(malformed.violations(), ["code.contactPoint.email", "code.code"]);
    let both = "mutation { confirmIdentity(input: {password: \"x\", code: {
        contactPoint: {email: \"ada@example.org\"}, code: \"000000\"
    }}) { confirmedUntil } }";
    assert_eq!(ada.call(both, json!({})).await.code(), "GRAPHQL_VALIDATION_FAILED");
}

#[tokio::test]
async fn a_confirmation_is_valid_for_ten_minutes() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let ada = node.user_by_code(EMAIL).await;
    // Signing in confirms the identity.
    assert_confirmed(&database, &ada).await;
    let_confirmations_expire(&database).await;
    assert_unconfirmed(&change_password(&ada, None, PASSWORD).await);
    let code = ada.code(&node, EMAIL, "CONFIRM").await;
    ada.confirm_by_code(EMAIL, &code).await.data();
    assert_confirmed(&database, &ada).await;
    // A refresh of the tokens confirms nothing.
    let_confirmations_expire(&database).await;
    let query = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) {
        isNewAccount accessToken refreshToken session { id } viewer { user { id username } }
    } }";
    let data = node.call(None, query, json!({"token": ada.refresh_token})).await.data();
    assert_eq!(data["refreshSession"]["isNewAccount"], false);
    let ada = User::from_payload(&node, &data["refreshSession"]);
    assert_unconfirmed(&change_password(&ada, None, PASSWORD).await);
}

#[tokio::test]
async fn a_code_confirms_only_by_a_verified_contact_point_of_the_viewer() {
    let node = receiving().start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    ada.verify(&node, EMAIL).await;
    let update = "mutation ($phone: String!) { updateProfile(input: {phone: $phone}) { viewer { id } } }";
    ada.query(update, json!({"phone": PHONE})).await;
    for (user, to) in [(&ada, PHONE), (&bob, EMAIL), (&ada, "free@example.org")] {
        let refused = user.request_code(to, "CONFIRM").await;
        let kind = contact_point(to).as_object().unwrap().keys().next().unwrap().clone();
        assert_eq!(
            (refused.code(), refused.violations()),
            ("BAD_USER_INPUT", vec![format!("contactPoint.{kind}").as_str()])
        );
    }
    // A code for the former address is of no use after a change.
    let code = ada.code(&node, EMAIL, "CONFIRM").await;
    ada.verify(&node, "new@example.org").await;
    assert_eq!(ada.confirm_by_code(EMAIL, &code).await.violations(), ["code.code"]);
    assert_eq!(delete(&ada, json!({"code": code})).await.violations(), ["code"]);
}

#[tokio::test]
async fn an_account_without_a_password_sets_its_first_one() {
    let node = receiving().start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    let other = node.user_by_code(EMAIL).await;
    assert_eq!(ada.query("{ viewer { hasPassword } }", json!({})).await["viewer"]["hasPassword"], false);
    let guessed = change_password(&ada, Some(PASSWORD), PASSWORD).await;
    assert_eq!((guessed.code(), guessed.violations()), ("BAD_USER_INPUT", vec!["currentPassword"]));
    let weak = change_password(&ada, None, "password1234").await;
    assert_eq!(weak.violations(), ["newPassword"]);
    let data = change_password(&ada, None, PASSWORD).await.data();
    assert_eq!(data["changePassword"]["viewer"]["hasPassword"], true);
    assert_eq!(other.call("{ viewer { id } }", json!({})).await.code(), "UNAUTHENTICATED", "other sessions end");
    User::login(&node, &ada.username, PASSWORD).await;
    node.notices().next_with(EMAIL, &["has a password now", &ada.username]).await;
    // From now on, the current password is required.
    let missing = change_password(&ada, None, "another long battery staple").await;
    assert_eq!((missing.code(), missing.violations()), ("BAD_USER_INPUT", vec!["currentPassword"]));
    change_password(&ada, Some(PASSWORD), "another long battery staple").await.data();
    node.notices().next_with(EMAIL, &["was changed", &ada.username]).await;
}

#[tokio::test]
async fn a_code_deletes_an_account() {
    let node = receiving().start_alone().await;
    for (to, password) in [(EMAIL, None), (PHONE, Some(PASSWORD))] {
        let ada = node.user_by_code(to).await;
        if let Some(password) = password {
            change_password(&ada, None, password).await.data();
        }
        // The session is confirmed, but that is not enough.
        let nothing = delete(&ada, json!({})).await;
        assert_eq!((nothing.code(), nothing.violations()), ("BAD_USER_INPUT", vec!["password"]));
        let wrong = delete(&ada, json!({"password": "another password"})).await;
        assert_eq!((wrong.code(), wrong.violations()), ("BAD_USER_INPUT", vec!["password"]));
        let code = ada.code(&node, to, "CONFIRM").await;
        let both = delete(&ada, json!({"code": code, "password": PASSWORD})).await;
        assert_eq!((both.code(), both.violations()), ("BAD_USER_INPUT", vec!["code"]));
        let other = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
        for bad in [other.as_str(), "12345"] {
            let refused = delete(&ada, json!({"code": bad})).await;
            assert_eq!((refused.code(), refused.violations()), ("BAD_USER_INPUT", vec!["code"]));
        }
        assert_eq!(delete(&ada, json!({"code": code})).await.data()["deleteAccount"]["userId"], ada.id.as_str());
        // The address is free again.
        assert_ne!(node.user_by_code(to).await.id, ada.id);
    }
}

#[tokio::test]
async fn wrong_codes_of_a_signed_in_user_count_for_the_account() {
    let flags = ["--password-tries-per-account=3", "--password-first-delay=300"];
    let node = receiving().limited().flags(&flags).start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    ada.code(&node, EMAIL, "CONFIRM").await;
    // Three tries for the account, and three for the network in which Ada has a session.
    for _ in 0..6 {
        assert_eq!(ada.confirm_by_code(EMAIL, "000000").await.code(), "BAD_USER_INPUT");
    }
    let limited = ada.confirm_by_code(EMAIL, "000000").await;
    assert_eq!(limited.code(), "RATE_LIMITED");
    assert!(limited.body["errors"][0]["message"].as_str().unwrap().contains("codes"), "{:#}", limited.body);
}
