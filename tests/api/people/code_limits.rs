//! Limits of codes: how many are sent, to which addresses and numbers, and the waits after wrong ones.

use serde_json::json;

use crate::support::{Answer, Node, TestDatabase, http, receiving, wrong_code};

const EMAIL: &str = "ada@example.org";
const PHONE: &str = "+4915112345678";

async fn login(node: &Node, identifier: &str, password: &str) -> Answer {
    let query = "mutation ($input: LoginInput!) { login(input: $input) { viewer { user { id } } } }";
    node.call(None, query, json!({"input": {"identifier": identifier, "password": password}})).await
}

#[tokio::test]
async fn a_channel_that_the_server_does_not_have_is_bad_user_input() {
    let query = "{ serverInfo { codesByEmail codesByPhone } }";
    let smtp = ["--smtp-url=smtp://127.0.0.1:9", "--smtp-from=no-reply@example.org"];
    let hook = ["--sms-hook-url=http://127.0.0.1:9", "--sms-hook-secret=whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"];
    for (flags, missing, path, text) in
        [(smtp, PHONE, "contactPoint.phone", "no SMS"), (hook, EMAIL, "contactPoint.email", "no e-mails")]
    {
        let node = Node::build().flags(&flags).start_alone().await;
        let answer = node.request_code(missing, "LOGIN").await;
        assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec![path]));
        assert!(answer.body["errors"][0]["message"].as_str().unwrap().contains(text), "{:#}", answer.body);
        let by_email = missing == PHONE;
        let expected = json!({"codesByEmail": by_email, "codesByPhone": !by_email});
        assert_eq!(node.call(None, query, json!({})).await.data()["serverInfo"], expected);
    }
}

/// A log with codes lets its readers sign in to any account.
#[tokio::test]
async fn codes_are_in_the_log_only_on_a_loopback_address_or_by_a_setting() {
    let query = "{ serverInfo { codesByEmail codesByPhone } }";
    let everywhere = "--listen-addr=0.0.0.0:8080";
    for (flags, logs) in [(&[][..], true), (&[everywhere], false), (&[everywhere, "--log-codes=true"], true)] {
        let node = Node::build().flags(flags).start_alone().await;
        let expected = json!({"codesByEmail": logs, "codesByPhone": logs});
        assert_eq!(node.call(None, query, json!({})).await.data()["serverInfo"], expected, "{flags:?}");
        let answer = node.request_code(EMAIL, "LOGIN").await;
        if logs {
            answer.data();
        } else {
            assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["contactPoint.email"]));
        }
    }
}

#[tokio::test]
async fn requests_for_codes_are_limited_by_target_and_by_address() {
    let node = receiving()
        .limited()
        .flags(&["--rate-codes-per-target=2/1h", "--rate-codes-per-address=5/1h"])
        .start_alone()
        .await;
    let limit = |answer: &Answer| {
        assert_eq!(answer.code(), "RATE_LIMITED", "{:#}", answer.body);
        answer.body["errors"][0]["extensions"]["limit"].as_str().unwrap().to_owned()
    };
    // Every form of a target counts as the same one, and so does every purpose.
    node.request_code("+49 151 12345678", "LOGIN").await.data();
    node.request_code(PHONE, "RESET_PASSWORD").await.data();
    assert_eq!(limit(&node.request_code(PHONE, "LOGIN").await), "RATE_CODES_PER_TARGET");
    node.request_code(EMAIL, "LOGIN").await.data();
    node.request_code("bob@example.org", "LOGIN").await.data();
    assert_eq!(limit(&node.request_code("cem@example.org", "LOGIN").await), "RATE_CODES_PER_ADDRESS");
}

/// A stranger can use up only the requests of their own network for an address, until the limit of the day.
#[tokio::test]
async fn requests_of_one_network_do_not_use_up_those_of_another() {
    let flags = ["--rate-codes-per-target=2/1h", "--rate-codes-per-target-day=5/1d", "--trusted-proxies=loopback"];
    let node = receiving().limited().flags(&flags).start_alone().await;
    let request = async |address: &str| {
        let query = "mutation { requestCode(input: {contactPoint: {email: \"ada@example.org\"}, purpose: LOGIN}) {
            expiresAt
        } }";
        let request = http::post(&node, &json!({"query": query})).header("x-forwarded-for", address);
        let (_, body) = http::send(request).await;
        body["errors"][0]["extensions"]["limit"].as_str().unwrap_or("OK").to_owned()
    };
    let mut answers = Vec::new();
    for address in
        ["203.0.113.7", "203.0.113.7", "203.0.113.7", "198.51.100.1", "198.51.100.1", "192.0.2.1", "192.0.2.2"]
    {
        answers.push(request(address).await);
    }
    let (per_network, per_day) = ("RATE_CODES_PER_TARGET", "RATE_CODES_PER_TARGET_DAY");
    assert_eq!(answers, ["OK", "OK", per_network, "OK", "OK", "OK", per_day]);
}

#[tokio::test]
async fn requests_of_a_signed_in_user_count_for_the_user() {
    let node = receiving().limited().flags(&["--rate-codes-per-user=2/1h", "--rate-codes-per-address=3/1h"]);
    let node = node.start_alone().await;
    let (ada, bob) = (node.user_by_code(EMAIL).await, node.user_by_code("bob@example.org").await);
    // A request for the address of another user is refused before it is counted.
    for _ in 0..3 {
        assert_eq!(bob.request_code(EMAIL, "CONFIRM").await.violations(), ["contactPoint.email"]);
    }
    for user in [&ada, &bob] {
        user.request_code("new@example.org", "VERIFY").await.data();
    }
    ada.request_code(EMAIL, "CONFIRM").await.data();
    let limited = ada.request_code(EMAIL, "CONFIRM").await;
    assert_eq!(limited.body["errors"][0]["extensions"]["limit"], "RATE_CODES_PER_USER");
    // The requests of the users did not count for their network.
    node.request_code("cem@example.org", "LOGIN").await.data();
}

#[tokio::test]
async fn codes_are_sent_only_to_allowed_phone_numbers() {
    let node = receiving().flag("--sms-countries=49,43").start_alone().await;
    node.code(PHONE, "LOGIN").await;
    // Another country, premium rate and shared cost. The answer does not depend on the purpose.
    for phone in ["+12125550123", "+499001234567", "+491805012345"] {
        for purpose in ["LOGIN", "RESET_PASSWORD"] {
            let refused = node.request_code(phone, purpose).await;
            assert_eq!(
                (refused.code(), refused.violations()),
                ("BAD_USER_INPUT", vec!["contactPoint.phone"]),
                "{phone}"
            );
        }
    }
    node.code(EMAIL, "LOGIN").await;
}

/// Beyond the ceiling, strangers cause no SMS, and owners still get theirs. All get the same answer.
#[tokio::test]
async fn a_ceiling_on_sms_does_not_lock_out_owners() {
    let database = TestDatabase::new().await;
    let node = receiving().start_on(&database).await;
    node.user_by_code(PHONE).await;
    let node = receiving().limited().flag("--rate-sms=2/1h").start_on(&database).await;
    for number in 1..=4 {
        node.request_code(&format!("+4915100000{number:03}"), "LOGIN").await.data();
    }
    for _ in 0..3 {
        node.request_code(PHONE, "LOGIN").await.data();
    }
    for number in 1..=2 {
        node.notices().next_code(&format!("+4915100000{number:03}")).await;
    }
    node.notices().next_code(PHONE).await;
    node.notices().next_code(PHONE).await;
    // An e-mail is not affected, and arrives after everything that was sent.
    node.code(EMAIL, "LOGIN").await;
    for to in ["+4915100000003", "+4915100000004", PHONE] {
        assert_eq!(node.notices().unread(to), 0, "{to}");
    }
}

/// Returns the number of attempts that are allowed before one has to wait.
async fn allowed(mut attempt: impl AsyncFnMut() -> Answer) -> usize {
    for tries in 0..20 {
        if attempt().await.code() == "RATE_LIMITED" {
            return tries;
        }
    }
    panic!("no attempt had to wait");
}

/// The waits after wrong codes do not depend on whether an account has the address, and wrong passwords for the account
/// cause none. Otherwise the waits would reveal whose address it is.
#[tokio::test]
async fn wrong_codes_cause_waits_that_reveal_no_account() {
    let node = receiving()
        .limited()
        .flags(&["--password-tries-per-account=3", "--password-first-delay=300", "--rate-codes-per-target=off"])
        .start_alone()
        .await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    // Three for the account, and three for the network in which Ada has a session.
    assert_eq!(allowed(async || login(&node, EMAIL, "not her password").await).await, 6);
    for to in [EMAIL, "nobody@example.org"] {
        assert_eq!(allowed(async || node.login_with_code(to, "000000").await).await, 3, "{to}");
    }
    // A right code ends the waits of its target.
    for to in ["bob@example.org", PHONE] {
        for _ in 0..3 {
            let code = node.code(to, "LOGIN").await;
            for _ in 0..2 {
                assert_eq!(node.login_with_code(to, &wrong_code(&code)).await.violations(), ["code"]);
            }
            node.login_with_code(to, &code).await.data();
        }
    }
}

/// A thief with a session can verify an address of their own. This does not end the waits after wrong passwords.
#[tokio::test]
async fn a_verification_does_not_end_the_waits_of_the_account() {
    let flags = ["--password-tries-per-account=3", "--password-first-delay=300"];
    let node = receiving().limited().flags(&flags).start_alone().await;
    let ada = node.user_by_code(EMAIL).await;
    let mut place = 0;
    let guesses = allowed(async || {
        place += 1;
        ada.verify(&node, &format!("eve.{place}@example.org")).await;
        ada.confirm_by_password("a guess").await
    });
    // Three for the account, and three for the network in which the session is.
    assert_eq!(guesses.await, 6);
}

/// The right code does not end the waits if the change that it allows fails.
#[tokio::test]
async fn a_right_code_ends_the_waits_only_with_its_change() {
    let flags = ["--password-tries-per-account=3", "--password-first-delay=300"];
    let node = receiving().limited().flags(&flags).start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, EMAIL).await;
    let code = node.code(EMAIL, "RESET_PASSWORD").await;
    let mut refusals = Vec::new();
    for tried in [wrong_code(&code), code.clone(), wrong_code(&code), code] {
        refusals.push(node.reset_password(EMAIL, &tried, "password1234").await.violations().join(" "));
    }
    assert_eq!(refusals, ["code", "newPassword", "code", "newPassword"]);
    assert_eq!(node.reset_password(EMAIL, "000000", "password1234").await.code(), "BAD_USER_INPUT");
    assert_eq!(node.reset_password(EMAIL, "000000", "password1234").await.code(), "RATE_LIMITED");
}
