//! Signing in by tokens of an issuer, and the identities that are linked to an account.

use chrono::TimeDelta;
use diesel_async::SimpleAsyncConnection as _;
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{AUDIENCE, Answer, Node, PASSWORD, SigningKey, TestDatabase, TestIssuer, User, eventually};

const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

async fn identities(user: &User) -> Vec<Value> {
    let query = "{ viewer { identities { id issuer issuerName } } }";
    user.query(query, json!({})).await["viewer"]["identities"].as_array().unwrap().clone()
}

async fn delete(user: &User, input: Value) -> Answer {
    let query = "mutation ($input: DeleteAccountInput!) { deleteAccount(input: $input) { userId } }";
    user.call(query, json!({"input": input})).await
}

/// Returns the claims of a user with a name and an e-mail address that the issuer has verified.
fn profile(username: &str, email: &str) -> Value {
    json!({"preferred_username": username, "name": "Ada L.", "email": email, "email_verified": true})
}

#[tokio::test]
async fn the_first_token_makes_an_account_and_the_next_one_signs_in_to_it() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let more = profile("Ada-Lovelace", "Ada@Example.org");
    let first = node.sign_in_with_token(&issuer.token("1", &more)).await.data()["signInWithToken"].clone();
    assert_eq!(first["isNewAccount"], true);
    let viewer = &first["viewer"];
    assert_eq!((&viewer["hasPassword"], &viewer["emailVerified"]), (&json!(false), &json!(true)));
    assert_eq!((&viewer["email"], &viewer["user"]["isGuest"]), (&json!("ada@example.org"), &json!(false)));
    assert_eq!(
        (&viewer["user"]["username"], &viewer["user"]["displayName"]),
        (&json!("ada_lovelace"), &json!("Ada L."))
    );

    let again = node.sign_in_with_token(&issuer.token("1", &json!({}))).await.data()["signInWithToken"].clone();
    assert_eq!((&again["isNewAccount"], &again["viewer"]["user"]), (&json!(false), &viewer["user"]));
    // Another subject with the same username and address is another person.
    let other = node.sign_in_with_token(&issuer.token("2", &more)).await.data()["signInWithToken"].clone();
    assert_eq!((&other["isNewAccount"], &other["viewer"]["email"]), (&json!(true), &json!(null)));
    let username = other["viewer"]["user"]["username"].as_str().unwrap();
    assert!(username.starts_with("ada_lovelace_") && username.len() == "ada_lovelace_".len() + 5, "{username}");

    let user = User::from_payload(&node, &first);
    let linked = identities(&user).await;
    assert_eq!((linked.len(), &linked[0]["issuer"], &linked[0]["issuerName"]), (1, &json!(issuer.url), &json!("test")));
    let data = node.call(None, "{ serverInfo { issuers { name loginUrl } guests } }", json!({})).await.data();
    let expected = json!({"issuers": [{"name": "test", "loginUrl": "/auth/test"}], "guests": false});
    assert_eq!(data["serverInfo"], expected);
}

#[tokio::test]
async fn an_unverified_address_is_not_taken_over() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    for (subject, verified) in [("1", json!(false)), ("2", json!("false")), ("3", json!(null)), ("4", json!(1))] {
        let token = issuer.token(subject, &json!({"email": "ada@example.org", "email_verified": verified}));
        let payload = node.sign_in_with_token(&token).await.data()["signInWithToken"].clone();
        assert_eq!(payload["viewer"]["email"], Value::Null, "{verified}");
        let username = payload["viewer"]["user"]["username"].as_str().unwrap();
        assert!(username.starts_with("user_"), "{username}");
    }
}

#[tokio::test]
async fn a_verified_address_links_an_account_only_if_the_operator_allows_it() {
    let database = TestDatabase::new().await;
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).receive_notices().start_on(&database).await;
    let linking = issuer.node(&json!({"linkByVerifiedEmail": true, "allowRegistration": false})).start_on(&database);
    let linking = linking.await;
    let ada = node.register("ada").await;
    let email = "ada@example.org";
    ada.verify(&node, email).await;
    let other = node.user_by_token(&issuer.token("1", &profile("ada", email))).await;
    assert_ne!(other.id, ada.id);

    let unverified = json!({"email": email, "email_verified": false});
    let refused = linking.sign_in_with_token(&issuer.token("2", &unverified)).await;
    assert_eq!(refused.code(), "FORBIDDEN");
    let token = issuer.token("2", &profile("ada", email));
    let payload = linking.sign_in_with_token(&token).await.data()["signInWithToken"].clone();
    assert_eq!((&payload["isNewAccount"], &payload["viewer"]["user"]["id"]), (&json!(false), &json!(ada.id)));
    assert_eq!(identities(&ada).await.len(), 1);
    // An issuer cannot link any number of its users.
    for subject in 3..22 {
        linking.user_by_token(&issuer.token(&subject.to_string(), &profile("ada", email))).await;
    }
    assert_eq!(identities(&ada).await.len(), 20);
    let refused = linking.sign_in_with_token(&issuer.token("22", &profile("ada", email))).await;
    assert_eq!(refused.code(), "FORBIDDEN");
}

#[tokio::test]
async fn an_issuer_that_the_operator_distrusts_verifies_no_address() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({"trustEmail": false})).start_alone().await;
    let token = issuer.token("1", &profile("ada", "ada@example.org"));
    let payload = node.sign_in_with_token(&token).await.data()["signInWithToken"].clone();
    assert_eq!((&payload["viewer"]["email"], &payload["viewer"]["emailVerified"]), (&json!(null), &json!(false)));
    assert_eq!(payload["viewer"]["user"]["username"], "ada");
}

#[tokio::test]
async fn the_registration_mode_decides_whether_tokens_make_accounts() {
    let database = TestDatabase::new().await;
    let issuer = TestIssuer::start().await;
    for (mode, allowed) in [("open", true), ("external", true), ("closed", false), ("invite", false)] {
        let node = issuer.node(&json!({})).flag(&format!("--registration={mode}")).start_on(&database).await;
        let answer = node.sign_in_with_token(&issuer.token(mode, &json!({}))).await;
        if allowed {
            assert_eq!(answer.data()["signInWithToken"]["isNewAccount"], true, "{mode}");
        } else {
            assert_eq!(answer.code(), "FORBIDDEN", "{mode}");
        }
        // An account that exists signs in in every mode.
        node.user_by_token(&issuer.token("open", &json!({}))).await;
    }
    let external = issuer.node(&json!({})).flag("--registration=external").start_on(&database).await;
    let query = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }";
    let refused = external.call(None, query, json!({"input": {"username": "ada", "password": PASSWORD}})).await;
    assert_eq!(refused.code(), "FORBIDDEN");
    let data = external.call(None, "{ serverInfo { registration } }", json!({})).await.data();
    assert_eq!(data["serverInfo"]["registration"], "EXTERNAL");
}

#[tokio::test]
async fn concurrent_first_sign_ins_make_one_account() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let token = issuer.token("1", &profile("ada", "ada@example.org"));
    let signing_in = (0..4).map(|_| node.user_by_token(&token));
    let users = futures_util::future::join_all(signing_in).await;
    assert!(users.iter().all(|user| user.id == users[0].id), "{users:?}");
}

#[tokio::test]
async fn a_signed_in_user_links_and_unlinks_identities() {
    let database = TestDatabase::new().await;
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let token = issuer.token("1", &json!({}));
    let linked = ada.link_identity(&token).await.data()["linkIdentity"]["viewer"]["identities"].clone();
    assert_eq!(linked.as_array().unwrap().len(), 1);
    // A repetition changes nothing.
    assert_eq!(ada.link_identity(&token).await.data()["linkIdentity"]["viewer"]["identities"], linked);
    let conflict = bob.link_identity(&token).await;
    assert_eq!((conflict.code(), conflict.violations()), ("CONFLICT", vec!["token"]));
    assert_eq!(node.user_by_token(&token).await.id, ada.id);
    assert_eq!(bob.unlink_identity(&linked[0]["id"]).await.code(), "NOT_FOUND");

    let expire = "UPDATE sessions SET confirmed_at = now() - interval '11 minutes'";
    database.connection().await.batch_execute(expire).await.unwrap();
    for refused in
        [ada.link_identity(&issuer.token("2", &json!({}))).await, ada.unlink_identity(&linked[0]["id"]).await]
    {
        assert_eq!(refused.body["errors"][0]["extensions"]["reason"], "CONFIRMATION_REQUIRED");
    }
    ada.confirm_by_token(&token).await.data();
    let left = ada.unlink_identity(&linked[0]["id"]).await.data();
    assert_eq!(left["unlinkIdentity"]["viewer"]["identities"], json!([]));
    let fresh = node.user_by_token(&token).await;
    assert_ne!(fresh.id, ada.id, "the identity is free again");
    // It is the only way to sign in to the new account.
    let only = identities(&fresh).await[0]["id"].clone();
    assert_eq!(fresh.unlink_identity(&only).await.violations(), ["identityId"]);
    fresh.link_identity(&issuer.token("3", &json!({}))).await.data();
    fresh.unlink_identity(&only).await.data();
}

#[tokio::test]
async fn an_identity_of_an_issuer_that_was_removed_is_no_way_to_sign_in() {
    let database = TestDatabase::new().await;
    let (issuer, removed) = (TestIssuer::start().await, TestIssuer::start().await);
    let (node, other) = (issuer.node(&json!({})).start_on(&database), removed.node(&json!({})).start_on(&database));
    let (node, other) = tokio::join!(node, other);
    let ada = node.user_by_token(&issuer.token("1", &json!({}))).await;
    let only = identities(&ada).await[0]["id"].clone();
    ada.on(&other).link_identity(&removed.token("1", &json!({}))).await.data();
    assert_eq!(identities(&ada).await.len(), 2);
    assert_eq!(ada.unlink_identity(&only).await.violations(), ["identityId"]);
}

#[tokio::test]
async fn a_token_confirms_the_identity_only_soon_after_the_sign_in() {
    let database = TestDatabase::new().await;
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_on(&database).await;
    let now = Clock::system().now().timestamp();
    let (old, recent) = (json!({"auth_time": now - 601}), json!({"auth_time": now - 500}));
    let ada = node.user_by_token(&issuer.token("1", &old)).await;
    let set_password = "mutation { changePassword(input: {newPassword: \"correct horse battery staple\"}) {
        viewer { hasPassword }
    } }";
    // The session counts as confirmed when the user has signed in at the issuer.
    let refused = ada.call(set_password, json!({})).await;
    assert_eq!(refused.body["errors"][0]["extensions"]["reason"], "CONFIRMATION_REQUIRED");
    for (what, token) in [
        ("an old sign-in", issuer.token("1", &old)),
        ("another user", issuer.token("2", &recent)),
        ("an invalid token", "no token".to_owned()),
    ] {
        let refused = ada.confirm_by_token(&token).await;
        assert_eq!((refused.code(), refused.violations()), ("BAD_USER_INPUT", vec!["token"]), "{what}");
    }
    ada.confirm_by_token(&issuer.token("1", &recent)).await.data();
    ada.query(set_password, json!({})).await;
}

#[tokio::test]
async fn a_token_deletes_the_account() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let token = issuer.token("1", &json!({}));
    let ada = node.user_by_token(&token).await;
    assert_eq!(delete(&ada, json!({})).await.violations(), ["password"]);
    assert_eq!(delete(&ada, json!({"token": issuer.token("2", &json!({}))})).await.violations(), ["token"]);
    assert_eq!(delete(&ada, json!({"token": token, "password": "x"})).await.violations(), ["code"]);
    delete(&ada, json!({"token": token})).await.data();
    let next = node.sign_in_with_token(&token).await.data();
    assert_eq!(next["signInWithToken"]["isNewAccount"], true);
}

#[tokio::test]
async fn a_token_signs_in_only_with_the_second_factor() {
    let database = TestDatabase::new().await;
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_on(&database).await;
    let ada = node.register("ada").await;
    let (first, second) = (issuer.token("1", &json!({"sid": "desktop"})), issuer.token("2", &json!({})));
    for token in [&first, &second] {
        ada.link_identity(token).await.data();
    }
    let (_, codes) = ada.enable_totp().await;
    let challenge = node.sign_in_with_token(&first).await.challenge().to_owned();
    let data = node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.data();
    let again = User::from_payload(&node, &data["completeLogin"]);
    assert_eq!((&again.id, &data["completeLogin"]["isNewAccount"]), (&ada.id, &json!(false)));

    // An identity that is unlinked meanwhile completes no sign-in.
    let challenge = node.sign_in_with_token(&second).await.challenge().to_owned();
    let linked = identities(&ada).await;
    ada.unlink_identity(&linked[1]["id"]).await.data();
    node.complete_login(&challenge, json!({"recoveryCode": codes[1]})).await.assert_bad("challenge");
    // The token alone confirms nothing and deletes no account.
    database.let_confirmations_expire().await;
    ada.confirm_by_token(&first).await.assert_bad("token");
    delete(&ada, json!({"token": first})).await.assert_unconfirmed();

    // A logout at the issuer ends the session that the second factor has completed.
    let claims = json!({"events": {LOGOUT_EVENT: {}}, "jti": "1", "sid": "desktop"});
    assert_eq!(log_out(&node, &issuer.token("1", &claims)).await, 200);
    eventually("the session has ended", async || {
        again.call("{ viewer { id } }", json!({})).await.body.get("errors").is_some()
    })
    .await;
}

#[tokio::test]
async fn an_account_with_a_second_factor_is_not_linked_by_its_address() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({"linkByVerifiedEmail": true})).receive_notices().start_alone().await;
    let ada = node.register("ada").await;
    let email = "ada@example.org";
    ada.verify(&node, email).await;
    ada.enable_totp().await;
    let token = issuer.token("1", &profile("ada", email));
    assert_eq!(node.sign_in_with_token(&token).await.code(), "FORBIDDEN");
    assert_eq!(identities(&ada).await.len(), 0);
    ada.link_identity(&token).await.data();
    node.sign_in_with_token(&token).await.challenge();
}

#[tokio::test]
async fn the_owner_gets_a_notice_of_each_change_of_identities() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({"linkByVerifiedEmail": true})).receive_notices().start_alone().await;
    let ada = node.register("ada").await;
    let email = "ada@example.org";
    ada.verify(&node, email).await;
    let token = issuer.token("1", &profile("ada", email));
    node.user_by_token(&token).await;
    node.notices().next_with(email, &["account at test was linked to", &ada.username]).await;
    // A further sign-in and a repeated link change nothing.
    node.user_by_token(&token).await;
    ada.link_identity(&token).await.data();
    let linked = identities(&ada).await;
    ada.unlink_identity(&linked[0]["id"]).await.data();
    node.notices().next_with(email, &["account at test is no longer linked to", &ada.username]).await;
    ada.link_identity(&token).await.data();
    node.notices().next_with(email, &["account at test was linked to", &ada.username]).await;
    assert_eq!(node.notices().unread(email), 0);
}

/// Sends a logout token. Returns the status of the answer.
async fn log_out(node: &Node, token: &str) -> u16 {
    let request = node.http.post(node.url("/auth/test/backchannel-logout")).form(&[("logout_token", token)]);
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    response.status().as_u16()
}

#[tokio::test]
async fn a_logout_at_the_issuer_ends_the_sessions() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({"clockSkewSeconds": 0})).start_alone().await;
    let (desktop, phone) = (json!({"sid": "desktop"}), json!({"sid": "phone"}));
    let ada = node.user_by_token(&issuer.token("1", &desktop)).await;
    let on_phone = node.user_by_token(&issuer.token("1", &phone)).await;
    let bob = node.user_by_token(&issuer.token("2", &desktop)).await;
    let is_live = async |user: &User| user.call("{ viewer { id } }", json!({})).await.body.get("errors").is_none();
    // The times of tokens are whole seconds.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let logout = |more: Value| {
        let mut claims = issuer.claims("1", &json!({"events": {LOGOUT_EVENT: {}}, "jti": "1"}));
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    for (what, wrong) in [
        ("a nonce", issuer.key.sign(&logout(json!({"nonce": "1"})))),
        ("no event", issuer.key.sign(&logout(json!({"events": {}})))),
        ("no id", issuer.key.sign(&logout(json!({"jti": null})))),
        ("another audience", issuer.key.sign(&logout(json!({"aud": "other"})))),
        ("no session", issuer.key.sign(&logout(json!({"sub": null})))),
        ("expired", issuer.key.sign(&logout(json!({"exp": 1})))),
        ("an ID token", issuer.token("1", &json!({}))),
        ("forged", SigningKey::ed25519("first").sign(&logout(json!({})))),
    ] {
        assert_eq!(log_out(&node, &wrong).await, 400, "{what}");
        assert!(is_live(&ada).await, "{what}");
    }
    let socket = ada.socket().await;
    let one = issuer.key.sign(&logout(json!({"sid": "desktop"})));
    assert_eq!(log_out(&node, &one).await, 200);
    assert_eq!(socket.closed().await, 4403);
    eventually("the session has ended", async || !is_live(&ada).await).await;
    assert!(is_live(&on_phone).await && is_live(&bob).await);

    let all = issuer.key.sign(&logout(json!({})));
    assert_eq!(log_out(&node, &all).await, 200);
    eventually("the session has ended", async || !is_live(&on_phone).await).await;
    // A repeated logout token does not end a later session.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let later = node.user_by_token(&issuer.token("1", &desktop)).await;
    assert_eq!(log_out(&node, &all).await, 200);
    assert!(is_live(&later).await && is_live(&bob).await);
}

#[tokio::test]
async fn a_session_of_a_token_is_refreshed_like_any_other() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({"audiences": ["web"]})).start_alone().await;
    let token = issuer.token("1", &json!({"aud": "web", "sid": "1"}));
    let ada = node.user_by_token(&token).await;
    let query = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) { session { id } } }";
    let data = node.call(None, query, json!({"token": ada.refresh_token})).await.data();
    assert_eq!(data["refreshSession"]["session"]["id"], json!(ada.session));
    node.user_by_token(&issuer.token("1", &json!({"aud": AUDIENCE}))).await;
    // A node whose clock is slow accepts the token, and the confirmation is not in its future.
    let slow = Clock::off_by(-TimeDelta::seconds(30));
    let node = issuer.node(&json!({})).clock(slow).start_alone().await;
    node.user_by_token(&issuer.token("1", &json!({}))).await;
}
