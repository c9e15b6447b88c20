//! The tokens that a node accepts and refuses, and what it does while an issuer is down.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{ALLOWANCE, AUDIENCE, Answer, PATIENCE, SigningKey, TestIssuer, eventually};

/// Asserts that the token was refused for a reason with these words.
#[track_caller]
fn assert_refused(what: &str, answer: &Answer, reason: &str) {
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["token"]), "{what}: {:#}", answer.body);
    let message = answer.body["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains(reason), "{what}: {message}");
}

fn base64(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn now() -> i64 {
    Clock::system().now().timestamp()
}

#[tokio::test]
async fn a_token_with_a_wrong_claim_is_refused() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let late = now() + 120;
    for (what, more, reason) in [
        ("another audience", json!({"aud": "other"}), "another audience"),
        ("no audience", json!({"aud": null}), "another audience"),
        ("an audience that is no text", json!({"aud": [AUDIENCE, 1]}), "another audience"),
        ("several audiences without azp", json!({"aud": [AUDIENCE, "other"]}), "another client"),
        ("azp of another client", json!({"aud": [AUDIENCE, "other"], "azp": "other"}), "another client"),
        ("expired", json!({"exp": now() - 61}), "expired"),
        ("without expiry", json!({"exp": null}), "expired"),
        ("with a text as expiry", json!({"exp": "tomorrow"}), "expired"),
        ("issued in the future", json!({"iat": late}), "not valid yet"),
        ("without a time of issue", json!({"iat": null}), "no time of issue"),
        ("not valid yet", json!({"nbf": late}), "not valid yet"),
        ("without a subject", json!({"sub": null}), "no subject"),
        ("with an empty subject", json!({"sub": ""}), "subject of the token is invalid"),
        ("with a long subject", json!({"sub": "a".repeat(256)}), "subject of the token is invalid"),
        ("with a number as subject", json!({"sub": 1}), "subject of the token is invalid"),
        ("with NUL in the subject", json!({"sub": "a\0"}), "subject of the token is invalid"),
        ("with an empty session", json!({"sid": ""}), "session of the token is invalid"),
        ("signed in in the future", json!({"auth_time": late}), "time of the sign-in is invalid"),
        ("signed in at no time", json!({"auth_time": now().to_string()}), "time of the sign-in is invalid"),
        ("signed in at a time in milliseconds", json!({"auth_time": now() * 1000}), "time of the sign-in is invalid"),
        ("a logout token", json!({"events": {}}), "not for signing in"),
        ("of an unknown issuer", json!({"iss": "https://other.example"}), "not accept tokens of this issuer"),
        ("with a slash after the issuer", json!({"iss": format!("{}/", issuer.url)}), "not accept tokens of this"),
        ("too large", json!({"padding": "a".repeat(8192)}), "at most 8192 bytes"),
    ] {
        let token = issuer.token("ada", &more);
        assert_refused(what, &node.sign_in_with_token(&token).await, reason);
    }
    let with_fraction = serde_json::from_str(&format!("{{\"exp\": {}.5}}", now() + 60)).unwrap();
    for good in [json!({}), json!({"aud": ["other", AUDIENCE], "azp": AUDIENCE}), with_fraction] {
        node.sign_in_with_token(&issuer.token("ada", &good)).await.data();
    }
}

#[tokio::test]
async fn clocks_may_differ_by_a_minute() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    for within in [json!({"exp": now() - 50}), json!({"iat": now() + 50}), json!({"nbf": now() + 50})] {
        node.sign_in_with_token(&issuer.token("ada", &within)).await.data();
    }
    let strict = issuer.node(&json!({"clockSkewSeconds": 0})).start_alone().await;
    let expired = issuer.token("ada", &json!({"exp": now() - 1}));
    assert_refused("expired", &strict.sign_in_with_token(&expired).await, "expired");
    let early = issuer.token("ada", &json!({"iat": now() + 50}));
    assert_refused("early", &strict.sign_in_with_token(&early).await, "not valid yet");
}

#[tokio::test]
async fn a_token_cannot_choose_how_it_is_verified() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let claims = issuer.claims("ada", &json!({}));
    let unsigned = format!("{}.{}.", base64(&json!({"alg": "none", "typ": "JWT"})), base64(&claims));
    assert_refused("alg none", &node.sign_in_with_token(&unsigned).await, "not a signed token");

    // The public key is no secret, so it must not work as the key of an HMAC.
    let header = Header { kid: Some("first".into()), ..Header::default() };
    let public = issuer.key.jwk["x"].as_str().unwrap();
    for secret in [public.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(public).unwrap()] {
        let by_hmac = encode(&header, &claims, &EncodingKey::from_secret(&secret)).unwrap();
        assert_refused("HS256", &node.sign_in_with_token(&by_hmac).await, "algorithm that is not allowed");
    }

    // A claim that occurs twice could have another value for the signer than for the reader.
    let twice = format!("{},\"sub\":\"eve\"}}", claims.to_string().trim_end_matches('}'));
    let parsed: Value = serde_json::from_str(&twice).unwrap();
    assert_eq!(parsed["sub"], "eve", "{twice}");
    let twice = issuer.key.sign_text(&twice);
    assert_refused("a subject twice", &node.sign_in_with_token(&twice).await, "signature of the token is wrong");

    // A stranger signs with a key of their own under the id of the issuer's key.
    let forged = SigningKey::ed25519("first").sign(&claims);
    assert_refused("a forged token", &node.sign_in_with_token(&forged).await, "signature of the token is wrong");
    let other_type = SigningKey::p256("first").sign(&claims);
    assert_refused("another type of key", &node.sign_in_with_token(&other_type).await, "no single key");
    let token = issuer.token("ada", &json!({}));
    let (head, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let changed = format!("{header}.{}.{signature}", base64(&issuer.claims("eve", &json!({}))));
    assert_refused("a changed token", &node.sign_in_with_token(&changed).await, "signature of the token is wrong");
    let critical = json!({"alg": "EdDSA", "kid": "first", "crit": ["exp"], "exp": 0});
    let critical = format!("{}.{}.{signature}", base64(&critical), base64(&claims));
    assert_refused("critical extensions", &node.sign_in_with_token(&critical).await, "critical extensions");
    for garbage in ["", "a", "a.b.c", "..", "parlance_sc_unknown"] {
        assert_eq!(node.sign_in_with_token(garbage).await.code(), "BAD_USER_INPUT", "{garbage}");
    }
    node.sign_in_with_token(&token).await.data();
}

#[tokio::test]
async fn a_new_key_of_the_issuer_is_fetched_and_a_removed_one_stops_working() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let old = issuer.token("ada", &json!({}));
    node.sign_in_with_token(&old).await.data();
    let next = SigningKey::p256("second");
    issuer.answers(|answers| answers.keys = vec![next.jwk.clone()]);
    node.sign_in_with_token(&next.sign(&issuer.claims("ada", &json!({})))).await.data();
    assert_refused("the removed key", &node.sign_in_with_token(&old).await, "no single key");
}

#[tokio::test]
async fn unknown_keys_cause_few_requests_to_the_issuer() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).flag("--issuer-refetch-interval=30000").start_alone().await;
    node.sign_in_with_token(&issuer.token("ada", &json!({}))).await.data();
    for id in 0..5 {
        let unknown = SigningKey::ed25519(&format!("unknown {id}")).sign(&issuer.claims("ada", &json!({})));
        assert_refused("an unknown key", &node.sign_in_with_token(&unknown).await, "no single key");
    }
    assert_eq!(issuer.answers(|answers| answers.key_requests), 1);
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_cause_more_requests_to_the_issuer() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).flag("--issuer-refetch-interval=200").start_alone().await;
    node.sign_in_with_token(&issuer.token("ada", &json!({}))).await.data();
    // After this time, an unknown key causes a request to the issuer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    issuer.answers(|answers| answers.delay = Duration::from_secs(3));
    let unknown = SigningKey::ed25519("unknown").sign(&issuer.claims("ada", &json!({})));
    let log_out = node.http.post(node.url("/auth/test/backchannel-logout")).form(&[("logout_token", &unknown)]);
    for _ in 0..5 {
        let request = log_out.try_clone().unwrap().timeout(Duration::from_millis(50));
        assert!(request.send().await.unwrap_err().is_timeout());
    }
    let refused = log_out.send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 400);
    assert_eq!(issuer.answers(|answers| answers.key_requests), 2);
}

#[tokio::test]
async fn a_token_without_a_key_id_needs_an_issuer_with_one_key() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let token = issuer.key.sign_without_id(&issuer.claims("ada", &json!({})));
    node.sign_in_with_token(&token).await.data();
    let second = SigningKey::ed25519("second");
    let third = SigningKey::p256("third");
    issuer.answers(|answers| answers.keys.extend([second.jwk.clone(), third.jwk.clone()]));
    // The only key of its type fits.
    let fits = third.sign_without_id(&issuer.claims("ada", &json!({})));
    node.sign_in_with_token(&fits).await.data();
    assert_refused("one of two keys", &node.sign_in_with_token(&token).await, "no single key");
    // A key for encryption is no key for signatures.
    issuer.answers(|answers| {
        answers.keys.retain(|key| key["kid"] != "second");
        let mut encryption = SigningKey::ed25519("encryption").jwk;
        encryption["use"] = json!("enc");
        answers.keys.push(encryption);
        answers.keys.push(json!({"kty": "oct", "kid": "first", "k": "c2VjcmV0"}));
        answers.keys.push(json!({"kty": "unknown"}));
    });
    node.sign_in_with_token(&token).await.data();
}

#[tokio::test]
async fn the_known_keys_work_while_the_issuer_is_down() {
    let issuer = TestIssuer::start().await;
    issuer.answers(|answers| answers.is_up = false);
    let node = issuer.node(&json!({})).start_alone().await;
    let token = issuer.token("ada", &json!({}));
    assert_eq!(node.sign_in_with_token(&token).await.code(), "UNAVAILABLE");
    issuer.answers(|answers| answers.is_up = true);
    eventually("the issuer is up", async || node.sign_in_with_token(&token).await.body.get("errors").is_none()).await;
    issuer.answers(|answers| answers.is_up = false);
    node.sign_in_with_token(&issuer.token("bob", &json!({}))).await.data();
    let unknown = SigningKey::ed25519("unknown").sign(&issuer.claims("ada", &json!({})));
    assert_refused("an unknown key", &node.sign_in_with_token(&unknown).await, "no single key");
}

#[tokio::test]
async fn a_large_or_slow_answer_of_an_issuer_fails_and_delays_no_other_request() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let token = issuer.token("ada", &json!({}));
    issuer.answers(|answers| answers.padding = 1 << 20);
    assert_eq!(node.sign_in_with_token(&token).await.code(), "UNAVAILABLE");
    issuer.answers(|answers| (answers.padding, answers.delay) = (0, 2 * PATIENCE));
    let started = Instant::now();
    assert_eq!(node.sign_in_with_token(&token).await.code(), "UNAVAILABLE");
    assert!(started.elapsed() < parlance::config::ISSUER_TIMEOUT + 4 * ALLOWANCE, "{:?}", started.elapsed());
    // Requests that need no keys are not delayed.
    let started = Instant::now();
    node.call(None, "{ serverInfo { version } }", json!({})).await.data();
    assert!(started.elapsed() < ALLOWANCE, "{:?}", started.elapsed());
}

#[tokio::test]
async fn keys_and_secrets_in_the_file_work_without_a_reachable_issuer() {
    let issuer = TestIssuer::start().await;
    issuer.answers(|answers| answers.is_up = false);
    let keys = json!({"keys": [issuer.key.jwk]});
    let node = issuer.node(&json!({"keys": keys})).start_alone().await;
    node.sign_in_with_token(&issuer.token("ada", &json!({}))).await.data();
    assert_eq!(issuer.answers(|answers| answers.key_requests), 0);

    let secret = "a shared secret with more than 32 bytes";
    let by_secret = issuer.node(&json!({"secret": secret})).start_alone().await;
    let claims = issuer.claims("ada", &json!({}));
    let token = encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
    by_secret.sign_in_with_token(&token).await.data();
    let wrong = encode(&Header::default(), &claims, &EncodingKey::from_secret(b"another secret")).unwrap();
    assert_refused("another secret", &by_secret.sign_in_with_token(&wrong).await, "signature of the token is wrong");
    let by_key = issuer.token("ada", &json!({}));
    assert_refused("a public key", &by_secret.sign_in_with_token(&by_key).await, "algorithm that is not allowed");
}

#[tokio::test]
async fn a_network_waits_after_too_many_invalid_tokens() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).limited().flag("--password-tries-per-address=3").start_alone().await;
    let token = issuer.token("ada", &json!({}));
    for _ in 0..5 {
        node.sign_in_with_token(&token).await.data();
    }
    for _ in 0..3 {
        assert_eq!(node.sign_in_with_token("no token").await.code(), "BAD_USER_INPUT");
    }
    assert_eq!(node.sign_in_with_token("no token").await.code(), "RATE_LIMITED");
}
