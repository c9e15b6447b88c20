//! Logins in the browser: what the node sends to the browser and to the issuer, and attacks that it must refuse.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use parlance::clock::Clock;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Node, TestDatabase, TestIssuer};

const CLIENT: &str = "http://localhost:3000/signed-in?tab=1";
/// The example of RFC 7636, appendix B: the secret of the client and its hash.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A browser that does not follow redirects by itself.
struct Browser<'a> {
    node: &'a Node,
    http: Client,
}

/// A login that the browser has begun.
struct Begun {
    /// The cookie, without its attributes.
    cookie: String,
    /// The address at the issuer.
    location: Url,
}

fn location(headers: &HeaderMap) -> Url {
    Url::parse(headers[LOCATION].to_str().unwrap()).unwrap()
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned()).unwrap_or_default()
}

impl<'a> Browser<'a> {
    fn new(node: &'a Node) -> Self {
        Self { node, http: Client::builder().redirect(Policy::none()).build().unwrap() }
    }

    async fn get(&self, path: &str, query: &[(&str, &str)], cookie: Option<&str>) -> Response {
        let mut url = Url::parse(&self.node.url(path)).unwrap();
        url.query_pairs_mut().extend_pairs(query);
        let mut request = self.http.get(url);
        if let Some(cookie) = cookie {
            request = request.header(COOKIE, cookie);
        }
        request.send().await.unwrap()
    }

    async fn begin(&self) -> Begun {
        let response = self.get("/auth/test", &[("redirect", CLIENT), ("challenge", CHALLENGE)], None).await;
        assert_eq!(response.status().as_u16(), 303);
        let headers = response.headers();
        assert_eq!(headers["cache-control"], "no-store");
        let (cookie, attributes) = headers[SET_COOKIE].to_str().unwrap().split_once("; ").unwrap();
        assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=600");
        assert!(cookie.starts_with("parlance_auth="), "{cookie}");
        Begun { cookie: cookie.to_owned(), location: location(headers) }
    }

    /// Returns from the issuer with this query. Returns the address of the client.
    async fn finish(&self, cookie: &str, query: &[(&str, &str)]) -> Url {
        let response = self.get("/auth/test/callback", query, Some(cookie)).await;
        assert_eq!(response.status().as_u16(), 303, "{}", response.text().await.unwrap());
        let headers = response.headers();
        assert!(headers[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"), "{headers:?}");
        location(headers)
    }
}

impl Begun {
    fn state(&self) -> String {
        parameter(&self.location, "state")
    }

    /// Lets the issuer answer the next request for tokens with an ID token for this login.
    fn prepare(&self, issuer: &TestIssuer, more: &Value) {
        let mut more = more.clone();
        more["nonce"] = json!(parameter(&self.location, "nonce"));
        issuer.answers(|answers| answers.id_token = issuer.token("1", &more));
    }
}

#[tokio::test]
async fn a_login_gives_the_client_a_code_that_signs_in_once() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let browser = Browser::new(&node);
    let begun = browser.begin().await;
    let sent = |name: &str| parameter(&begun.location, name);
    assert!(begun.location.as_str().starts_with(&format!("{}/authorize?", issuer.url)), "{}", begun.location);
    let callback = node.url("/auth/test/callback");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "chat"),
        ("redirect_uri", callback.as_str()),
        ("scope", "openid profile email"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(sent(name), value);
    }
    begun.prepare(&issuer, &json!({"preferred_username": "ada"}));
    let returned = browser.finish(&begun.cookie, &[("code", "a code"), ("state", &begun.state())]).await;
    let code = returned.fragment().unwrap().strip_prefix("code=").unwrap().to_owned();
    let mut client = returned.clone();
    client.set_fragment(None);
    assert_eq!(client.as_str(), CLIENT);
    // The issuer can check PKCE.
    let form = issuer.answers(|answers| answers.token_form.clone());
    assert_eq!(sent("code_challenge"), URL_SAFE_NO_PAD.encode(Sha256::digest(&form["code_verifier"])));
    assert_eq!((form["grant_type"].as_str(), form["redirect_uri"].as_str()), ("authorization_code", callback.as_str()));
    assert!(!form.contains_key("client_secret"), "the secret is in the header Authorization");

    // The code is useless for a client that has not begun the login.
    for wrong in [code.clone(), format!("{code}."), format!("{code}.{CHALLENGE}"), format!("{code}.{VERIFIER}.")] {
        let refused = node.sign_in_with_token(&wrong).await;
        assert_eq!((refused.code(), refused.violations()), ("BAD_USER_INPUT", vec!["token"]), "{wrong}");
    }
    let code = format!("{code}.{VERIFIER}");
    let payload = node.sign_in_with_token(&code).await.data()["signInWithToken"].clone();
    assert_eq!(payload["viewer"]["user"]["username"], "ada");
    let used = node.sign_in_with_token(&code).await;
    assert_eq!((used.code(), used.violations()), ("BAD_USER_INPUT", vec!["token"]));
}

#[tokio::test]
async fn a_sign_in_code_expires_after_a_minute() {
    let database = TestDatabase::new().await;
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_on(&database).await;
    let late = issuer.node(&json!({})).clock(Clock::off_by(TimeDelta::seconds(60))).start_on(&database).await;
    let browser = Browser::new(&node);
    let begun = browser.begin().await;
    begun.prepare(&issuer, &json!({}));
    let returned = browser.finish(&begun.cookie, &[("code", "a code"), ("state", &begun.state())]).await;
    let code = format!("{}.{VERIFIER}", returned.fragment().unwrap().strip_prefix("code=").unwrap());
    let refused = late.sign_in_with_token(&code).await;
    assert_eq!((refused.code(), refused.violations()), ("BAD_USER_INPUT", vec!["token"]));
    node.sign_in_with_token(&code).await.data();
}

#[tokio::test]
async fn a_login_of_another_browser_is_not_finished() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let browser = Browser::new(&node);
    let (begun, other) = (browser.begin().await, browser.begin().await);
    begun.prepare(&issuer, &json!({}));
    let (content, tag) = begun.cookie.rsplit_once('.').unwrap();
    let (_, other_tag) = other.cookie.rsplit_once('.').unwrap();
    let state = begun.state();
    for (what, cookie, state) in [
        ("no cookie", "", state.as_str()),
        ("the cookie of another login", other.cookie.as_str(), &state),
        ("the state of another login", &begun.cookie, &other.state()),
        ("no state", &begun.cookie, ""),
        ("a cookie with the name for TLS", &format!("__Host-{}", begun.cookie), &state),
        ("a forged cookie", &format!("{content}.{other_tag}"), &state),
        ("a shortened cookie", &format!("{}.{tag}", &content[..content.len() - 4]), &state),
    ] {
        let query = [("code", "a code"), ("state", state)];
        let response = browser.get("/auth/test/callback", &query, Some(cookie)).await;
        assert_eq!(response.status().as_u16(), 400, "{what}");
        assert!(response.headers().get(LOCATION).is_none(), "{what}");
        assert!(response.headers().get(SET_COOKIE).is_none(), "{what}: the login of the browser goes on");
        assert!(response.text().await.unwrap().contains("Start it again"), "{what}");
    }
    let returned = browser.finish(&begun.cookie, &[("code", "a code"), ("state", &state)]).await;
    assert!(returned.fragment().unwrap().starts_with("code="), "{returned}");
}

#[tokio::test]
async fn the_client_learns_why_a_login_failed() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let browser = Browser::new(&node);
    let begun = browser.begin().await;
    let state = begun.state();
    let fragment = async |query: &[(&str, &str)]| {
        let query: Vec<_> = query.iter().copied().chain([("state", state.as_str())]).collect();
        browser.finish(&begun.cookie, &query).await.fragment().unwrap().to_owned()
    };
    assert_eq!(fragment(&[("error", "access_denied")]).await, "error=access_denied");
    assert_eq!(fragment(&[("error", "<script>&code=1")]).await, "error=scriptcode1");
    assert!(fragment(&[]).await.starts_with("error=BAD_USER_INPUT&"));
    let other = fragment(&[("code", "a code"), ("iss", "https://other.example")]).await;
    assert!(other.starts_with("error=BAD_USER_INPUT&"), "{other}");
    let refused = fragment(&[("code", "a wrong code")]).await;
    assert!(refused.starts_with("error=BAD_USER_INPUT&"), "{refused}");
    // The ID token of another login, and one for another client.
    issuer.answers(|answers| answers.id_token = issuer.token("1", &json!({"nonce": "other"})));
    let other_login = fragment(&[("code", "a code")]).await;
    assert!(other_login.contains("not%20for%20this%20login"), "{other_login}");
    begun.prepare(&issuer, &json!({"aud": "other"}));
    let other_client = fragment(&[("code", "a code")]).await;
    assert!(other_client.contains("another%20audience"), "{other_client}");
    issuer.answers(|answers| answers.is_up = false);
    let down = fragment(&[("code", "a code")]).await;
    assert!(down.starts_with("error=UNAVAILABLE&"), "{down}");
}

#[tokio::test]
async fn a_login_returns_only_to_allowed_addresses() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).flag("--auth-redirects=own,https://app.example.org/chat").start_alone().await;
    let browser = Browser::new(&node);
    let status = async |redirect: &str| {
        let query = [("redirect", redirect), ("challenge", CHALLENGE)];
        browser.get("/auth/test", &query, None).await.status().as_u16()
    };
    for good in ["https://app.example.org/chat", "https://app.example.org/chat/in", "http://127.0.0.1:3000/"] {
        assert_eq!(status(good).await, 303, "{good}");
    }
    let long = format!("http://localhost/{}", "a".repeat(1024));
    for bad in [
        "https://evil.example/",
        "https://app.example.org/",
        "https://app.example.org/chatter",
        "https://app.example.org.evil.example/chat",
        "//evil.example",
        "javascript:alert(1)",
        "/signed-in",
        "http://localhost:3000/#fragment",
        "",
        long.as_str(),
    ] {
        assert_eq!(status(bad).await, 400, "{bad}");
    }
    let query = [("redirect", CLIENT), ("challenge", CHALLENGE)];
    assert_eq!(browser.get("/auth/other", &query, None).await.status().as_u16(), 404);
    for bad in ["", "short", VERIFIER.trim_end_matches('k'), &format!("{CHALLENGE}=")] {
        let query = [("redirect", CLIENT), ("challenge", bad)];
        assert_eq!(browser.get("/auth/test", &query, None).await.status().as_u16(), 400, "{bad}");
    }
    for missing in [&query[..1], &query[1..], &[]] {
        assert_eq!(browser.get("/auth/test", missing, None).await.status().as_u16(), 400, "{missing:?}");
    }
    // Without PUBLIC_URL, only hosts of this machine are accepted.
    let request = browser.http.get(node.url("/auth/test")).query(&query).header("host", "evil.example");
    assert_eq!(request.send().await.unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn a_login_that_returns_to_another_login_gives_its_issuer_no_code() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).start_alone().await;
    let browser = Browser::new(&node);
    let next = node.url(&format!("/auth/test?redirect=http://localhost:3000/&challenge={CHALLENGE}"));
    let query = [("redirect", next.as_str()), ("challenge", CHALLENGE)];
    let response = browser.get("/auth/test", &query, None).await;
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let begun = Begun { cookie, location: location(response.headers()) };
    begun.prepare(&issuer, &json!({}));
    let returned = browser.finish(&begun.cookie, &[("code", "a code"), ("state", &begun.state())]).await;
    assert!(returned.as_str().starts_with(&node.url("/auth/test?")) && returned.fragment().is_some(), "{returned}");
    // The browser would keep the fragment with the code if the next address had none.
    let second = browser.http.get(returned).send().await.unwrap();
    let at_issuer = location(second.headers());
    assert!(at_issuer.as_str().starts_with(&issuer.url), "{at_issuer}");
    assert_eq!(at_issuer.fragment(), Some(""));
}

#[tokio::test]
async fn an_issuer_that_names_itself_in_its_answers_must_do_so() {
    let issuer = TestIssuer::start().await;
    issuer.answers(|answers| answers.names_itself = true);
    let node = issuer.node(&json!({})).start_alone().await;
    let browser = Browser::new(&node);
    let begun = browser.begin().await;
    begun.prepare(&issuer, &json!({}));
    let state = begun.state();
    for (named, expected) in [
        (None, "error=BAD_USER_INPUT&"),
        (Some("https://other.example"), "error=BAD_USER_INPUT&"),
        (Some(issuer.url.as_str()), "code="),
    ] {
        let query = [("code", "a code"), ("state", state.as_str()), ("iss", named.unwrap_or_default())];
        let query = if named.is_some() { &query[..] } else { &query[..2] };
        let returned = browser.finish(&begun.cookie, query).await;
        assert!(returned.fragment().unwrap().starts_with(expected), "{named:?}: {returned}");
    }
}

#[tokio::test]
async fn public_url_is_the_origin_of_the_addresses_of_a_login() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).flag("--public-url=https://chat.example.org").start_alone().await;
    let browser = Browser::new(&node);
    let query = [("redirect", "https://chat.example.org/in"), ("challenge", CHALLENGE), ("reauthenticate", "true")];
    let response = browser.get("/auth/test", &query, None).await;
    let (cookie, attributes) = response.headers()[SET_COOKIE].to_str().unwrap().split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600");
    assert!(cookie.starts_with("__Host-parlance_auth="), "{cookie}");
    let location = location(response.headers());
    // A page without TLS, or of another host of the same domain, can set only a cookie without the prefix.
    let state = parameter(&location, "state");
    let answer = [("error", "access_denied"), ("state", state.as_str())];
    let without_prefix = cookie.strip_prefix("__Host-").unwrap();
    assert_eq!(browser.get("/auth/test/callback", &answer, Some(without_prefix)).await.status().as_u16(), 400);
    assert_eq!(browser.finish(cookie, &answer).await.fragment(), Some("error=access_denied"));
    assert_eq!(parameter(&location, "redirect_uri"), "https://chat.example.org/auth/test/callback");
    assert_eq!((parameter(&location, "prompt"), parameter(&location, "max_age")), ("login".into(), "0".into()));
    let query = [("redirect", CLIENT), ("challenge", CHALLENGE)];
    assert_eq!(browser.get("/auth/test", &query, None).await.status().as_u16(), 400);
    let data = node.call(None, "{ serverInfo { issuers { loginUrl } } }", json!({})).await.data();
    assert_eq!(data["serverInfo"]["issuers"][0]["loginUrl"], "https://chat.example.org/auth/test");
}

#[tokio::test]
async fn an_issuer_without_a_client_id_has_no_login() {
    let issuer = TestIssuer::start().await;
    let changes = json!({"clientId": null, "clientSecret": null, "audiences": ["chat"]});
    let node = issuer.node(&changes).start_alone().await;
    let browser = Browser::new(&node);
    let query = [("redirect", CLIENT), ("challenge", CHALLENGE)];
    assert_eq!(browser.get("/auth/test", &query, None).await.status().as_u16(), 404);
    let data = node.call(None, "{ serverInfo { issuers { name loginUrl } } }", json!({})).await.data();
    assert_eq!(data["serverInfo"]["issuers"], json!([{"name": "test", "loginUrl": null}]));
    node.user_by_token(&issuer.token("1", &json!({}))).await;
}
