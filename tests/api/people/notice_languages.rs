//! The language of the notices to the owner of an account.

use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, User, contact_point, http, receiving};

const PHONE: &str = "+4915112345678";
// Words of the notice of a changed password.
const GERMAN: &str = "geändert";
const FRENCH: &str = "modifié";
const PORTUGUESE: &str = "alterada";
const SIGNED_IN: &str = "accessToken refreshToken session { id } viewer { user { id username } }";
const CHANGE_PASSWORD: &str = "mutation ($old: String!, $new: String!) {
    changePassword(input: {currentPassword: $old, newPassword: $new}) { viewer { id } }
}";

/// Calls the API as a client that prefers these languages.
async fn call_in(languages: &str, node: &Node, token: Option<&str>, query: &str, variables: Value) -> Value {
    let request = http::post(node, &json!({"query": query, "variables": variables}));
    let request = request.header("accept-language", languages);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let (_, body) = http::send(request).await;
    assert!(body.get("errors").is_none(), "{body:#}");
    body["data"].clone()
}

/// Changes the password as a client that prefers these languages. Asserts that the notice has the text.
async fn change_password(languages: &str, node: &Node, user: &User, passwords: [&str; 2], expected: &str) {
    let variables = json!({"old": passwords[0], "new": passwords[1]});
    call_in(languages, node, Some(&user.access_token), CHANGE_PASSWORD, variables).await;
    let told = node.notices().next(PHONE).await.text;
    assert!(told.contains(expected), "{told}");
}

async fn login_in(languages: &str, node: &Node, username: &str, password: &str) -> User {
    let query = format!("mutation ($input: LoginInput!) {{ login(input: $input) {{ {SIGNED_IN} }} }}");
    let variables = json!({"input": {"identifier": username, "password": password}});
    User::from_payload(node, &call_in(languages, node, None, &query, variables).await["login"])
}

async fn login_with_code_in(languages: &str, node: &Node) -> User {
    let code = node.code(PHONE, "LOGIN").await;
    let query = format!("mutation ($input: LoginWithCodeInput!) {{ loginWithCode(input: $input) {{ {SIGNED_IN} }} }}");
    let variables = json!({"input": {"contactPoint": contact_point(PHONE), "code": code}});
    User::from_payload(node, &call_in(languages, node, None, &query, variables).await["loginWithCode"])
}

/// A thief changes the password of an account whose owner has registered with German.
#[tokio::test]
async fn an_owner_gets_notices_in_the_language_of_the_registration() {
    let node = receiving().start_alone().await;
    let query = format!("mutation ($input: RegisterInput!) {{ register(input: $input) {{ {SIGNED_IN} }} }}");
    let variables = json!({"input": {"username": "ada", "password": PASSWORD}});
    let data = call_in("de-AT, de;q=0.9, en;q=0.5", &node, None, &query, variables).await;
    User::from_payload(&node, &data["register"]).verify(&node, PHONE).await;
    let thief = login_in("en", &node, "ada", PASSWORD).await;
    change_password("en", &node, &thief, [PASSWORD, "nine loud gulls at dawn"], GERMAN).await;
}

#[tokio::test]
async fn a_sign_in_by_a_code_replaces_the_language_and_others_keep_it() {
    let node = receiving().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, PHONE).await;
    let [first, second, third] = [PASSWORD, "nine loud gulls at dawn", "another long battery staple"];
    // The account has no language yet, and the server has no templates in Dutch.
    let ada = login_in("nl, *;q=0.5", &node, &ada.username, first).await;
    change_password("de", &node, &ada, [first, second], GERMAN).await;
    // A change does not store a language. The first sign-in with a known language does.
    login_in("fr-CA, en;q=0.5", &node, &ada.username, second).await;
    let ada = login_in("es", &node, &ada.username, second).await;
    change_password("en", &node, &ada, [second, third], FRENCH).await;
    login_with_code_in("pt-BR", &node).await;
    let ada = login_with_code_in("nl", &node).await;
    change_password("en", &node, &ada, [third, first], PORTUGUESE).await;
}
