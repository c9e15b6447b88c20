//! Compares the response times of requests for names with and without an account. Neither the time nor the words of
//! the answer may reveal whether an account exists.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use parlance_load::client::{Client, PASSWORD, Response};
use parlance_load::histogram::Histogram;
use parlance_load::report::{Latency, aligned, decimal};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::addresses::Addresses;
use super::database::execute;
use super::options::Options;
use super::report::Goal;
use super::stage::Stage;

/// Maximum ratio of the larger median to the smaller one.
const GOAL: f64 = 1.2;
/// Number of pairs of requests that are not measured, in which caches, connections and query plans become warm.
const WARM_UP: u32 = 5;
/// Pause after each request, in which the server sends the e-mail that the request has caused.
const PAUSE: Duration = Duration::from_millis(10);
const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
const REQUEST_CODE: &str =
    "mutation ($input: RequestCodeInput!) { requestCode(input: $input) { challenge expiresAt } }";
const LOGIN_WITH_CODE: &str = "mutation ($input: LoginWithCodeInput!) { loginWithCode(input: $input) { accessToken } }";
const RESET_PASSWORD: &str = "mutation ($input: ResetPasswordInput!) { resetPassword(input: $input) { accessToken } }";
/// Prefixes of names: of accounts with a password, of accounts without one, and of no accounts. All have the same
/// length, so that the requests have the same sizes.
const KNOWN: &str = "known";
const BLANK: &str = "blank";
const NEVER: &str = "never";
const GHOST: &str = "ghost";

/// The requests that are compared. `loginWithCode` and `resetPassword` use the addresses for which the requests before
/// them have made codes, so the server compares a code in both cases.
const QUESTIONS: [Question; 6] = [
    Question {
        name: "login, wrong password",
        document: LOGIN,
        input: login,
        prefixes: [KNOWN, NEVER],
        code: Some("UNAUTHENTICATED"),
    },
    Question {
        name: "login, account without a password",
        document: LOGIN,
        input: login,
        prefixes: [BLANK, GHOST],
        code: Some("UNAUTHENTICATED"),
    },
    Question {
        name: "requestCode, LOGIN",
        document: REQUEST_CODE,
        input: request_login,
        prefixes: [KNOWN, NEVER],
        code: None,
    },
    Question {
        name: "requestCode, RESET_PASSWORD",
        document: REQUEST_CODE,
        input: request_reset,
        prefixes: [KNOWN, NEVER],
        code: None,
    },
    Question {
        name: "loginWithCode, wrong code",
        document: LOGIN_WITH_CODE,
        input: login_with_code,
        prefixes: [KNOWN, NEVER],
        code: Some("BAD_USER_INPUT"),
    },
    Question {
        name: "resetPassword, wrong code",
        document: RESET_PASSWORD,
        input: reset_password,
        prefixes: [KNOWN, NEVER],
        code: Some("BAD_USER_INPUT"),
    },
];

/// A request whose answer must not depend on whether an account exists.
struct Question {
    name: &'static str,
    document: &'static str,
    /// Returns the input for a name.
    input: fn(&str) -> Value,
    /// Prefixes of the names with and without an account.
    prefixes: [&'static str; 2],
    /// Code of the error that both answers have. None if both answers have data.
    code: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct Comparison {
    request: &'static str,
    with_account: Latency,
    without_account: Latency,
    /// The larger median divided by the smaller one.
    ratio: f64,
}

/// Measures all questions with `login_pairs` pairs of requests each. Fails if the words of an answer depend on the
/// account.
pub(super) async fn measure(stage: &Stage, options: &Options, addresses: &mut Addresses) -> Result<Vec<Comparison>> {
    let count = WARM_UP + options.login_pairs;
    make_accounts(stage, count).await?;
    let mut client = stage.client().await?;
    let mut comparisons = Vec::new();
    for question in &QUESTIONS {
        let compared = compare(&mut client, addresses, question, count).await;
        comparisons.push(compared.context(question.name)?);
    }
    Ok(comparisons)
}

/// Makes the accounts, whose addresses are verified.
async fn make_accounts(stage: &Stage, count: u32) -> Result<()> {
    stage.accounts(KNOWN, count).await?;
    stage.accounts(BLANK, count).await?;
    let url = stage.database.url();
    execute(url, "UPDATE users SET email = username || '@example.org', email_verified_at = now()").await?;
    execute(url, &format!("UPDATE users SET password_hash = NULL WHERE username LIKE '{BLANK}%'")).await?;
    execute(url, "VACUUM (ANALYZE) users").await
}

/// Sends requests for names with and without an account in turn, each for another name and from another address.
async fn compare(
    client: &mut Client,
    addresses: &mut Addresses,
    question: &Question,
    count: u32,
) -> Result<Comparison> {
    let latencies = [Histogram::default(), Histogram::default()];
    let mut expected: Option<(u16, String)> = None;
    for place in 0..count {
        // Every second pair has the opposite order, so that both cases follow each case equally often.
        let cases = if place.is_multiple_of(2) { [0, 1] } else { [1, 0] };
        for case in cases {
            let name = format!("{}{}", question.prefixes[case], place + 1);
            let variables = json!({ "input": (question.input)(&name) });
            let begin = Instant::now();
            let response = client.forward(addresses.take(), None, question.document, &variables).await?;
            let latency = begin.elapsed();
            if place >= WARM_UP {
                latencies[case].record(latency);
            }
            let said = words(&response, question.code).context(name)?;
            match &expected {
                Some(expected) => ensure!(said == *expected, "the answers differ: {said:?} and {expected:?}"),
                None => expected = Some(said),
            }
            sleep(PAUSE).await;
        }
    }
    let [with_account, without_account] = latencies.map(|latencies| Latency::of(&latencies));
    let ratio = ratio(with_account.p50, without_account.p50);
    Ok(Comparison { request: question.name, with_account, without_account, ratio })
}

/// Returns the status and the text of a response. Stars replace the random challenge and the time at which it expires.
/// Fails unless the response has an error with this code, or no error if `code` is None.
fn words(response: &Response, code: Option<&str>) -> Result<(u16, String)> {
    let mut text = std::str::from_utf8(&response.body)?.to_owned();
    let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(answer["errors"][0]["extensions"]["code"].as_str() == code, "an unexpected answer: {text}");
    let requested = &answer["data"]["requestCode"];
    for value in [&requested["challenge"], &requested["expiresAt"]].into_iter().filter_map(Value::as_str) {
        text = text.replace(value, &"*".repeat(value.len()));
    }
    Ok((response.status, text))
}

fn ratio(one: f64, other: f64) -> f64 {
    one.max(other) / one.min(other)
}

fn login(name: &str) -> Value {
    json!({ "identifier": name, "password": "not the password of anybody" })
}

fn request_login(name: &str) -> Value {
    json!({ "contactPoint": contact_point(name), "purpose": "LOGIN" })
}

fn request_reset(name: &str) -> Value {
    json!({ "contactPoint": contact_point(name), "purpose": "RESET_PASSWORD" })
}

fn login_with_code(name: &str) -> Value {
    json!({ "contactPoint": contact_point(name), "code": "000000" })
}

fn reset_password(name: &str) -> Value {
    json!({ "contactPoint": contact_point(name), "code": "000000", "newPassword": PASSWORD })
}

fn contact_point(name: &str) -> Value {
    json!({ "email": format!("{name}@example.org") })
}

pub(super) fn table(comparisons: &[Comparison]) -> String {
    let head = ["answers that must not differ, in ms", "account p50", "p99", "no account p50", "p99", "ratio"];
    let line = |comparison: &Comparison| {
        [
            comparison.request.to_owned(),
            decimal(comparison.with_account.p50, 2),
            decimal(comparison.with_account.p99, 2),
            decimal(comparison.without_account.p50, 2),
            decimal(comparison.without_account.p99, 2),
            decimal(comparison.ratio, 2),
        ]
    };
    let lines: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(comparisons.iter().map(line)).collect();
    aligned(&lines)
}

pub(super) fn goals(comparisons: &[Comparison]) -> Vec<Goal> {
    let goal = |comparison: &Comparison| {
        let name = format!("ratio of the medians with and without an account, {}", comparison.request);
        Goal::at_most(name, comparison.ratio, GOAL)
    };
    comparisons.iter().map(goal).collect()
}

/// Returns bars for the median response times, in ms.
pub(super) fn bars(comparisons: &[Comparison]) -> Vec<(String, f64, usize)> {
    let pair = |comparison: &Comparison| {
        let request = comparison.request;
        [
            (request.to_owned(), comparison.with_account.p50, 0),
            (format!("{request}, no account"), comparison.without_account.p50, 1),
        ]
    };
    comparisons.iter().flat_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use parlance_load::client::Response;

    use super::{ratio, words};

    fn response(body: &str) -> Response {
        Response { status: 200, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn answers_with_other_challenges_have_the_same_words() {
        let answer = |challenge: &str| {
            let time = format!("2026-12-01T09:30:00.{challenge}Z");
            let body = format!(r#"{{"data":{{"requestCode":{{"challenge":"{challenge}","expiresAt":"{time}"}}}}}}"#);
            words(&response(&body), None).unwrap()
        };
        assert_eq!(answer("123456"), answer("654321"));
        assert_ne!(answer("123456"), answer("12345"));
    }

    #[test]
    fn answers_with_another_code_or_another_message_are_found() {
        let error = |message: &str| {
            response(&format!(r#"{{"errors":[{{"message":"{message}","extensions":{{"code":"UNAUTHENTICATED"}}}}]}}"#))
        };
        let code = Some("UNAUTHENTICATED");
        assert_ne!(words(&error("wrong"), code).unwrap(), words(&error("unknown"), code).unwrap());
        assert!(words(&error("wrong"), Some("BAD_USER_INPUT")).is_err());
        assert!(words(&error("wrong"), None).is_err());
        assert!(words(&response("{}"), code).is_err());
    }

    #[test]
    fn the_ratio_is_that_of_the_larger_median_to_the_smaller_one() {
        assert_eq!([ratio(3.0, 2.0), ratio(2.0, 3.0)].map(|ratio| ratio.to_string()), ["1.5", "1.5"]);
    }
}
