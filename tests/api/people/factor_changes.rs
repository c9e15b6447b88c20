//! Changes of accounts with a second factor: they ask for the factor again. Removal of factors, notices and the export.

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use parlance::domain::people::export::export;
use parlance::domain::people::second_factors;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Authenticator, Node, PASSWORD, TestDatabase, User, eventually};

const EMAIL: &str = "ada@example.org";
const SET_UP: &str = "mutation { setUpTotp { secret } }";
const DISABLE: &str = "mutation { disableTotp { viewer { totpEnabled recoveryCodesLeft } } }";
const REGENERATE: &str = "mutation { regenerateRecoveryCodes { recoveryCodes } }";

async fn change_password(user: &User) -> Answer {
    let query = "mutation ($old: String!) { changePassword(input: {
        currentPassword: $old, newPassword: \"another long battery staple\"
    }) { viewer { id } } }";
    user.call(query, json!({"old": PASSWORD})).await
}

#[tokio::test]
async fn changes_of_the_second_factor_need_a_confirmed_identity() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let app = ada.set_up_totp().await;
    database.let_confirmations_expire().await;
    ada.call(SET_UP, json!({})).await.assert_unconfirmed();
    ada.confirm_totp(&app.code()).await.assert_unconfirmed();
    ada.confirm_by(json!({"password": PASSWORD})).await.data();
    ada.confirm_totp(&app.code()).await.data();
    database.let_confirmations_expire().await;
    for change in [DISABLE, REGENERATE] {
        ada.call(change, json!({})).await.assert_unconfirmed();
    }
}

#[tokio::test]
async fn an_account_with_a_second_factor_confirms_by_that_factor() {
    let database = TestDatabase::new().await;
    let node = Node::build().receive_notices().start_on(&database).await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    // Without a second factor there is nothing to compare.
    ada.confirm_by(json!({"totp": "123456"})).await.assert_bad("totp");
    ada.confirm_by(json!({"recoveryCode": "0000-0000-0000-0000"})).await.assert_bad("recoveryCode");
    let (app, codes) = ada.enable_totp().await;
    node.notices().next(EMAIL).await;
    database.let_confirmations_expire().await;

    ada.confirm_by(json!({"password": PASSWORD})).await.assert_bad("password");
    let code = ada.code(&node, EMAIL, "CONFIRM").await;
    ada.confirm_by_code(EMAIL, &code).await.assert_bad("code.code");
    ada.confirm_by(json!({"totp": app.wrong_code()})).await.assert_bad("totp");
    ada.call(REGENERATE, json!({})).await.assert_unconfirmed();
    let next = app.code_in(1);
    ada.confirm_by(json!({"totp": next})).await.data();
    ada.confirm_by(json!({"totp": next})).await.assert_bad("totp");
    database.let_confirmations_expire().await;
    ada.confirm_by(json!({"recoveryCode": codes[0]})).await.data();
    ada.confirm_by(json!({"recoveryCode": codes[0]})).await.assert_bad("recoveryCode");
    assert!(node.notices().next(EMAIL).await.text.contains("9 codes are left"));
    ada.query(REGENERATE, json!({})).await;
}

#[tokio::test]
async fn the_password_alone_changes_and_deletes_no_account_with_a_second_factor() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let (app, codes) = ada.enable_totp().await;
    database.let_confirmations_expire().await;
    change_password(&ada).await.assert_unconfirmed();
    ada.delete_account(Some(PASSWORD)).await.assert_unconfirmed();
    // A wrong password is still wrong.
    ada.delete_account(Some("another password")).await.assert_bad("password");
    ada.confirm_by(json!({"totp": app.code_in(1)})).await.data();
    ada.delete_account(Some(PASSWORD)).await.data();

    // A sign-in with both factors confirms the session.
    let bob = node.register("bob").await;
    let (_, bobs) = bob.enable_totp().await;
    database.let_confirmations_expire().await;
    let challenge = node.challenge_of(&bob).await;
    node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.assert_bad("factor");
    let data = node.complete_login(&challenge, json!({"recoveryCode": bobs[0]})).await.data();
    change_password(&User::from_payload(&node, &data["completeLogin"])).await.data();
}

#[tokio::test]
async fn a_new_second_factor_ends_the_confirmations_of_other_sessions() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let other = User::login(&node, &ada.username, PASSWORD).await;
    ada.enable_totp().await;
    other.call(REGENERATE, json!({})).await.assert_unconfirmed();
    ada.query(REGENERATE, json!({})).await;
}

/// While a thief confirms a session by the password, the owner puts a second factor in use.
#[tokio::test]
async fn a_password_confirms_nothing_if_a_second_factor_was_added_meanwhile() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    database.let_confirmations_expire().await;
    let mut owner = database.connection().await;
    let add = "BEGIN; UPDATE users SET about = 'locked';
        INSERT INTO totp_factors (user_id, secret, created_at, confirmed_at)
        SELECT id, '\\x00', now(), now() FROM users";
    owner.batch_execute(add).await.unwrap();
    let commit = async {
        database.statement_waits_for_lock().await;
        owner.batch_execute("COMMIT").await.unwrap();
    };
    let (answer, ()) = futures_util::join!(ada.confirm_by(json!({"password": PASSWORD})), commit);
    answer.assert_bad("password");
    ada.call(DISABLE, json!({})).await.assert_unconfirmed();
}

#[tokio::test]
async fn without_its_authenticator_app_an_account_signs_in_by_password_again() {
    let node = Node::build().receive_notices().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    for change in [DISABLE, REGENERATE] {
        assert_eq!(ada.call(change, json!({})).await.code(), "CONFLICT");
    }
    let (_, codes) = ada.enable_totp().await;
    assert!(node.notices().next(EMAIL).await.text.contains("was added to"));
    let challenge = node.challenge_of(&ada).await;
    let data = ada.query(DISABLE, json!({})).await;
    assert_eq!(data["disableTotp"]["viewer"], json!({"totpEnabled": false, "recoveryCodesLeft": null}));
    assert!(node.notices().next(EMAIL).await.text.contains("was removed"));
    node.login(&ada.username, PASSWORD).await.data();
    node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.assert_bad("factor");
    // The codes of the former app do not come back with a new one.
    ada.enable_totp().await;
    let challenge = node.challenge_of(&ada).await;
    node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.assert_bad("factor");
}

#[tokio::test]
async fn an_operator_removes_all_factors_of_a_user() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let mut authenticator = Authenticator::new();
    ada.add_passkey(&mut authenticator).await;
    ada.enable_totp().await;
    bob.enable_totp().await;
    let removed = second_factors::reset(&database.url, &ada.username).await.unwrap().unwrap();
    assert_eq!((removed.username, removed.totp, removed.can_sign_in), (ada.username.clone(), true, true));
    assert_eq!(removed.passkeys, ["Phone"]);
    node.login(&ada.username, PASSWORD).await.data();
    assert_eq!(node.login_with_passkey(&authenticator).await.code(), "UNAUTHENTICATED");
    node.login(&bob.username, PASSWORD).await.challenge();
    let removed = second_factors::reset(&database.url, &ada.id).await.unwrap().unwrap();
    assert_eq!((removed.totp, removed.passkeys.len()), (false, 0));
    assert!(second_factors::reset(&database.url, "nobody").await.unwrap().is_none());
}

#[tokio::test]
async fn the_export_has_the_factors_without_their_secrets() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let mut authenticator = Authenticator::new();
    let passkey = ada.add_passkey(&mut authenticator).await;
    let setup = ada.query("mutation { setUpTotp { secret } }", json!({})).await;
    let archive = async |user: &User| {
        let mut text = Vec::new();
        export(&database.url, &user.id, chrono::DateTime::UNIX_EPOCH, &mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    };
    let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(parsed(&archive(&ada).await)["totp"], Value::Null, "the app is not in use");
    ada.enable_totp().await;
    let text = archive(&ada).await;
    let exported = parsed(&text);
    assert_eq!(exported["totp"]["recoveryCodesLeft"], 10);
    assert!(exported["totp"]["confirmedAt"].is_string());
    assert_eq!(exported["passkeys"].as_array().unwrap().len(), 1);
    assert_eq!((&exported["passkeys"][0]["id"], &exported["passkeys"][0]["name"]), (&passkey["id"], &json!("Phone")));
    assert!(!text.contains(setup["setUpTotp"]["secret"].as_str().unwrap()));
    for secret in ["secret", "publicKey", "hash"] {
        assert!(!text.contains(secret), "{secret}");
    }
    assert_eq!(parsed(&archive(&bob).await)["passkeys"], json!([]));
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

/// A client that knows the password begins many sign-ins, and completes none.
#[tokio::test]
async fn a_flood_of_sign_ins_replaces_only_challenges_of_its_own_network() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let (app, _) = ada.enable_totp().await;
    let login = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
    let credentials = json!({"input": {"identifier": ada.username, "password": PASSWORD}});
    let owner = Api::from_address(&node, 2).call(None, login, credentials).await.challenge().to_owned();
    let oldest = node.challenge_of(&ada).await;
    for _ in 0..20 {
        node.challenge_of(&ada).await;
    }
    let query = "SELECT count(*) AS count FROM login_challenges";
    let stored: Count = diesel::sql_query(query).get_result(&mut database.connection().await).await.unwrap();
    assert_eq!(stored.count, 21);
    node.complete_login(&oldest, json!({"totp": app.code_in(1)})).await.assert_bad("challenge");
    node.complete_login(&owner, json!({"totp": app.code_in(1)})).await.data();
}

#[tokio::test]
async fn expired_challenges_are_deleted() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--housekeeping-interval=1").start_on(&database).await;
    let ada = node.register("ada").await;
    ada.enable_totp().await;
    node.challenge_of(&ada).await;
    node.passkey_options().await;
    let age = "UPDATE login_challenges SET expires_at = now() - interval '2 hours';
        UPDATE passkey_challenges SET expires_at = now() - interval '2 hours';
        INSERT INTO sign_in_codes (code_hash, assertion, expires_at)
        VALUES ('\\x00', '{}', now() - interval '2 hours')";
    let mut connection = database.connection().await;
    connection.batch_execute(age).await.unwrap();
    let live = node.challenge_of(&ada).await;
    node.passkey_options().await;
    eventually("only the live challenges are left, and no sign-in code", async || {
        let query = "SELECT (SELECT count(*) FROM login_challenges) + (SELECT count(*) FROM passkey_challenges)
            + (SELECT count(*) FROM sign_in_codes) AS count";
        let left: Count = diesel::sql_query(query).get_result(&mut connection).await.unwrap();
        left.count == 2
    })
    .await;
    node.complete_login(&live, json!({"totp": "12345"})).await.assert_bad("factor");
    node.complete_login(&live, json!({"recoveryCode": ""})).await.assert_bad("factor");
}
