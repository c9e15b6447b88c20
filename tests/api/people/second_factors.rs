//! Second factors: the authenticator app, recovery codes, and sign-ins that need them.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Answer, Api, Node, PASSWORD, TestDatabase, User, http};

const EMAIL: &str = "ada@example.org";
const NEW_PASSWORD: &str = "another long battery staple";
const STATE: &str = "{ viewer { totpEnabled recoveryCodesLeft } }";

async fn state(user: &User) -> Value {
    user.query(STATE, json!({})).await["viewer"].clone()
}

fn factors(answer: &Answer) -> &Value {
    answer.challenge();
    &answer.body["errors"][0]["extensions"]["factors"]
}

#[tokio::test]
async fn an_authenticator_app_is_in_use_after_a_right_code() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    assert_eq!(state(&ada).await, json!({"totpEnabled": false, "recoveryCodesLeft": null}));
    ada.confirm_totp("123456").await.assert_bad("code");
    let setup = ada.query("mutation { setUpTotp { secret uri } }", json!({})).await["setUpTotp"].clone();
    let (secret, uri) = (setup["secret"].as_str().unwrap(), setup["uri"].as_str().unwrap());
    assert_eq!(secret.len(), 32);
    let name = ada.username.replace('_', "%5F");
    assert!(uri.starts_with(&format!("otpauth://totp/Parlance:{name}?secret={secret}&issuer=Parlance&")), "{uri}");

    // A second call replaces the secret of the first one.
    let app = ada.set_up_totp().await;
    for wrong in [app.wrong_code().as_str(), "12345", ""] {
        ada.confirm_totp(wrong).await.assert_bad("code");
    }
    node.login(&ada.username, PASSWORD).await.data();
    let code = app.code();
    let spaced = format!("{} {}", &code[..3], &code[3..]);
    let data = ada.confirm_totp(&spaced).await.data()["confirmTotp"].clone();
    assert_eq!(data["viewer"], json!({"totpEnabled": true, "recoveryCodesLeft": 10}));
    let codes: BTreeSet<_> = data["recoveryCodes"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert_eq!(codes.len(), 10);
    for again in
        ["mutation { setUpTotp { secret } }", "mutation { confirmTotp(input: {code: \"123456\"}) { recoveryCodes } }"]
    {
        assert_eq!(ada.call(again, json!({})).await.code(), "CONFLICT");
    }
    assert_eq!(state(&ada).await, json!({"totpEnabled": true, "recoveryCodesLeft": 10}));
}

#[tokio::test]
async fn a_sign_in_needs_the_second_factor_after_the_right_password() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let (app, codes) = ada.enable_totp().await;
    // The answer to a wrong password does not reveal the second factor.
    let wrong = node.login(&ada.username, "another password").await;
    let nobody = node.login("nobody_has_this_name", PASSWORD).await;
    assert_eq!((wrong.code(), &wrong.body), ("UNAUTHENTICATED", &nobody.body));

    let answer = node.login(&ada.username, PASSWORD).await;
    assert_eq!(factors(&answer), &json!(["TOTP", "RECOVERY_CODE"]));
    assert_eq!(answer.body["data"], Value::Null);
    let challenge = answer.challenge().to_owned();
    let malformed = node.complete_login(&challenge, json!({"totp": "12345"})).await;
    malformed.assert_bad("factor");
    for wrong in [json!({"totp": app.wrong_code()}), json!({"recoveryCode": "0000-0000-0000-0000"})] {
        let refused = node.complete_login(&challenge, wrong).await;
        refused.assert_bad("factor");
        assert!(refused.body["errors"][0]["message"].as_str().unwrap().contains("recovery code"));
    }
    for both in [json!({}), json!({"totp": app.code_in(1), "recoveryCode": codes[0]})] {
        assert_eq!(node.complete_login(&challenge, both).await.code(), "GRAPHQL_VALIDATION_FAILED");
    }
    let data = node.complete_login(&challenge, json!({"totp": app.code_in(1)})).await.data();
    let again = User::from_payload(&node, &data["completeLogin"]);
    assert_eq!((&again.id, &data["completeLogin"]["isNewAccount"]), (&ada.id, &json!(false)));
    again.query(STATE, json!({})).await;
    // The challenge is used up.
    node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.assert_bad("challenge");
}

#[tokio::test]
async fn the_session_has_the_name_of_the_device_that_began_the_sign_in() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let (app, _) = ada.enable_totp().await;
    let login = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
    let input = json!({"identifier": ada.username, "password": PASSWORD, "deviceName": "Ada's phone"});
    let answer = node.call(None, login, json!({"input": input})).await;
    let data = node.complete_login(answer.challenge(), json!({"totp": app.code_in(1)})).await.data();
    assert_eq!(data["completeLogin"]["session"]["deviceName"], "Ada's phone");
}

#[tokio::test]
async fn a_code_of_the_app_works_once() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let app = ada.set_up_totp().await;
    let first = app.code();
    ada.confirm_totp(&first).await.data();
    // The code that confirmed the app is used up as well.
    let challenge = node.challenge_of(&ada).await;
    node.complete_login(&challenge, json!({"totp": first})).await.assert_bad("factor");
    let next = app.code_in(1);
    node.complete_login(&challenge, json!({"totp": next})).await.data();
    let challenge = node.challenge_of(&ada).await;
    node.complete_login(&challenge, json!({"totp": next})).await.assert_bad("factor");
}

#[tokio::test]
async fn concurrent_uses_of_a_code_succeed_once() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let (app, _) = ada.enable_totp().await;
    let code = app.code_in(1);
    let mut challenges = Vec::new();
    for _ in 0..5 {
        challenges.push(node.challenge_of(&ada).await);
    }
    let uses = challenges.iter().map(|challenge| node.complete_login(challenge, json!({"totp": code})));
    let answers = futures_util::future::join_all(uses).await;
    let (right, wrong): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.body.get("errors").is_none());
    assert_eq!((right.len(), wrong.len()), (1, 4));
    for answer in wrong {
        answer.assert_bad("factor");
    }
}

#[tokio::test]
async fn a_recovery_code_works_once_and_in_every_way_of_writing_it() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let (_, codes) = ada.enable_totp().await;
    let sign_in = async |code: &str| {
        let challenge = node.challenge_of(&ada).await;
        node.complete_login(&challenge, json!({"recoveryCode": code})).await
    };
    sign_in(&codes[0].to_uppercase().replace('-', " ")).await.data();
    assert_eq!(state(&ada).await["recoveryCodesLeft"], 9);
    for wrong in [codes[0].as_str(), "", "é", &"0".repeat(1000)] {
        sign_in(wrong).await.assert_bad("factor");
    }
    for code in &codes[1..] {
        sign_in(code).await.data();
    }
    // There is no eleventh code.
    let answer = node.login(&ada.username, PASSWORD).await;
    assert_eq!(factors(&answer), &json!(["TOTP"]));
    for code in &codes {
        sign_in(code).await.assert_bad("factor");
    }
    let query = "mutation { regenerateRecoveryCodes { recoveryCodes viewer { recoveryCodesLeft } } }";
    let data = ada.query(query, json!({})).await["regenerateRecoveryCodes"].clone();
    assert_eq!(data["viewer"]["recoveryCodesLeft"], 10);
    sign_in(&codes[1]).await.assert_bad("factor");
    sign_in(data["recoveryCodes"][0].as_str().unwrap()).await.data();
}

#[tokio::test]
async fn concurrent_uses_of_a_factor_on_two_nodes_succeed_once() {
    let database = TestDatabase::new().await;
    let nodes = [Node::build().start_on(&database).await, Node::build().start_on(&database).await];
    let ada = nodes[0].register("ada").await;
    let (app, codes) = ada.enable_totp().await;
    for factor in [json!({"totp": app.code_in(1)}), json!({"recoveryCode": codes[0]})] {
        let mut challenges = Vec::new();
        for place in 0..4 {
            challenges.push(nodes[place % 2].challenge_of(&ada).await);
        }
        // A node completes the challenges that the other one has made.
        let uses = challenges.iter().enumerate();
        let uses = uses.map(|(place, challenge)| nodes[(place + 1) % 2].complete_login(challenge, factor.clone()));
        let answers = futures_util::future::join_all(uses).await;
        let (right, wrong): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.body.get("errors").is_none());
        assert_eq!((right.len(), wrong.len()), (1, 3), "{factor}");
        for answer in wrong {
            answer.assert_bad("factor");
        }
    }
}

#[tokio::test]
async fn the_recovery_codes_of_another_user_do_not_work() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (_, codes) = ada.enable_totp().await;
    bob.enable_totp().await;
    let challenge = node.challenge_of(&bob).await;
    node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.assert_bad("factor");
}

#[tokio::test]
async fn a_challenge_allows_five_tries() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let (app, codes) = ada.enable_totp().await;
    for (mistakes, works) in [(4, true), (5, false)] {
        let challenge = node.challenge_of(&ada).await;
        for _ in 0..mistakes {
            node.complete_login(&challenge, json!({"totp": app.wrong_code()})).await.assert_bad("factor");
        }
        let last = node.complete_login(&challenge, json!({"recoveryCode": codes[mistakes]})).await;
        if works {
            last.data();
        } else {
            last.assert_bad("challenge");
        }
    }
}

#[tokio::test]
async fn a_challenge_expires_after_five_minutes() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let (_, codes) = ada.enable_totp().await;
    let challenge = node.challenge_of(&ada).await;
    let late = Node::build().clock(Clock::off_by(TimeDelta::minutes(5))).start_on(&database).await;
    late.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.assert_bad("challenge");
    node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.data();
    for unknown in ["", "parlance_lc_AAAA", &"x".repeat(1000), "\0"] {
        node.complete_login(unknown, json!({"recoveryCode": codes[1]})).await.assert_bad("challenge");
    }
}

#[tokio::test]
async fn a_changed_password_ends_a_challenge() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let (_, codes) = ada.enable_totp().await;
    let challenge = node.challenge_of(&ada).await;
    let change = "mutation ($old: String!, $new: String!) {
        changePassword(input: {currentPassword: $old, newPassword: $new}) { viewer { id } }
    }";
    ada.query(change, json!({"old": PASSWORD, "new": NEW_PASSWORD})).await;
    node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.assert_bad("challenge");
    let challenge = node.login(&ada.username, NEW_PASSWORD).await.challenge().to_owned();
    node.complete_login(&challenge, json!({"recoveryCode": codes[0]})).await.data();
}

#[tokio::test]
async fn a_replaced_or_removed_address_ends_the_challenges_that_its_codes_began() {
    const REMOVE: &str = "mutation { updateProfile(input: {email: null}) { viewer { email } } }";
    let node = Node::build().receive_notices().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    let (_, codes) = ada.enable_totp().await;
    node.notices().next(EMAIL).await;
    let code = node.code(EMAIL, "RESET_PASSWORD").await;
    let replaced = node.reset_password(EMAIL, &code, NEW_PASSWORD).await.challenge().to_owned();
    ada.verify(&node, "new@example.org").await;
    node.complete_login(&replaced, json!({"recoveryCode": codes[0]})).await.assert_bad("challenge");

    let code = node.code("new@example.org", "LOGIN").await;
    let removed = node.login_with_code("new@example.org", &code).await.challenge().to_owned();
    ada.query(REMOVE, json!({})).await;
    node.complete_login(&removed, json!({"recoveryCode": codes[0]})).await.assert_bad("challenge");
    // The password and the sessions are unchanged.
    ada.query(STATE, json!({})).await;
    node.challenge_of(&ada).await;
}

#[tokio::test]
async fn a_sign_in_by_code_needs_the_second_factor_too() {
    let node = Node::build().receive_notices().start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    let (app, _) = ada.enable_totp().await;
    assert!(node.notices().next(EMAIL).await.text.contains("authenticator app"));
    let code = node.code(EMAIL, "LOGIN").await;
    let answer = node.login_with_code(EMAIL, &code).await;
    let challenge = answer.challenge().to_owned();
    // The code is used up.
    node.login_with_code(EMAIL, &code).await.assert_bad("code");
    let data = node.complete_login(&challenge, json!({"totp": app.code_in(1)})).await.data();
    assert_eq!(data["completeLogin"]["viewer"]["user"]["id"], ada.id.as_str());
}

#[tokio::test]
async fn a_password_is_reset_only_with_the_second_factor() {
    let node = Node::build().receive_notices().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    let (app, _) = ada.enable_totp().await;
    node.notices().next(EMAIL).await;
    let code = node.code(EMAIL, "RESET_PASSWORD").await;
    let weak = node.reset_password(EMAIL, &code, "password1234").await;
    weak.assert_bad("newPassword");
    let answer = node.reset_password(EMAIL, &code, NEW_PASSWORD).await;
    let challenge = answer.challenge().to_owned();
    // The password and the sessions are unchanged.
    ada.query(STATE, json!({})).await;
    node.challenge_of(&ada).await;
    assert_eq!(node.notices().unread(EMAIL), 0);
    node.complete_login(&challenge, json!({"totp": app.wrong_code()})).await.assert_bad("factor");
    assert_eq!(node.login(&ada.username, NEW_PASSWORD).await.code(), "UNAUTHENTICATED");

    let data = node.complete_login(&challenge, json!({"totp": app.code_in(1)})).await.data();
    User::from_payload(&node, &data["completeLogin"]).query(STATE, json!({})).await;
    assert_eq!(ada.call(STATE, json!({})).await.code(), "UNAUTHENTICATED", "other sessions end");
    assert!(node.notices().next(EMAIL).await.text.contains("was reset"));
    assert_eq!(node.login(&ada.username, PASSWORD).await.code(), "UNAUTHENTICATED");
    node.login(&ada.username, NEW_PASSWORD).await.challenge();
}

/// An attacker knows the password and guesses the second factor, with a new challenge for each guess.
#[tokio::test]
async fn a_right_password_does_not_reset_the_count_of_wrong_factors() {
    let flags = ["--password-tries-per-account=3", "--password-first-delay=300"];
    let node = Node::build().limited().flags(&flags).start_alone().await;
    let ada = node.register("ada").await;
    let (app, _) = ada.enable_totp().await;
    let attacker = Api::from_address(&node, 2);
    let login = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
    let complete = "mutation ($input: CompleteLoginInput!) { completeLogin(input: $input) { accessToken } }";
    let credentials = json!({"input": {"identifier": ada.username, "password": PASSWORD}});
    let mut challenge = String::new();
    for _ in 0..3 {
        challenge = attacker.call(None, login, credentials.clone()).await.challenge().to_owned();
        let guess = json!({"input": {"challenge": challenge, "factor": {"totp": app.wrong_code()}}});
        attacker.call(None, complete, guess).await.assert_bad("factor");
    }
    let newest = attacker.call(None, login, credentials).await.challenge().to_owned();
    for challenge in [challenge, newest] {
        let guess = json!({"input": {"challenge": challenge, "factor": {"totp": app.code_in(1)}}});
        let limited = attacker.call(None, complete, guess).await;
        assert_eq!(limited.code(), "RATE_LIMITED", "{:#}", limited.body);
    }
    // The owner, who has a session in another network, signs in.
    let challenge = node.challenge_of(&ada).await;
    node.complete_login(&challenge, json!({"totp": app.code_in(1)})).await.data();
}

/// Sends a request from the address 198.51.100.`last`, through a proxy.
async fn call_from(node: &Node, last: usize, token: Option<&str>, query: &str, variables: Value) -> Value {
    let mut request = http::post(node, &json!({"query": query, "variables": variables}));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    http::send(request.header("x-forwarded-for", format!("198.51.100.{last}"))).await.1
}

/// A thief has a session of the user, and uses it in one network after another.
#[tokio::test]
async fn wrong_factors_in_all_networks_with_a_session_have_a_ceiling() {
    const WRONG: &str = "BAD_USER_INPUT";
    const WAIT: &str = "RATE_LIMITED";
    let flags = ["--password-tries-per-account=1", "--password-first-delay=300", "--trusted-proxies=loopback"];
    let node = Node::build().limited().flags(&flags).start_alone().await;
    let ada = node.register("ada").await;
    let (app, codes) = ada.enable_totp().await;
    let refresh = "mutation ($token: String!) { refreshSession(input: {refreshToken: $token}) {
        accessToken refreshToken
    } }";
    let confirm = "mutation ($input: ConfirmIdentityInput!) { confirmIdentity(input: $input) { confirmedUntil } }";
    let mut session = json!({"accessToken": ada.access_token, "refreshToken": ada.refresh_token});
    // The first attempt counts for the account, and each further one for a network with the session.
    let outcomes = [vec![WRONG, WRONG, WAIT], vec![WRONG, WAIT], vec![WRONG, WAIT], vec![WAIT]];
    for (last, outcomes) in outcomes.into_iter().enumerate() {
        let variables = json!({"token": session["refreshToken"]});
        session = call_from(&node, last, None, refresh, variables).await["data"]["refreshSession"].clone();
        for outcome in outcomes {
            let guess = json!({"input": {"totp": app.wrong_code()}});
            let body = call_from(&node, last, session["accessToken"].as_str(), confirm, guess).await;
            assert_eq!(http::code(&body), outcome, "{last}");
        }
    }
    // A recovery code cannot be guessed, so it needs no wait.
    let input = json!({"input": {"recoveryCode": codes[0]}});
    let body = call_from(&node, 3, session["accessToken"].as_str(), confirm, input).await;
    assert!(body.get("errors").is_none(), "{body:#}");
}
