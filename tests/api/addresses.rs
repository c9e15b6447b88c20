//! Tests of `Session.ipAddress`, the client address of a session, with and without a trusted proxy.

use serde_json::json;

use crate::support::{Node, PASSWORD, http};

/// Registers a user with these request headers, and returns the `ipAddress` of the new session.
async fn session_address(node: &Node, username: &str, headers: &[(&str, &str)]) -> String {
    let query = "mutation ($input: RegisterInput!) { register(input: $input) { session { ipAddress } } }";
    let variables = json!({"input": {"username": username, "password": PASSWORD}});
    let mut request = http::post(node, &json!({"query": query, "variables": variables}));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (status, body) = http::send(request).await;
    assert_eq!(status, 200, "{body:#}");
    body["data"]["register"]["session"]["ipAddress"].as_str().unwrap_or_else(|| panic!("{body:#}")).to_owned()
}

#[tokio::test]
async fn a_session_has_the_address_that_a_trusted_proxy_forwards() {
    let node = Node::build().flag("--trusted-proxies=loopback, 198.51.100.0/24").start_alone().await;
    for (username, headers, expected) in [
        ("azure", &[("x-forwarded-for", "203.0.113.7:51008")][..], "203.0.113.7"),
        ("brackets", &[("x-forwarded-for", "[2001:db8::7]:51008")], "2001:db8::7"),
        ("claim", &[("x-forwarded-for", "192.0.2.1, 203.0.113.7, 198.51.100.9")], "203.0.113.7"),
        ("lines", &[("x-forwarded-for", "192.0.2.1, 203.0.113.7"), ("x-forwarded-for", "198.51.100.9")], "203.0.113.7"),
        ("standard", &[("forwarded", "for=\"[2001:db8::7]:4711\";proto=https")], "2001:db8::7"),
        ("both", &[("forwarded", "for=192.0.2.1"), ("x-forwarded-for", "203.0.113.7")], "203.0.113.7"),
        ("hidden", &[("forwarded", "for=_hidden")], "127.0.0.1"),
        ("direct", &[], "127.0.0.1"),
    ] {
        assert_eq!(session_address(&node, username, headers).await, expected, "{username}");
    }
}

#[tokio::test]
async fn a_session_has_the_address_of_the_connection_when_no_proxy_is_trusted() {
    let node = Node::start().await;
    let headers = [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=203.0.113.7")];
    assert_eq!(session_address(&node, "ada", &headers).await, "127.0.0.1");
}
