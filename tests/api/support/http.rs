//! Raw HTTP requests to the GraphQL endpoint, for tests of methods, headers and status codes.

use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::Node;

pub const VERSION: &str = "{ serverInfo { version } }";

pub fn get(node: &Node, parameters: &[(&str, &str)]) -> RequestBuilder {
    node.http.get(node.url("/graphql")).query(parameters)
}

pub fn with_preflight_header(request: RequestBuilder) -> RequestBuilder {
    request.header("apollo-require-preflight", "true")
}

pub fn post(node: &Node, body: &Value) -> RequestBuilder {
    node.http.post(node.url("/graphql")).header("accept", "application/graphql-response+json").json(body)
}

pub async fn send(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

pub fn code(body: &Value) -> &str {
    body["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no error in {body:#}"))
}

pub fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn hash(query: &str) -> String {
    Sha256::digest(query).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

pub fn by_hash(query: &str) -> Value {
    json!({"persistedQuery": {"version": 1, "sha256Hash": hash(query)}})
}
