//! Limits on password attempts, by account and by network.

use std::time::Duration;

use parlance::config::SITE_ALLOWANCE;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::limited;
use crate::support::{Node, PASSWORD, TestDatabase, http};

/// Wait after the first wrong password above the limit.
pub(super) const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Time after a failure of Redis before a node calls Redis again.
pub(super) const REDIS_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum number of rounds of a scenario in which a node could not reach Redis in time.
const ROUNDS: usize = 5;
/// Flag for a first wait that is longer than the test, so that no further attempt is allowed meanwhile.
const LONG_WAIT: &str = "--password-first-delay=300";

/// Attempts to sign in. Returns `OK` or the error code, and the seconds to wait.
pub(super) async fn try_login(node: &Node, username: &str, password: &str) -> (String, u64) {
    try_login_from(node, username, password, None).await
}

/// Like `try_login`, but from an address where the user has no session.
async fn try_login_elsewhere(node: &Node, username: &str, password: &str) -> (String, u64) {
    try_login_from(node, username, password, Some("203.0.113.7")).await
}

async fn try_login_from(node: &Node, username: &str, password: &str, address: Option<&str>) -> (String, u64) {
    let query = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";
    let variables = json!({"input": {"identifier": username, "password": password}});
    let mut request = http::post(node, &json!({"query": query, "variables": variables}));
    if let Some(address) = address {
        request = request.header("x-forwarded-for", address);
    }
    let (_, body) = http::send(request).await;
    let extensions = &body["errors"][0]["extensions"];
    let code = extensions["code"].as_str().unwrap_or("OK").to_owned();
    (code, extensions["retryAfter"].as_u64().unwrap_or_default())
}

/// Returns the wait after this number of wrong passwords, of which two cause no wait.
fn wait_after(failures: u32) -> Duration {
    failures.checked_sub(2).map_or(Duration::ZERO, |beyond| FIRST_WAIT * 2_u32.pow(beyond))
}

#[tokio::test]
async fn each_wrong_password_doubles_the_wait() {
    let node = limited(&["--password-tries-per-account=2", "--trusted-proxies=loopback"]).start_alone().await;
    let ada = node.register("ada").await;
    for name in [ada.username.as_str(), "nobody_has_this_name"] {
        // The last wrong password was counted between the times `sent` and `answered`.
        let (mut sent, mut answered) = (Instant::now(), Instant::now());
        let mut failures = 0;
        loop {
            let (wait, begun) = (wait_after(failures), Instant::now());
            let (code, retry_after) = try_login_elsewhere(&node, name, "wrong").await;
            let (since, retry_after) = (sent.elapsed(), Duration::from_secs(retry_after));
            if code == "UNAUTHENTICATED" {
                assert!(since >= wait, "{name}: allowed {since:?} after {failures} wrong passwords");
                failures += 1;
                (sent, answered) = (begun, Instant::now());
                continue;
            }
            assert_eq!(code, "RATE_LIMITED", "{name}");
            assert!(begun - answered < wait, "{name}: refused after the wait of {wait:?}");
            assert!(retry_after <= wait && since + retry_after >= wait, "{name}: {retry_after:?} instead of {wait:?}");
            if failures >= 4 {
                break;
            }
            sleep(retry_after).await;
        }
    }
}

#[tokio::test]
async fn a_correct_password_resets_the_count_of_wrong_passwords() {
    let node = limited(&["--password-tries-per-account=3"]).start_alone().await;
    let ada = node.register("ada").await;
    for _ in 0..3 {
        for _ in 0..2 {
            assert_eq!(try_login(&node, &ada.username, "wrong").await.0, "UNAUTHENTICATED");
        }
        assert_eq!(try_login(&node, &ada.username, PASSWORD).await.0, "OK");
    }
}

#[tokio::test]
async fn concurrent_password_attempts_do_not_exceed_the_limit() {
    let node = limited(&["--password-tries-per-account=5", "--trusted-proxies=loopback"]).start_alone().await;
    let ada = node.register("ada").await;
    let begun = Instant::now();
    let tries = (0..30).map(|_| try_login_elsewhere(&node, &ada.username, "wrong"));
    let answers = futures_util::future::join_all(tries).await;
    let allowed = answers.iter().filter(|(code, _)| code == "UNAUTHENTICATED").count();
    assert_eq!(answers.iter().filter(|(code, _)| code == "RATE_LIMITED").count(), 30 - allowed);
    // Each attempt above the limit has to wait, twice as long as the one before.
    let waits = FIRST_WAIT * ((1_u32 << allowed.checked_sub(5).unwrap()) - 1);
    assert!(begun.elapsed() >= waits, "{allowed} attempts within {:?}", begun.elapsed());
}

/// After attempts of an attacker, logins from other networks must wait, but not logins from the network where the user
/// is signed in.
#[tokio::test]
async fn a_user_can_sign_in_from_a_network_with_a_session_while_attackers_guess() {
    let flags = ["--password-tries-per-account=2", "--trusted-proxies=loopback", LONG_WAIT];
    let node = limited(&flags).start_alone().await;
    let query = "mutation ($input: RegisterInput!) { register(input: $input) { accessToken } }";
    let (attacker, other, home) = ("203.0.113.7", "198.51.100.1", "2001:db8::2");
    let variables = json!({"input": {"username": "ada", "password": PASSWORD}});
    let request = http::post(&node, &json!({"query": query, "variables": variables}));
    http::send(request.header("x-forwarded-for", "2001:db8::1")).await;
    let mut answers = Vec::new();
    for (password, address) in [
        ("wrong", attacker),
        ("wrong", attacker),
        (PASSWORD, attacker),
        (PASSWORD, other),
        (PASSWORD, home),
        // Wrong passwords from the network of the user count too.
        ("wrong", home),
        ("wrong", home),
        (PASSWORD, home),
    ] {
        answers.push(try_login_from(&node, "ada", password, Some(address)).await.0);
    }
    let (wrong, refused) = ("UNAUTHENTICATED", "RATE_LIMITED");
    assert_eq!(answers, [wrong, wrong, refused, refused, "OK", wrong, wrong, refused]);
}

/// The waits must not show that two names belong to the same account. Otherwise an attacker could learn whose address
/// it is.
#[tokio::test]
async fn waits_of_one_name_do_not_affect_another_name_of_the_account() {
    let database = TestDatabase::new().await;
    let flags = ["--password-tries-per-account=2", "--trusted-proxies=loopback", LONG_WAIT];
    let node = limited(&flags).start_on(&database).await;
    let ada = node.register("ada").await;
    let claim = "mutation { updateProfile(input: {email: \"ada@example.org\"}) { viewer { id } } }";
    ada.query(claim, json!({})).await;
    database.verify_contact_points(&ada.username).await;
    for name in [ada.username.as_str(), "ada@example.org", "nobody@example.org"] {
        for expected in ["UNAUTHENTICATED", "UNAUTHENTICATED", "RATE_LIMITED"] {
            assert_eq!(try_login_elsewhere(&node, name, "wrong").await.0, expected, "{name}");
        }
    }
    // Signed-in users have a count of their own.
    assert_eq!(ada.delete_account(Some("wrong")).await.code(), "BAD_USER_INPUT");
}

/// Without a ceiling for all names, each new username would allow further guesses.
#[tokio::test]
async fn all_names_of_an_account_have_a_ceiling() {
    let node =
        limited(&["--password-tries-per-account=2", "--trusted-proxies=loopback", LONG_WAIT]).start_alone().await;
    let ada = node.register("ada").await;
    let rename = "mutation ($name: String!) { updateProfile(input: {username: $name}) { viewer { id } } }";
    let mut answers = Vec::new();
    for place in 0..4 {
        let name = format!("ada_{place}_{}", &ada.id[ada.id.len() - 8..]);
        ada.query(rename, json!({"name": name})).await;
        for _ in 0..2 {
            answers.push(try_login_elsewhere(&node, &name, "wrong").await.0);
        }
    }
    let (wrong, refused) = ("UNAUTHENTICATED", "RATE_LIMITED");
    assert_eq!(answers, [wrong, wrong, wrong, wrong, wrong, wrong, refused, refused]);
}

/// An owner's network has guesses of its own, but they count for the network as well.
#[tokio::test]
async fn guesses_from_a_network_with_a_session_count_for_the_network() {
    let flags = ["--password-tries-per-account=2", "--password-tries-per-address=3", LONG_WAIT];
    let node = limited(&flags).start_alone().await;
    let ada = node.register("ada").await;
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(try_login(&node, &ada.username, "wrong").await.0);
    }
    // The third guess counts for the network of the session.
    let (wrong, refused) = ("UNAUTHENTICATED", "RATE_LIMITED");
    assert_eq!(answers, [wrong, wrong, wrong, refused]);
    assert_eq!(try_login(&node, "nobody", "wrong").await.0, refused);
}

/// An attacker guesses passwords of many accounts, and between the guesses signs in to an account that it owns.
#[tokio::test]
async fn guesses_from_one_network_at_many_accounts_are_limited() {
    let node = limited(&["--password-tries-per-address=4", LONG_WAIT]).start_alone().await;
    let ada = node.register("ada").await;
    for name in ["first", "second", "third"] {
        assert_eq!(try_login(&node, name, "wrong").await.0, "UNAUTHENTICATED");
        assert_eq!(try_login(&node, &ada.username, PASSWORD).await.0, "OK", "{name}");
    }
    assert_eq!(try_login(&node, "fourth", "wrong").await.0, "UNAUTHENTICATED");
    assert_eq!(try_login(&node, "fifth", "wrong").await.0, "RATE_LIMITED");
}

/// An attacker guesses from many networks of one IPv6 site. The nodes count the guesses together.
#[tokio::test]
async fn guesses_from_the_networks_of_one_site_are_limited() {
    let database = TestDatabase::new().await;
    let flags = ["--password-tries-per-address=1", "--trusted-proxies=loopback", LONG_WAIT];
    let start = async || limited(&flags).redis(&database.name).await.start_on(&database).await;
    let nodes = [start().await, start().await];
    let (wrong, refused) = ("UNAUTHENTICATED", "RATE_LIMITED");
    let are_shared = || nodes.iter().all(|node| node.app.limiter().is_shared());
    'rounds: for round in 0..ROUNDS {
        let mut expected = vec![wrong; SITE_ALLOWANCE as usize];
        expected.push(refused);
        for (number, expected) in expected.into_iter().enumerate() {
            let (name, address) = (format!("name_{round}_{number}"), format!("2001:db8:{round:x}:{number:x}::1"));
            let code = try_login_from(&nodes[number % 2], &name, "wrong", Some(&address)).await.0;
            // A node that cannot reach Redis in time uses its own counts, until it calls Redis again.
            if !are_shared() {
                sleep(REDIS_BACKOFF).await;
                continue 'rounds;
            }
            assert_eq!(code, expected, "{address}");
        }
        let elsewhere = try_login_from(&nodes[0], "somebody", "wrong", Some("2001:db8:ffff::1")).await.0;
        assert_eq!(elsewhere, wrong, "another site");
        return;
    }
    panic!("in each of {ROUNDS} rounds, a node could not reach Redis in time");
}

#[tokio::test]
async fn nodes_share_the_count_of_wrong_passwords() {
    let database = TestDatabase::new().await;
    let flags = ["--password-tries-per-account=4", "--trusted-proxies=loopback", "--password-first-delay=5"];
    let start = async || limited(&flags).redis(&database.name).await.start_on(&database).await;
    let (one, other) = (start().await, start().await);
    let (wrong, refused) = ("UNAUTHENTICATED", "RATE_LIMITED");
    'rounds: for _ in 0..ROUNDS {
        let ada = one.register("ada").await;
        let mut wait = 0;
        for (node, password, expected) in [
            (&one, "wrong", wrong),
            (&other, "wrong", wrong),
            (&one, "wrong", wrong),
            (&other, "wrong", wrong),
            (&one, "wrong", refused),
            (&other, "wrong", refused),
            (&other, PASSWORD, "OK"),
            (&one, "wrong", wrong),
        ] {
            if password == PASSWORD {
                sleep(Duration::from_secs(wait)).await;
            }
            let (code, retry_after) = try_login_elsewhere(node, &ada.username, password).await;
            // A node that cannot reach Redis in time uses its own counts, until it calls Redis again.
            if !node.app.limiter().is_shared() {
                sleep(REDIS_BACKOFF).await;
                continue 'rounds;
            }
            assert_eq!(code, expected);
            wait = retry_after;
        }
        return;
    }
    panic!("in each of {ROUNDS} rounds, a node could not reach Redis in time");
}

#[tokio::test]
async fn all_mutations_that_check_a_password_are_limited() {
    let node = limited(&["--password-tries-per-account=2", LONG_WAIT]).start_alone().await;
    let change = "mutation ($new: String!) {
        changePassword(input: {currentPassword: \"wrong\", newPassword: $new}) { viewer { user { id } } }
    }";
    let new = json!({"new": "another loom of one's own"});
    // The limit of the account allows two attempts. The separate limit of a network where the user is signed in allows
    // two more attempts.
    let ada = node.register("ada").await;
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(ada.call(change, new.clone()).await.code().to_owned());
        codes.push(ada.delete_account(Some("wrong")).await.code().to_owned());
    }
    assert_eq!(codes[..4], ["BAD_USER_INPUT"; 4]);
    assert_eq!(codes[4..], ["RATE_LIMITED"; 2]);
}

#[tokio::test]
async fn a_request_checks_at_most_one_password() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let login = format!("login(input: {{identifier: \"{}\", password: \"wrong\"}}) {{ accessToken }}", ada.username);
    let register = "register(input: {username: \"bob_1\", password: \"a loom of one's own\"}) { accessToken }";
    let confirm = "confirmIdentity(input: {password: \"wrong\"}) { confirmedUntil }";
    let reset = "resetPassword(input: {
        contactPoint: {email: \"ada@example.org\"}, code: \"000000\", newPassword: \"a loom of one's own\"
    }) { accessToken }";
    for document in [
        format!("mutation {{ {confirm} {reset} }}"),
        format!("mutation {{ a: {login} b: {login} }}"),
        format!("mutation {{ {login} {register} }}"),
        format!(
            "mutation {{ ...F ...G }} fragment F on Mutation {{ a: {login} }} fragment G on Mutation {{ b: {login} }}"
        ),
        format!("mutation {{ ... on Mutation {{ a: {login} }} b: {login} }}"),
    ] {
        let answer = node.call(None, &document, json!({})).await;
        assert_eq!(answer.code(), "OPERATION_TOO_COMPLEX", "{document}");
    }
    let one = json!({"query": format!("mutation {{ {login} }}")});
    let (_, body) = http::send(http::post(&node, &json!([one, one]))).await;
    for answer in body.as_array().unwrap() {
        assert_eq!(answer["errors"][0]["extensions"]["code"], "OPERATION_TOO_COMPLEX", "{body:#}");
    }
    let harmless = json!({"query": "{ serverInfo { version } }"});
    let (_, body) = http::send(http::post(&node, &json!([harmless, one]))).await;
    assert_eq!(body[1]["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{body:#}");
}
