//! Verification of e-mail addresses and phone numbers, and their changes.

use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, TestDatabase, User, receiving};

const EMAIL: &str = "ada@example.org";
const NEW_EMAIL: &str = "lovelace@example.net";
const PHONE: &str = "+4915112345678";
const NEW_PHONE: &str = "+4915187654321";
const OWN: &str = "email emailVerified phone phoneVerified";

async fn update(user: &User, input: Value) -> Answer {
    let query =
        format!("mutation ($input: UpdateProfileInput!) {{ updateProfile(input: $input) {{ viewer {{ {OWN} }} }} }}");
    user.call(&query, json!({"input": input})).await
}

async fn own(user: &User) -> Value {
    user.query(&format!("{{ viewer {{ {OWN} }} }}"), json!({})).await["viewer"].clone()
}

async fn login(node: &Node, identifier: &str) -> Answer {
    let query = "mutation ($input: LoginInput!) { login(input: $input) { viewer { user { id } } } }";
    node.call(None, query, json!({"input": {"identifier": identifier, "password": PASSWORD}})).await
}

/// Sets the time of all sessions' last confirmation to a time at which it is no longer valid.
async fn let_confirmations_expire(database: &TestDatabase) {
    let expire = "UPDATE sessions SET confirmed_at = now() - interval '11 minutes'";
    database.connection().await.batch_execute(expire).await.unwrap();
}

#[track_caller]
fn assert_unconfirmed(answer: &Answer) {
    assert_eq!(answer.code(), "FORBIDDEN", "{:#}", answer.body);
    assert_eq!(answer.body["errors"][0]["extensions"]["reason"], "CONFIRMATION_REQUIRED");
}

#[tokio::test]
async fn a_code_verifies_an_address_or_a_number() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    update(&ada, json!({"email": EMAIL})).await.data();
    assert_eq!(login(&node, EMAIL).await.code(), "UNAUTHENTICATED");
    let expected = json!({"email": EMAIL, "emailVerified": true, "phone": null, "phoneVerified": false});
    assert_eq!(ada.verify(&node, EMAIL).await, expected);
    // The number was not entered in the profile before.
    let expected = json!({"email": EMAIL, "emailVerified": true, "phone": PHONE, "phoneVerified": true});
    assert_eq!(ada.verify(&node, PHONE).await, expected);
    assert_eq!(own(&ada).await, expected);
    node.notices().next_with(EMAIL, &[&ada.username, "5678"]).await;
    for identifier in [EMAIL, PHONE] {
        assert_eq!(login(&node, identifier).await.data()["login"]["viewer"]["user"]["id"], ada.id.as_str());
    }
    // A second verification changes nothing and sends no notice.
    assert_eq!(ada.verify(&node, EMAIL).await, expected);
    assert_eq!((node.notices().unread(EMAIL), node.notices().unread(PHONE)), (0, 0));
}

#[tokio::test]
async fn a_code_verifies_an_address_only_for_the_user_who_requested_it() {
    let node = receiving().start_alone().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    let code = ada.code(&node, EMAIL, "VERIFY").await;
    let refused = eve.try_verify(EMAIL, &code).await;
    assert_eq!((refused.code(), refused.violations()), ("BAD_USER_INPUT", vec!["code"]));
    // A request of another user does not replace the code.
    eve.code(&node, EMAIL, "VERIFY").await;
    ada.try_verify(EMAIL, &code).await.data();
    let signed_out = node
        .call(
            None,
            "mutation { verifyContactPoint(input: {
        contactPoint: {email: \"ada@example.org\"}, code: \"000000\"
    }) { viewer { id } } }",
            json!({}),
        )
        .await;
    assert_eq!(signed_out.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_change_tells_all_addresses_and_numbers_that_were_verified_before() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    ada.verify(&node, PHONE).await;
    let added = node.notices().next(EMAIL).await.text;
    assert!(added.contains("5678") && !added.contains(PHONE), "{added}");
    let viewer = ada.verify(&node, NEW_EMAIL).await;
    assert_eq!((&viewer["email"], &viewer["emailVerified"]), (&json!(NEW_EMAIL), &json!(true)));
    for to in [EMAIL, PHONE] {
        let text = node.notices().next(to).await.text;
        assert!(text.contains(&ada.username) && text.contains("example.net") && !text.contains("lovelace"), "{text}");
    }
    let viewer = ada.verify(&node, NEW_PHONE).await;
    assert_eq!((&viewer["phone"], &viewer["phoneVerified"]), (&json!(NEW_PHONE), &json!(true)));
    for to in [NEW_EMAIL, PHONE] {
        let text = node.notices().next(to).await.text;
        assert!(text.contains("4321") && !text.contains(NEW_PHONE), "{text}");
    }
    // The new ones are not told about themselves, and the former ones about nothing after they were replaced.
    for to in [EMAIL, PHONE, NEW_EMAIL, NEW_PHONE] {
        assert_eq!(node.notices().unread(to), 0, "{to}");
    }
    // No account has the former ones now.
    for identifier in [EMAIL, PHONE] {
        assert_eq!(login(&node, identifier).await.code(), "UNAUTHENTICATED");
        assert_ne!(node.user_by_code(identifier).await.id, ada.id);
    }
}

#[tokio::test]
async fn an_address_that_another_account_has_verified_is_a_conflict_only_with_the_code() {
    let node = receiving().start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    ada.verify(&node, EMAIL).await;
    let keys = async |to: &str| {
        let data = bob.request_code(to, "VERIFY").await.data();
        data["requestCode"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(EMAIL).await, keys("free@example.org").await);
    let code = node.notices().next_code(EMAIL).await;
    for _ in 0..6 {
        let taken = bob.try_verify(EMAIL, &code).await;
        assert_eq!((taken.code(), taken.violations()), ("CONFLICT", vec!["contactPoint"]));
    }
    update(&ada, json!({"email": null})).await.data();
    assert_eq!(bob.try_verify(EMAIL, &code).await.data()["verifyContactPoint"]["viewer"]["emailVerified"], true);
}

#[tokio::test]
async fn of_concurrent_verifications_of_one_address_one_succeeds() {
    let node = receiving().start_alone().await;
    let users = node.register_many(4).await;
    let mut codes = Vec::new();
    for user in &users {
        codes.push(user.code(&node, EMAIL, "VERIFY").await);
    }
    let answers = join_all(users.iter().zip(&codes).map(|(user, code)| user.try_verify(EMAIL, code))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert_eq!(refused.len(), 3);
    assert!(refused.iter().all(|answer| answer.code() == "CONFLICT"));
    // Only the winner has changed.
    let mut verified = 0;
    for user in &users {
        verified += usize::from(own(user).await["email"] == EMAIL);
    }
    assert_eq!(verified, 1);
}

#[tokio::test]
async fn a_verification_needs_a_confirmed_identity_and_keeps_the_code_until_then() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let ada = node.register("ada").await;
    let_confirmations_expire(&database).await;
    let code = ada.code(&node, EMAIL, "VERIFY").await;
    for _ in 0..6 {
        assert_unconfirmed(&ada.try_verify(EMAIL, &code).await);
    }
    ada.confirm_by_password(PASSWORD).await.data();
    ada.try_verify(EMAIL, &code).await.data();
    // The confirmation belongs to a session.
    let code = ada.code(&node, NEW_EMAIL, "VERIFY").await;
    let_confirmations_expire(&database).await;
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    assert_unconfirmed(&ada.try_verify(NEW_EMAIL, &code).await);
    phone.try_verify(NEW_EMAIL, &code).await.data();
}

#[tokio::test]
async fn a_profile_keeps_a_verified_address_until_it_is_removed() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    ada.verify(&node, PHONE).await;
    let before = own(&ada).await;
    let refused = update(&ada, json!({"email": NEW_EMAIL, "phone": NEW_PHONE, "about": "new"})).await;
    assert_eq!((refused.code(), refused.violations()), ("BAD_USER_INPUT", vec!["email", "phone"]));
    assert!(refused.body["errors"][0]["message"].as_str().unwrap().contains("`verifyContactPoint`"));
    // Setting the same values again changes nothing.
    update(&ada, json!({"email": " ADA@example.org", "phone": "+49 151 12345678"})).await.data();
    assert_eq!(own(&ada).await, before);

    let_confirmations_expire(&database).await;
    assert_unconfirmed(&update(&ada, json!({"email": null})).await);
    // Other changes need no confirmation.
    update(&ada, json!({"about": "new"})).await.data();
    ada.confirm_by_password(PASSWORD).await.data();
    let viewer = update(&ada, json!({"email": null, "phone": null})).await.data()["updateProfile"]["viewer"].clone();
    assert_eq!(viewer, json!({"email": null, "emailVerified": false, "phone": null, "phoneVerified": false}));
    for to in [EMAIL, PHONE] {
        for what in ["e-mail address", "phone number"] {
            node.notices().next_with(to, &[what, "was removed", &ada.username]).await;
        }
    }
    // Without a verified one, the profile can have any, unverified.
    let viewer = update(&ada, json!({"email": NEW_EMAIL})).await.data()["updateProfile"]["viewer"].clone();
    assert_eq!((&viewer["email"], &viewer["emailVerified"]), (&json!(NEW_EMAIL), &json!(false)));
}

#[tokio::test]
async fn a_number_as_older_servers_stored_it_stays_verified_when_it_is_set_again() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let ada = node.register("ada").await;
    ada.verify(&node, PHONE).await;
    let store = "UPDATE users SET phone = '+49015112345678'";
    database.connection().await.batch_execute(store).await.unwrap();
    for phone in ["+49015112345678", PHONE] {
        let data = update(&ada, json!({"phone": phone})).await.data();
        assert_eq!(data["updateProfile"]["viewer"]["phone"], "+49015112345678");
        assert_eq!(data["updateProfile"]["viewer"]["phoneVerified"], true);
    }
}

#[tokio::test]
async fn the_last_way_to_sign_in_cannot_be_removed() {
    let node = receiving().start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    let last = update(&ada, json!({"email": null})).await;
    assert_eq!((last.code(), last.violations()), ("BAD_USER_INPUT", vec!["email"]));
    ada.verify(&node, PHONE).await;
    let both = update(&ada, json!({"email": null, "phone": null})).await;
    assert_eq!(both.violations(), ["email", "phone"]);
    update(&ada, json!({"email": null})).await.data();
    assert_eq!(update(&ada, json!({"phone": null})).await.violations(), ["phone"]);
    let query = "mutation ($password: String!) { changePassword(input: {newPassword: $password}) { viewer { id } } }";
    ada.query(query, json!({"password": PASSWORD})).await;
    update(&ada, json!({"phone": null})).await.data();
    assert_eq!(login(&node, &ada.username).await.data()["login"]["viewer"]["user"]["id"], ada.id.as_str());
}

#[tokio::test]
async fn other_accounts_keep_their_claim_of_a_verified_address() {
    let node = receiving().start_alone().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    update(&eve, json!({"email": EMAIL})).await.data();
    ada.verify(&node, EMAIL).await;
    let expected = json!({"email": EMAIL, "emailVerified": false, "phone": null, "phoneVerified": false});
    assert_eq!(own(&eve).await, expected);
}
