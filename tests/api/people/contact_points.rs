//! Contact points (e-mail addresses and phone numbers): no response reveals whether an account has a given contact
//! point, and only a verified contact point can be used.

use diesel_async::RunQueryDsl as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, TestDatabase, User};

const EMAIL: &str = "ada@example.org";
const PHONE: &str = "+4915112345678";
const OWN: &str = "email emailVerified phone phoneVerified";

async fn register(node: &Node, username: &str, contact_points: Value) -> Answer {
    let query = format!(
        "mutation ($input: RegisterInput!) {{ register(input: $input) {{
            accessToken refreshToken session {{ id }} viewer {{ {OWN} user {{ id username }} }}
        }} }}"
    );
    let mut input = contact_points;
    input["username"] = json!(username);
    input["password"] = json!(PASSWORD);
    node.call(None, &query, json!({"input": input})).await
}

async fn update(user: &User, input: Value) -> Answer {
    let query =
        format!("mutation ($input: UpdateProfileInput!) {{ updateProfile(input: $input) {{ viewer {{ {OWN} }} }} }}");
    user.call(&query, json!({"input": input})).await
}

async fn login(node: &Node, identifier: &str) -> Answer {
    let query = "mutation ($input: LoginInput!) { login(input: $input) { viewer { user { username } } } }";
    node.call(None, query, json!({"input": {"identifier": identifier, "password": PASSWORD}})).await
}

async fn found(by: &User, query: &str) -> Value {
    let document = "query ($query: String!) { searchUsers(query: $query) { nodes { username } } }";
    by.query(document, json!({"query": query})).await["searchUsers"]["nodes"].clone()
}

/// Registers an account and verifies its e-mail address and phone number.
async fn verified(database: &TestDatabase, node: &Node) -> User {
    let data = register(node, "ada", json!({"email": EMAIL, "phone": PHONE})).await.data();
    database.verify_contact_points("ada").await;
    User::from_payload(node, &data["register"])
}

#[tokio::test]
async fn phone_numbers_of_every_notation_are_stored_as_e164() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let data = register(&node, "ada", json!({"phone": "+49\u{A0}151\u{A0}2345\u{A0}1234"})).await.data();
    assert_eq!(data["register"]["viewer"]["phone"], "+4915123451234");
    database.verify_contact_points("ada").await;
    let bob = node.register("bob").await;
    for phone in [
        "+49\u{202F}151\u{2009}2345\u{3000}1234",
        "+49 (0)151 / 2345-1234",
        "+49.151.2345.1234",
        "+49\u{2011}151\u{2013}2345\u{2212}1234",
        "[+49] 151 23451234",
        "\u{202A}+49 151 23451234\u{202C}",
        "\u{2068}+49 151 23451234\u{2069}",
        "\u{200E}+49\u{200F}151\u{2060}23451234\u{FEFF}",
        "＋４９（１５１）２３４５－１２３４",
        "+٤٩ ١٥١ ٢٣٤٥ ١٢٣٤",
        " +49 151\t23451234\n",
    ] {
        let changed = update(&bob, json!({"phone": phone})).await.data();
        assert_eq!(changed["updateProfile"]["viewer"]["phone"], "+4915123451234", "{}", phone.escape_unicode());
        assert_eq!(login(&node, phone).await.data()["login"]["viewer"]["user"]["username"], "ada");
    }
    for phone in
        ["0151 23451234", "0049 151 23451234", "+49 151 CALL-ME", "+999 151 23451234", "+49 151 2345123412345", "+"]
    {
        let answer = update(&bob, json!({"phone": phone})).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["phone"]), "{phone}");
    }
}

/// Older servers did not remove the national prefix, and did not know the country codes.
#[tokio::test]
async fn a_number_as_older_servers_stored_it_still_signs_in() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    register(&node, "ada", json!({"phone": PHONE})).await.data();
    database.verify_contact_points("ada").await;
    for (stored, written) in [("+49015112345678", "+49 (0)151 12345678"), ("+9991234567", "+999 123-4567")] {
        let store = format!("UPDATE users SET phone = '{stored}' WHERE username = 'ada'");
        diesel::sql_query(store).execute(&mut database.connection().await).await.unwrap();
        for phone in [stored, written] {
            assert_eq!(login(&node, phone).await.data()["login"]["viewer"]["user"]["username"], "ada", "{phone}");
        }
    }
}

#[tokio::test]
async fn register_and_update_profile_do_not_reveal_taken_contact_points() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = verified(&database, &node).await;
    let mut answers = Vec::new();
    for (username, email, phone) in [
        ("taken", EMAIL, PHONE),
        ("upper", "ADA@Example.org", "+49 151 1234-5678"),
        ("free", "free@example.org", "+4915100000000"),
    ] {
        let input = json!({"email": email, "phone": phone});
        let data = register(&node, username, input.clone()).await.data();
        let viewer = &data["register"]["viewer"];
        let kept = json!([email.to_lowercase(), phone.replace([' ', '-'], "")]);
        assert_eq!(json!([viewer["email"], viewer["phone"]]), kept);
        assert_eq!((&viewer["emailVerified"], &viewer["phoneVerified"]), (&json!(false), &json!(false)));
        // `updateProfile` returns the same result.
        let other = node.register("other").await;
        let changed = update(&other, input).await.data()["updateProfile"]["viewer"].clone();
        assert_eq!(json!([changed["email"], changed["phone"]]), kept);
        answers.push((changed["emailVerified"].clone(), changed["phoneVerified"].clone()));
    }
    assert!(answers.iter().all(|answer| *answer == (json!(false), json!(false))), "{answers:?}");
    // The owner who verified the contact points keeps them.
    for identifier in [EMAIL, PHONE] {
        assert_eq!(login(&node, identifier).await.data()["login"]["viewer"]["user"]["username"], "ada");
    }
    assert_eq!(
        update(&ada, json!({"displayName": "Ada"})).await.data()["updateProfile"]["viewer"]["emailVerified"],
        true
    );
}

#[tokio::test]
async fn an_unverified_contact_point_works_for_neither_search_nor_login() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let bob = node.register("bob").await;
    register(&node, "ada", json!({"email": EMAIL, "phone": PHONE})).await.data();
    let unknown = login(&node, "nobody@example.org").await;
    for identifier in [EMAIL, PHONE] {
        assert_eq!(found(&bob, identifier).await, json!([]));
        let refused = login(&node, identifier).await;
        assert_eq!(refused.body, unknown.body, "the same as for an unknown address");
    }
    database.verify_contact_points("ada").await;
    for identifier in [EMAIL, PHONE] {
        assert_eq!(found(&bob, identifier).await, json!([{"username": "ada"}]));
        assert_eq!(login(&node, identifier).await.data()["login"]["viewer"]["user"]["username"], "ada");
    }
}

#[tokio::test]
async fn many_accounts_can_claim_one_contact_point_at_once() {
    let node = Node::start().await;
    let users = node.register_many(5).await;
    let input = json!({"email": EMAIL, "phone": PHONE});
    for answer in join_all(users.iter().map(|user| update(user, input.clone()))).await {
        assert_eq!(answer.data()["updateProfile"]["viewer"]["email"], EMAIL);
    }
}

#[tokio::test]
async fn the_export_shows_when_a_contact_point_was_verified() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = verified(&database, &node).await;
    for phone in [None, Some("+4915100000000")] {
        update(&ada, json!({"phone": phone})).await.data();
    }
    let mut text = Vec::new();
    parlance::domain::people::export::export(&database.url, "ada", chrono::DateTime::UNIX_EPOCH, &mut text)
        .await
        .unwrap();
    let archive: Value = serde_json::from_slice(&text).unwrap();
    assert!(archive["user"]["emailVerifiedAt"].is_string());
    assert_eq!(archive["user"]["phoneVerifiedAt"], Value::Null);
}
