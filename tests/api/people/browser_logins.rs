//! Logins in the browser: what the node sends to the browser and to the issuer, and attacks that it must refuse.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Node, TestIssuer};

const CLIENT: &str = "http://localhost:3000/signed-in?tab=1";

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
        let response = self.get("/auth/test", &[("redirect", CLIENT)], None).await;
        assert_eq!(response.status().as_u16(), 303);
        let headers = response.headers();
        assert_eq!(headers["cache-control"], "no-store");
        let cookie = headers[SET_COOKIE].to_str().unwrap();
        for attribute in ["__Host-", "; Path=/;", "; Secure;", "; HttpOnly;", "; SameSite=Lax;", "; Max-Age=600"] {
            assert!(cookie.contains(attribute), "{attribute} in {cookie}");
        }
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Begun { cookie, location: location(headers) }
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

    let payload = node.sign_in_with_token(&code).await.data()["signInWithToken"].clone();
    assert_eq!(payload["viewer"]["user"]["username"], "ada");
    let used = node.sign_in_with_token(&code).await;
    assert_eq!((used.code(), used.violations()), ("BAD_USER_INPUT", vec!["token"]));
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
        ("a forged cookie", &format!("{content}.{other_tag}"), &state),
        ("a shortened cookie", &format!("{}.{tag}", &content[..content.len() - 4]), &state),
    ] {
        let query = [("code", "a code"), ("state", state)];
        let response = browser.get("/auth/test/callback", &query, Some(cookie)).await;
        assert_eq!(response.status().as_u16(), 400, "{what}");
        assert!(response.headers().get(LOCATION).is_none(), "{what}");
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
    let status =
        async |redirect: &str| browser.get("/auth/test", &[("redirect", redirect)], None).await.status().as_u16();
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
    assert_eq!(browser.get("/auth/other", &[("redirect", CLIENT)], None).await.status().as_u16(), 404);
    assert_eq!(browser.get("/auth/test", &[], None).await.status().as_u16(), 400);
    // Without PUBLIC_URL, only hosts of this machine are accepted.
    let request =
        browser.http.get(node.url("/auth/test")).query(&[("redirect", CLIENT)]).header("host", "evil.example");
    assert_eq!(request.send().await.unwrap().status().as_u16(), 403);
}

#[tokio::test]
async fn public_url_is_the_origin_of_the_addresses_of_a_login() {
    let issuer = TestIssuer::start().await;
    let node = issuer.node(&json!({})).flag("--public-url=https://chat.example.org").start_alone().await;
    let browser = Browser::new(&node);
    let query = [("redirect", "https://chat.example.org/in"), ("reauthenticate", "true")];
    let response = browser.get("/auth/test", &query, None).await;
    let location = location(response.headers());
    assert_eq!(parameter(&location, "redirect_uri"), "https://chat.example.org/auth/test/callback");
    assert_eq!((parameter(&location, "prompt"), parameter(&location, "max_age")), ("login".into(), "0".into()));
    assert_eq!(browser.get("/auth/test", &[("redirect", CLIENT)], None).await.status().as_u16(), 400);
    let data = node.call(None, "{ serverInfo { issuers { loginUrl } } }", json!({})).await.data();
    assert_eq!(data["serverInfo"]["issuers"][0]["loginUrl"], "https://chat.example.org/auth/test");
}

#[tokio::test]
async fn an_issuer_without_a_client_id_has_no_login() {
    let issuer = TestIssuer::start().await;
    let changes = json!({"clientId": null, "clientSecret": null, "audiences": ["chat"]});
    let node = issuer.node(&changes).start_alone().await;
    let browser = Browser::new(&node);
    assert_eq!(browser.get("/auth/test", &[("redirect", CLIENT)], None).await.status().as_u16(), 404);
    let data = node.call(None, "{ serverInfo { issuers { name loginUrl } } }", json!({})).await.data();
    assert_eq!(data["serverInfo"]["issuers"], json!([{"name": "test", "loginUrl": null}]));
    node.user_by_token(&issuer.token("1", &json!({}))).await;
}
