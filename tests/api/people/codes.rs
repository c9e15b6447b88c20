//! Verification codes: signing in by a code, and the limits of codes.

use chrono::TimeDelta;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use futures_util::future::join_all;
use parlance::clock::Clock;
use parlance::domain::people::registration_invites::{self, NewRegistrationInvite};
use parlance::random::Random;
use serde_json::{Value, json};

use crate::support::{
    Answer, Node, PASSWORD, TestDatabase, User, assert_wrong_code, eventually, receiving, wrong_code,
};

const EMAIL: &str = "ada@example.org";
const PHONE: &str = "+4915112345678";

async fn register_with(node: &Node, username: &str, contact_points: Value) -> User {
    let query = "mutation ($input: RegisterInput!) { register(input: $input) {
        accessToken refreshToken isNewAccount session { id } viewer { hasPassword user { id username } }
    } }";
    let mut input = contact_points;
    input["username"] = json!(username);
    input["password"] = json!(PASSWORD);
    let data = node.call(None, query, json!({"input": input})).await.data();
    assert_eq!(
        (&data["register"]["isNewAccount"], &data["register"]["viewer"]["hasPassword"]),
        (&json!(true), &json!(true))
    );
    User::from_payload(node, &data["register"])
}

async fn login(node: &Node, identifier: &str, password: &str) -> Answer {
    let query = "mutation ($input: LoginInput!) { login(input: $input) { isNewAccount viewer { user { id } } } }";
    node.call(None, query, json!({"input": {"identifier": identifier, "password": password}})).await
}

#[tokio::test]
async fn the_first_code_makes_an_account_and_the_next_one_signs_in_to_it() {
    let node = receiving().start_alone().await;
    for (to, kind, sent) in [(EMAIL, "email", " ADA@example.org "), (PHONE, "phone", "+49 (0)151 1234-5678")] {
        node.request_code(sent, "LOGIN").await.data();
        let code = node.notices().next_code(to).await;
        let first = node.login_with_code(to, &code).await.data()["loginWithCode"].clone();
        assert_eq!((&first["isNewAccount"], &first["viewer"]["hasPassword"]), (&json!(true), &json!(false)));
        assert_eq!(first["viewer"][kind], to);
        assert_eq!(first["viewer"][format!("{kind}Verified")], true);
        let username = first["viewer"]["user"]["username"].as_str().unwrap();
        assert!(username.starts_with("user_") && username.len() == 15, "{username}");
        // Other users see the name, so it reveals nothing about the address.
        assert_eq!(first["viewer"]["user"]["displayName"], username);

        let code = node.code(to, "LOGIN").await;
        let spaced = format!(" {} {}\n", &code[..3], &code[3..]);
        let again = node.login_with_code(sent, &spaced).await.data()["loginWithCode"].clone();
        assert_eq!((&again["isNewAccount"], &again["viewer"]["user"]), (&json!(false), &first["viewer"]["user"]));
        assert_ne!(again["session"]["id"], first["session"]["id"]);
    }
}

#[tokio::test]
async fn a_new_account_gets_the_display_name_of_the_input() {
    let node = receiving().start_alone().await;
    let code = node.code(EMAIL, "LOGIN").await;
    let bad = node.login_with_code_and(EMAIL, &code, json!({"displayName": " ", "deviceName": ""})).await;
    assert_eq!(bad.violations(), ["displayName", "deviceName"]);
    let data = node.login_with_code_and(EMAIL, &code, json!({"displayName": "Ada"})).await.data();
    assert_eq!(data["loginWithCode"]["viewer"]["user"]["displayName"], "Ada");
    let code = node.code(EMAIL, "LOGIN").await;
    let data = node.login_with_code_and(EMAIL, &code, json!({"displayName": "Not Ada"})).await.data();
    assert_eq!(data["loginWithCode"]["viewer"]["user"]["displayName"], "Ada");
}

#[tokio::test]
async fn a_code_works_once_and_only_for_its_purpose_and_target() {
    let node = receiving().start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    let code = node.code(EMAIL, "LOGIN").await;
    assert_wrong_code(&node.login_with_code("bob@example.org", &code).await);
    assert_wrong_code(&node.reset_password(EMAIL, &code, "another long battery staple").await);
    assert_wrong_code(&ada.try_verify(EMAIL, &code).await);
    node.login_with_code(EMAIL, &code).await.data();
    assert_wrong_code(&node.login_with_code(EMAIL, &code).await);
    // Without a challenge only the newest code works.
    let former = node.code(EMAIL, "LOGIN").await;
    let new = node.code(EMAIL, "LOGIN").await;
    if former != new {
        assert_wrong_code(&node.login_with_code(EMAIL, &former).await);
    }
    node.login_with_code(EMAIL, &new).await.data();
}

#[tokio::test]
async fn a_code_expires_after_ten_minutes() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let requested = node.request_code(EMAIL, "LOGIN").await.data();
    let code = node.notices().next_code(EMAIL).await;
    let expires_at = requested["requestCode"]["expiresAt"].as_str().unwrap();
    let expires_at: chrono::DateTime<chrono::Utc> = expires_at.parse().unwrap();
    let left = expires_at - Clock::system().now();
    assert!(left > TimeDelta::minutes(9) && left <= TimeDelta::minutes(10), "{left}");
    let late = Node::build().clock(Clock::off_by(TimeDelta::minutes(10))).start_on(&database).await;
    assert_wrong_code(&late.login_with_code(EMAIL, &code).await);
    node.login_with_code(EMAIL, &code).await.data();
}

#[tokio::test]
async fn a_code_allows_five_tries() {
    let node = receiving().start_alone().await;
    for (mistakes, works) in [(4, true), (5, false)] {
        let code = node.code(EMAIL, "LOGIN").await;
        for _ in 0..mistakes {
            assert_wrong_code(&node.login_with_code(EMAIL, &wrong_code(&code)).await);
        }
        let last = node.login_with_code(EMAIL, &code).await;
        if works {
            last.data();
        } else {
            assert_wrong_code(&last);
        }
    }
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

async fn number(database: &TestDatabase, query: &str) -> i64 {
    let query = diesel::sql_query(format!("SELECT ({query})::bigint AS number"));
    query.get_result::<Number>(&mut database.connection().await).await.unwrap().number
}

#[tokio::test]
async fn concurrent_tries_count_one_by_one() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let code = node.code(EMAIL, "LOGIN").await;
    let wrong = wrong_code(&code);
    for answer in join_all((0..20).map(|_| node.login_with_code(EMAIL, &wrong))).await {
        assert_wrong_code(&answer);
    }
    assert_eq!(number(&database, "SELECT open_tries FROM verification_codes").await, 5);
    assert_wrong_code(&node.login_with_code(EMAIL, &code).await);
}

#[tokio::test]
async fn of_concurrent_uses_of_a_code_one_succeeds() {
    let database = TestDatabase::new().await;
    let nodes = [receiving().start_on(&database).await, Node::build().start_on(&database).await];
    let code = nodes[0].code(EMAIL, "LOGIN").await;
    let answers = join_all((0..4).map(|place| nodes[place % 2].login_with_code(EMAIL, &code))).await;
    let (signed_in, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.body.get("errors").is_none());
    assert_eq!(signed_in.len(), 1);
    refused.into_iter().for_each(assert_wrong_code);
    assert_eq!(number(&database, "SELECT count(*) FROM users").await, 1);
    assert_eq!(number(&database, "SELECT count(*) FROM sessions").await, 1);
}

/// While the transaction of a first login waits, another account verifies the address.
#[tokio::test]
async fn a_first_login_signs_in_to_the_account_that_has_just_verified_the_address() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let bob = register_with(&node, "bob", json!({"email": EMAIL})).await;
    let code = node.code(EMAIL, "LOGIN").await;
    let mut other = database.connection().await;
    other.batch_execute("BEGIN; UPDATE users SET email_verified_at = now() WHERE username = 'bob'").await.unwrap();
    let commit = async {
        database.statement_waits_for_lock().await;
        other.batch_execute("COMMIT").await.unwrap();
    };
    let (answer, ()) = futures_util::join!(node.login_with_code(EMAIL, &code), commit);
    let data = answer.data()["loginWithCode"].clone();
    assert_eq!((&data["isNewAccount"], &data["viewer"]["user"]["id"]), (&json!(false), &json!(bob.id)));
}

#[tokio::test]
async fn an_account_that_only_claims_an_address_is_not_signed_in() {
    let node = receiving().start_alone().await;
    let claimed = register_with(&node, "eve", json!({"email": EMAIL, "phone": PHONE})).await;
    for to in [EMAIL, PHONE] {
        let owner = node.user_by_code(to).await;
        assert_ne!(owner.id, claimed.id);
    }
    // The claim stays, unverified.
    let viewer = claimed.query("{ viewer { email emailVerified phone phoneVerified } }", json!({})).await;
    let expected = json!({"email": EMAIL, "emailVerified": false, "phone": PHONE, "phoneVerified": false});
    assert_eq!(viewer["viewer"], expected);
}

/// Older servers did not remove the national prefix of a phone number.
#[tokio::test]
async fn a_number_as_older_servers_stored_it_signs_in_by_a_code() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let ada = node.user_by_code(PHONE).await;
    let store = "UPDATE users SET phone = '+49015112345678'";
    diesel::sql_query(store).execute(&mut database.connection().await).await.unwrap();
    node.request_code("+49 (0)151 12345678", "LOGIN").await.data();
    let code = node.notices().next_code(PHONE).await;
    let data = node.login_with_code("+49 (0)151 12345678", &code).await.data();
    assert_eq!(data["loginWithCode"]["viewer"]["user"]["id"], ada.id.as_str());
}

#[tokio::test]
async fn an_account_without_a_password_refuses_every_password_as_wrong() {
    let node = receiving().start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    let unknown = login(&node, "nobody", PASSWORD).await;
    for (identifier, password) in [(EMAIL, PASSWORD), (&ada.username, PASSWORD), (EMAIL, "")] {
        assert_eq!(login(&node, identifier, password).await.body, unknown.body);
    }
}

#[tokio::test]
async fn answers_do_not_reveal_whether_an_account_exists() {
    let node = receiving().start_alone().await;
    let ada = register_with(&node, "ada", json!({})).await;
    ada.verify(&node, EMAIL).await;
    register_with(&node, "eve", json!({"email": "claimed@example.org"})).await;
    let mut refusals = Vec::new();
    for to in [EMAIL, "claimed@example.org", "nobody@example.org"] {
        for purpose in ["LOGIN", "RESET_PASSWORD"] {
            let data = node.request_code(to, purpose).await.data();
            let fields: Vec<_> = data["requestCode"].as_object().unwrap().keys().cloned().collect();
            assert_eq!(fields, ["challenge", "expiresAt"]);
        }
        // The right code of a login is not 000000, with a probability of 999,999 in a million.
        refusals.push(node.login_with_code(to, "000000").await.body);
        refusals.push(node.reset_password(to, "000000", "another long battery staple").await.body);
    }
    for to in ["new@example.org", PHONE] {
        // No code was requested for these.
        refusals.push(node.login_with_code(to, "000000").await.body);
    }
    let words: Vec<_> = refusals.iter().map(|body| &body["errors"][0]["message"]).collect();
    assert!(words.iter().all(|message| *message == words[0]), "{words:?}");
    // Only the owner of a verified address gets a code that resets the password: one more than the others.
    node.notices().next_code(EMAIL).await;
    node.notices().next_code(EMAIL).await;
    node.notices().next_code("claimed@example.org").await;
    node.notices().next_code("nobody@example.org").await;
    node.code(EMAIL, "LOGIN").await;
    assert_eq!(node.notices().unread("claimed@example.org"), 0);
    assert_eq!(node.notices().unread("nobody@example.org"), 0);
}

#[tokio::test]
async fn the_registration_mode_decides_whether_a_code_makes_an_account() {
    let database = TestDatabase::new().await;
    let open = receiving().start_on(&database).await;
    let ada = open.user_by_code(EMAIL).await;

    let closed = receiving().flag("--registration=closed").start_on(&database).await;
    assert_eq!(closed.user_by_code(EMAIL).await.id, ada.id);
    closed.request_code("bob@example.org", "LOGIN").await.data();
    closed.code(EMAIL, "LOGIN").await;
    assert_eq!(closed.notices().unread("bob@example.org"), 0, "the code could not be used");
    let code = open.code("bob@example.org", "LOGIN").await;
    assert_eq!(closed.login_with_code("bob@example.org", &code).await.code(), "FORBIDDEN");

    let invite = receiving().flag("--registration=invite").start_on(&database).await;
    assert_eq!(invite.user_by_code(EMAIL).await.id, ada.id, "only new accounts need an invite");
    let new = NewRegistrationInvite { uses: 1, expires_in: 7, note: None };
    let (now, random) = (Clock::system().now(), Random::system());
    let key = registration_invites::create(&database.url, new, now, &random).await.unwrap();
    let code = invite.code("bob@example.org", "LOGIN").await;
    // A missing invite does not use up the code, and counts as no try.
    for _ in 0..6 {
        let missing = invite.login_with_code("bob@example.org", &code).await;
        assert_eq!((missing.code(), missing.violations()), ("BAD_USER_INPUT", vec!["invite"]));
    }
    let data = invite.login_with_code_and("bob@example.org", &code, json!({"invite": key})).await.data();
    assert_eq!(data["loginWithCode"]["isNewAccount"], true);
    let code = invite.code("cem@example.org", "LOGIN").await;
    let used_up = invite.login_with_code_and("cem@example.org", &code, json!({"invite": key})).await;
    assert_eq!(used_up.violations(), ["invite"]);
}

#[tokio::test]
async fn malformed_codes_and_contact_points_are_bad_user_input() {
    let node = receiving().start_alone().await;
    for code in ["", "12345", "1234567", "12345a", "12 34 5", &"1".repeat(100_000)] {
        let answer = node.login_with_code(EMAIL, code).await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["code"]), "{code:.20}");
    }
    let digits = node.login_with_code(EMAIL, "١٢٣٤٥٦").await;
    assert_wrong_code(&digits);
    for (to, path) in [
        ("no@address", "contactPoint.email"),
        ("ada@[127.0.0.1]", "contactPoint.email"),
        ("ada@[IPv6:2001:db8::1]", "contactPoint.email"),
        ("ada@192.0.2.1", "contactPoint.email"),
        ("0151 12345678", "contactPoint.phone"),
    ] {
        let answer = node.request_code(to, "LOGIN").await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec![path]));
        assert_eq!(node.login_with_code(to, "123456").await.violations(), [path]);
    }
    let both = "mutation { requestCode(input: {
        contactPoint: {email: \"ada@example.org\", phone: \"+4915112345678\"}, purpose: LOGIN
    }) { expiresAt } }";
    assert_eq!(node.call(None, both, json!({})).await.code(), "GRAPHQL_VALIDATION_FAILED");
    for purpose in ["VERIFY", "CONFIRM"] {
        assert_eq!(node.request_code(EMAIL, purpose).await.code(), "UNAUTHENTICATED");
    }
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    row: String,
}

#[tokio::test]
async fn the_database_has_neither_codes_nor_addresses() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    let code = node.code(EMAIL, "LOGIN").await;
    let query = diesel::sql_query("SELECT to_jsonb(verification_codes)::text AS row FROM verification_codes");
    let rows: Vec<Row> = query.load(&mut database.connection().await).await.unwrap();
    assert_eq!(rows.len(), 1);
    let row: Value = serde_json::from_str(&rows[0].row).unwrap();
    let fields: Vec<_> = row.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields, ["code_hash", "created_at", "expires_at", "id", "open_tries", "slot", "tries", "user_id"]);
    let hexadecimal = |text: &str| text.bytes().fold(String::new(), |digits, byte| format!("{digits}{byte:02x}"));
    for secret in [EMAIL.to_owned(), hexadecimal(EMAIL), hexadecimal(&code)] {
        assert!(!rows[0].row.contains(&secret), "{secret} in {}", rows[0].row);
    }
}

#[tokio::test]
async fn expired_codes_are_deleted() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    for to in [EMAIL, PHONE] {
        node.code(to, "LOGIN").await;
    }
    let count = async || number(&database, "SELECT count(*) FROM verification_codes").await;
    assert_eq!(count().await, 2);
    let expire = "UPDATE verification_codes SET expires_at = now() - interval '2 hours' WHERE id = (
        SELECT id FROM verification_codes LIMIT 1
    )";
    database.connection().await.batch_execute(expire).await.unwrap();
    // A node deletes expired rows when it starts.
    let _later = Node::build().start_on(&database).await;
    eventually("the expired code is deleted", async || count().await == 1).await;
}
