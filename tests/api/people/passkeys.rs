//! Passkeys: adding them, signing in, confirming the identity, and every answer that the server must refuse.

use std::array;

use chrono::TimeDelta;
use futures_util::future::join_all;
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::authenticator::{BACKED_UP, BACKUP_ELIGIBLE, USER_PRESENT, USER_VERIFIED};
use crate::support::{Answer, Authenticator, Node, NodeBuilder, PASSWORD, TestDatabase, User};

const EMAIL: &str = "ada@example.org";
const LIST: &str = "{ viewer { passkeys { id name createdAt lastUsedAt backedUp } } }";
const REMOVE: &str = "mutation ($id: ID!) { removePasskey(input: {passkeyId: $id}) { passkeyId } }";
const RENAME: &str = "mutation ($id: ID!, $name: String!) { renamePasskey(input: {passkeyId: $id, name: $name}) {
    passkey { id name }
} }";

async fn list(user: &User) -> Value {
    user.query(LIST, json!({})).await["viewer"]["passkeys"].clone()
}

fn options(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Asserts that the answer is the one for an unknown passkey.
#[track_caller]
fn assert_unknown(answer: &Answer) {
    assert_eq!(answer.code(), "UNAUTHENTICATED", "{:#}", answer.body);
    assert!(answer.body["errors"][0]["message"].as_str().unwrap().contains("unknown, or its signature is wrong"));
}

/// A change of an authenticator, and the text of the error that the change causes.
type Case = (fn(&mut Authenticator), &'static str);

/// Answers that are refused both for a new passkey and for a sign-in.
const REFUSED: [Case; 9] = [
    (|it| it.origin = "https://example.org".into(), "origin"),
    (|it| it.origin = "http://localhost.example.org".into(), "origin"),
    (|it| it.cross_origin = true, "origin"),
    (|it| it.top_origin = Some("http://localhost:5173"), "origin"),
    (|it| it.rp_id = "example.org".into(), "another domain"),
    (|it| it.flags = USER_PRESENT, "has not verified its user"),
    (|it| it.flags = USER_VERIFIED, "has not verified its user"),
    (|it| it.flags = USER_PRESENT | USER_VERIFIED | BACKED_UP, "not the JSON text"),
    (|it| it.ceremony = Some("payment.get"), "another operation"),
];

#[tokio::test]
async fn a_passkey_signs_in_without_a_password() {
    let node = Node::start().await;
    for mut authenticator in [Authenticator::new(), Authenticator::with_eddsa(), Authenticator::with_rs256()] {
        let ada = node.register("ada").await;
        assert_eq!(list(&ada).await, json!([]));
        let passkey = ada.add_passkey(&mut authenticator).await;
        assert_eq!((&passkey["name"], &passkey["lastUsedAt"]), (&json!("Phone"), &Value::Null));
        assert!(passkey["id"].as_str().unwrap().starts_with("pky_"));
        assert_eq!(list(&ada).await, json!([passkey]));

        let data = node.login_with_passkey(&authenticator).await.data()["loginWithPasskey"].clone();
        assert_eq!((&data["session"]["deviceName"], &data["isNewAccount"]), (&json!("A laptop"), &json!(false)));
        let again = User::from_payload(&node, &data);
        assert_eq!(again.id, ada.id);
        assert_ne!(again.session, ada.session);
        assert!(list(&again).await[0]["lastUsedAt"].is_string());
        // Signing in confirms the identity.
        again.try_creation_options().await.data();
    }
}

#[tokio::test]
async fn the_options_ask_for_a_discoverable_credential_of_a_verified_user() {
    let node = Node::build().flags(&["--app-name=Our Chat", "--webauthn-rp-id=example.org"]).start_alone().await;
    let ada = node.register("ada").await;
    let mut authenticator = Authenticator::new();
    (authenticator.origin, authenticator.rp_id) = ("https://example.org".to_owned(), "example.org".to_owned());
    ada.add_passkey(&mut authenticator).await;
    let creation = options(&ada.creation_options().await);
    assert_eq!(creation["rp"], json!({"id": "example.org", "name": "Our Chat"}));
    assert_eq!(
        (&creation["user"]["name"], &creation["user"]["displayName"]),
        (&json!(ada.username), &json!(ada.username))
    );
    assert_eq!(creation["authenticatorSelection"]["residentKey"], "required");
    assert_eq!(creation["authenticatorSelection"]["userVerification"], "required");
    assert_eq!((&creation["attestation"], &creation["timeout"]), (&json!("none"), &json!(300_000)));
    let algorithms: Vec<_> =
        creation["pubKeyCredParams"].as_array().unwrap().iter().map(|one| one["alg"].as_i64().unwrap()).collect();
    assert_eq!(algorithms, [-7, -8, -257]);
    // The authenticator does not make a second passkey of the same account.
    assert_eq!(creation["excludeCredentials"].as_array().unwrap().len(), 1);
    let request = options(&node.passkey_options().await);
    assert_eq!((&request["rpId"], &request["userVerification"]), (&json!("example.org"), &json!("required")));
    assert_eq!(request["allowCredentials"], json!([]));
    assert_ne!(request["challenge"], options(&node.passkey_options().await)["challenge"]);
    node.login_with_passkey(&authenticator).await.data();
}

#[tokio::test]
async fn a_new_passkey_is_refused_if_an_answer_breaks_a_rule() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for (change, reason) in REFUSED {
        let mut authenticator = Authenticator::new();
        change(&mut authenticator);
        let credential = authenticator.create(&ada.creation_options().await);
        let refused = ada.add_credential(&credential, "Phone").await;
        refused.assert_bad("credential");
        assert!(refused.body["errors"][0]["message"].as_str().unwrap().contains(reason), "{:#}", refused.body);
    }
    let mut authenticator = Authenticator::new();
    authenticator.credential_id = vec![7; 1024];
    let long = authenticator.create(&ada.creation_options().await);
    ada.add_credential(&long, "Phone").await.assert_bad("credential");
    for text in ["", "{}", "null", "[]", "{\"id\": 1}", &"[".repeat(1000), &"x".repeat(100_000)] {
        ada.add_credential(text, "Phone").await.assert_bad("credential");
        assert_eq!(node.login_with_credential(text).await.violations(), ["credential"]);
    }
    let mut authenticator = Authenticator::new();
    let credential = authenticator.create(&ada.creation_options().await);
    for name in ["", " ", "two\nlines", &"x".repeat(101)] {
        ada.add_credential(&credential, name).await.assert_bad("name");
    }
    ada.add_credential(&credential, &"x".repeat(100)).await.data();
    assert_eq!(list(&ada).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn keys_of_other_algorithms_and_invalid_keys_are_refused() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let authenticator = Authenticator::new();
    let right = authenticator.cose_key();
    let with = |place: usize, byte: u8| {
        let mut key = right.clone();
        key[place] = byte;
        key
    };
    let last = right.len() - 1;
    let rsa = Authenticator::with_rs256().cose_key();
    let before = rsa.len() - 4;
    let with_exponent = |exponent: &[u8]| [&rsa[..before], exponent].concat();
    let ed25519 = |point: [u8; 32]| [&[0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 0x20][..], &point[..]].concat();
    for (key, reason) in [
        // An unknown algorithm, and the curve P-384.
        (with(4, 0x37), "algorithms"),
        (with(6, 2), "algorithms"),
        // The algorithm, the type and the curve do not belong together.
        (with(2, 1), "algorithms"),
        (with(4, 0x27), "algorithms"),
        (with(6, 6), "algorithms"),
        // The algorithm twice.
        ([&[0xa6, 1, 2, 3, 0x26][..], &right[3..]].concat(), "algorithms"),
        // A point that is not on the curve.
        (with(last, right[last] ^ 1), "not the JSON text"),
        // A map that ends too early, one of indefinite length, and a text in place of a map.
        (with(0, 0xa6), "not the JSON text"),
        (with(0, 0xbf), "not the JSON text"),
        (b"\x61a".to_vec(), "algorithms"),
        // A further parameter of 1024 bytes.
        ([&[0xa6][..], &right[1..], &[0x18, 99, 0x59, 4, 0][..], &[0; 1024][..]].concat(), "not the JSON text"),
        // Exponents of RSA: 1, an even one, and one of five bytes. With 1, every client could sign.
        (with_exponent(&[0x41, 1]), "not the JSON text"),
        (with_exponent(&[0x43, 1, 0, 0]), "not the JSON text"),
        (with_exponent(&[0x45, 1, 0, 0, 0, 1]), "not the JSON text"),
        // Points of small order on the curve of Ed25519, also with the other sign. Every client could sign with them.
        (ed25519([0; 32]), "not the JSON text"),
        (ed25519(array::from_fn(|index| u8::from(index == 0))), "not the JSON text"),
        (ed25519(array::from_fn(|index| if index == 0 { 0xec } else { 0xff })), "not the JSON text"),
    ] {
        let credential = authenticator.create_with_key(&ada.creation_options().await, &key);
        let refused = ada.add_credential(&credential, "Phone").await;
        refused.assert_bad("credential");
        assert!(refused.body["errors"][0]["message"].as_str().unwrap().contains(reason), "{:#}", refused.body);
    }
    let credential = authenticator.create_with_key(&ada.creation_options().await, &right);
    ada.add_credential(&credential, "Phone").await.data();
}

#[tokio::test]
async fn a_sign_in_is_refused_if_an_answer_breaks_a_rule() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for (change, reason) in REFUSED {
        let mut authenticator = Authenticator::new();
        ada.add_passkey(&mut authenticator).await;
        change(&mut authenticator);
        let refused = node.login_with_passkey(&authenticator).await;
        refused.assert_bad("credential");
        assert!(refused.body["errors"][0]["message"].as_str().unwrap().contains(reason), "{:#}", refused.body);
    }
    let mut authenticator = Authenticator::new();
    ada.add_passkey(&mut authenticator).await;
    // Another key signs.
    let mut other = Authenticator::new();
    other.credential_id.clone_from(&authenticator.credential_id);
    other.user_handle.clone_from(&authenticator.user_handle);
    assert_unknown(&node.login_with_passkey(&other).await);
    // The signature is of other data.
    let mut credential = options(&authenticator.get(&node.passkey_options().await));
    credential["response"]["signature"] =
        options(&other.get(&node.passkey_options().await))["response"]["signature"].clone();
    assert_unknown(&node.login_with_credential(&credential.to_string()).await);
    node.login_with_passkey(&authenticator).await.data();
}

#[tokio::test]
async fn a_passkey_signs_in_only_its_own_user() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (mut hers, mut his) = (Authenticator::new(), Authenticator::new());
    ada.add_passkey(&mut hers).await;
    bob.add_passkey(&mut his).await;
    // Ada's passkey with Bob's handle.
    let own = hers.user_handle.clone();
    hers.user_handle.clone_from(&his.user_handle);
    assert_unknown(&node.login_with_passkey(&hers).await);
    hers.user_handle = Vec::new();
    assert_unknown(&node.login_with_passkey(&hers).await);
    hers.user_handle = own;
    // Bob cannot add a passkey with the id of hers.
    let mut copy = Authenticator::new();
    copy.credential_id.clone_from(&hers.credential_id);
    let credential = copy.create(&bob.creation_options().await);
    assert_eq!(bob.add_credential(&credential, "Copy").await.code(), "CONFLICT");
    // An answer to Ada's options adds no passkey to Bob's account.
    let credential = Authenticator::new().create(&ada.creation_options().await);
    bob.add_credential(&credential, "Hers").await.assert_bad("credential");
    // Bob cannot see, rename or remove hers, and it does not confirm his identity.
    let id = list(&ada).await[0]["id"].clone();
    assert_eq!(bob.call(RENAME, json!({"id": id, "name": "Mine"})).await.code(), "NOT_FOUND");
    assert_eq!(bob.call(REMOVE, json!({"id": id})).await.code(), "NOT_FOUND");
    let credential = hers.get(&node.passkey_options().await);
    bob.confirm_by(json!({"passkey": credential})).await.assert_bad("passkey");
    let data = node.login_with_passkey(&hers).await.data();
    assert_eq!(data["loginWithPasskey"]["viewer"]["user"]["id"], ada.id.as_str());
}

#[tokio::test]
async fn a_challenge_is_answered_once_and_within_five_minutes() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let mut authenticator = Authenticator::new();
    let request = ada.creation_options().await;
    ada.add_credential(&authenticator.create(&request), "Phone").await.data();
    let mut second = Authenticator::new();
    ada.add_credential(&second.create(&request), "Phone").await.assert_bad("credential");

    let credential = authenticator.get(&node.passkey_options().await);
    node.login_with_credential(&credential).await.data();
    let replayed = node.login_with_credential(&credential).await;
    replayed.assert_bad("credential");
    assert!(replayed.body["errors"][0]["message"].as_str().unwrap().contains("already answered"));
    // A challenge for a new passkey is not one for a sign-in, and the other way round.
    let mixed = authenticator.get(&ada.creation_options().await);
    node.login_with_credential(&mixed).await.assert_bad("credential");
    let mixed = authenticator.create(&ada.creation_options().await);
    let wrong = node.login_with_credential(&mixed).await;
    assert!(wrong.body["errors"][0]["message"].as_str().unwrap().contains("another operation"));
    // A challenge that the server has not made.
    let mut own = options(&node.passkey_options().await);
    own["challenge"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    node.login_with_credential(&authenticator.get(&own.to_string())).await.assert_bad("credential");

    let late = Node::build().clock(Clock::off_by(TimeDelta::minutes(5))).start_on(&database).await;
    let request = node.passkey_options().await;
    late.login_with_credential(&authenticator.get(&request)).await.assert_bad("credential");
    node.login_with_credential(&authenticator.get(&request)).await.data();
    // Only one of several concurrent answers to a challenge signs in.
    let credential = authenticator.get(&node.passkey_options().await);
    let answers = join_all((0..5).map(|_| node.login_with_credential(&credential))).await;
    assert_eq!(answers.iter().filter(|answer| answer.body.get("errors").is_none()).count(), 1);
}

#[tokio::test]
async fn the_counter_of_an_authenticator_must_grow() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut authenticator = Authenticator::new();
    authenticator.sign_count = 5;
    ada.add_passkey(&mut authenticator).await;
    for (sign_count, works) in [(5, false), (6, true), (6, false), (4, false), (0, false), (7, true), (1000, true)] {
        authenticator.sign_count = sign_count;
        let answer = node.login_with_passkey(&authenticator).await;
        if works {
            answer.data();
        } else {
            assert_unknown(&answer);
        }
    }
    // Most authenticators do not count. One that begins to count is accepted.
    let mut other = Authenticator::new();
    ada.add_passkey(&mut other).await;
    for sign_count in [0, 0, u32::MAX] {
        other.sign_count = sign_count;
        node.login_with_passkey(&other).await.data();
    }
    other.sign_count = 0;
    assert_unknown(&node.login_with_passkey(&other).await);
}

#[tokio::test]
async fn the_list_says_whether_a_passkey_is_backed_up() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut authenticator = Authenticator::new();
    authenticator.flags |= BACKUP_ELIGIBLE;
    assert_eq!(ada.add_passkey(&mut authenticator).await["backedUp"], false);
    authenticator.flags |= BACKED_UP;
    node.login_with_passkey(&authenticator).await.data();
    assert_eq!(list(&ada).await[0]["backedUp"], true);
}

#[tokio::test]
async fn a_passkey_counts_as_both_factors() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let mut authenticator = Authenticator::new();
    ada.add_passkey(&mut authenticator).await;
    ada.enable_totp().await;
    let answer = node.login(&ada.username, PASSWORD).await;
    answer.challenge();
    let factors = &answer.body["errors"][0]["extensions"]["factors"];
    assert_eq!(factors, &json!(["TOTP", "RECOVERY_CODE", "PASSKEY"]));
    let data = node.login_with_passkey(&authenticator).await.data();
    let again = User::from_payload(&node, &data["loginWithPasskey"]);
    again.query("mutation { regenerateRecoveryCodes { recoveryCodes } }", json!({})).await;
    // It also confirms the identity.
    database.let_confirmations_expire().await;
    again.try_creation_options().await.assert_unconfirmed();
    let credential = authenticator.get(&node.passkey_options().await);
    again.confirm_by(json!({"passkey": credential})).await.data();
    again.try_creation_options().await.data();
    again.confirm_by(json!({"passkey": credential})).await.assert_bad("passkey");
}

#[tokio::test]
async fn a_user_with_a_passkey_deletes_the_account_in_a_confirmed_session() {
    const DELETE: &str = "mutation { deleteAccount(input: {}) { userId } }";
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let mut authenticator = Authenticator::new();
    ada.add_passkey(&mut authenticator).await;
    database.let_confirmations_expire().await;
    ada.call(DELETE, json!({})).await.assert_unconfirmed();
    let credential = authenticator.get(&node.passkey_options().await);
    ada.confirm_by(json!({"passkey": credential})).await.data();
    assert_eq!(ada.query(DELETE, json!({})).await["deleteAccount"]["userId"], ada.id.as_str());
    // A session is not enough for an account without a passkey.
    bob.call(DELETE, json!({})).await.assert_bad("password");
}

#[tokio::test]
async fn adding_and_removing_a_passkey_needs_a_confirmed_identity_and_tells_the_owner() {
    let database = TestDatabase::new().await;
    let node = Node::build().receive_notices().start_on(&database).await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    let mut authenticator = Authenticator::new();
    let credential = authenticator.create(&ada.creation_options().await);
    database.let_confirmations_expire().await;
    ada.try_creation_options().await.assert_unconfirmed();
    ada.add_credential(&credential, "Phone").await.assert_unconfirmed();
    ada.confirm_by(json!({"password": PASSWORD})).await.data();
    let id = ada.add_passkey(&mut authenticator).await["id"].clone();
    assert!(node.notices().next(EMAIL).await.text.contains("was added to"));

    database.let_confirmations_expire().await;
    ada.call(REMOVE, json!({"id": id})).await.assert_unconfirmed();
    let renamed = ada.query(RENAME, json!({"id": id, "name": " Key ring "})).await;
    assert_eq!(renamed["renamePasskey"]["passkey"], json!({"id": id, "name": "Key ring"}));
    ada.call(RENAME, json!({"id": id, "name": ""})).await.assert_bad("name");
    ada.confirm_by(json!({"password": PASSWORD})).await.data();
    assert_eq!(ada.query(REMOVE, json!({"id": id})).await["removePasskey"]["passkeyId"], id);
    let told = node.notices().next(EMAIL).await.text;
    assert!(told.contains("was removed from") && told.contains("Key ring"), "{told}");
    assert_eq!(ada.call(REMOVE, json!({"id": id})).await.code(), "NOT_FOUND");
    assert_unknown(&node.login_with_passkey(&authenticator).await);
    assert_eq!(list(&ada).await, json!([]));
}

#[tokio::test]
async fn an_account_has_at_most_twenty_passkeys() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut prepared = Vec::new();
    for _ in 0..4 {
        prepared.push(Authenticator::new().create(&ada.creation_options().await));
    }
    for _ in 0..18 {
        ada.add_passkey(&mut Authenticator::new()).await;
    }
    // Concurrent additions do not exceed the maximum either.
    let answers = join_all(prepared.iter().map(|credential| ada.add_credential(credential, "Phone"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.body.get("errors").is_none()).count(), 2);
    assert_eq!(list(&ada).await.as_array().unwrap().len(), 20);
    ada.try_creation_options().await.assert_bad("input");
}

fn limited() -> NodeBuilder {
    Node::build().limited().flag("--rate-passkey-challenges=3/1h")
}

#[tokio::test]
async fn the_challenges_of_an_address_are_limited() {
    let node = limited().start_alone().await;
    let ada = node.register("ada").await;
    node.passkey_options().await;
    ada.creation_options().await;
    node.passkey_options().await;
    let query = "mutation { passkeyRequestOptions { options } }";
    for answer in [node.call(None, query, json!({})).await, ada.try_creation_options().await] {
        assert_eq!(answer.code(), "RATE_LIMITED");
        assert_eq!(answer.body["errors"][0]["extensions"]["limit"], "RATE_PASSKEY_CHALLENGES");
    }
}

#[tokio::test]
async fn only_the_origins_of_the_settings_may_use_passkeys() {
    let flags =
        ["--webauthn-rp-id=example.org", "--webauthn-origins=https://chat.example.org,android:apk-key-hash:AbC_1"];
    let node = Node::build().flags(&flags).start_alone().await;
    let ada = node.register("ada").await;
    for (origin, allowed) in [
        ("https://chat.example.org", true),
        ("android:apk-key-hash:AbC_1", true),
        ("https://example.org", false),
        ("http://chat.example.org", false),
        ("http://localhost:5173", false),
    ] {
        let mut authenticator = Authenticator::new();
        (authenticator.origin, authenticator.rp_id) = (origin.to_owned(), "example.org".to_owned());
        let credential = authenticator.create(&ada.creation_options().await);
        let answer = ada.add_credential(&credential, "Phone").await;
        if allowed {
            answer.data();
            node.login_with_passkey(&authenticator).await.data();
        } else {
            answer.assert_bad("credential");
        }
    }
}
