//! GraphQL over HTTP beyond single POST requests: GET, batches, preflight checks, CORS, compression and caching.

use serde_json::json;

use crate::support::http::{VERSION, by_hash, code, get, header, post, send, with_preflight_header};
use crate::support::{Node, Socket};

#[tokio::test]
async fn requests_that_browsers_send_without_a_preflight_are_refused() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let bare = || get(&node, &[("query", VERSION)]);
    for refused in [
        bare(),
        bare().header("accept", "application/json"),
        bare().header("content-type", "text/plain"),
        bare().header("apollo-require-preflight", ""),
        bare().basic_auth("ada", Some("a browser adds these by itself")),
    ] {
        let (status, body) = send(refused).await;
        assert_eq!((status, code(&body)), (400, "FORBIDDEN"));
    }
    for taken in [
        with_preflight_header(bare()),
        bare().header("x-apollo-operation-name", "Version"),
        bare().header("content-type", "application/json"),
        bare().bearer_auth(&ada.access_token),
    ] {
        assert_eq!(send(taken).await.0, 200);
    }
    for simple in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let body = json!({"query": VERSION}).to_string();
        let request = with_preflight_header(node.http.post(node.url("/graphql")));
        assert_eq!(send(request.header("content-type", simple).body(body)).await.0, 415, "{simple}");
    }
}

#[tokio::test]
async fn request_bodies_must_be_json_in_utf_8() {
    let node = Node::start().await;
    let body = json!({"query": VERSION}).to_string();
    for (content_type, status) in [
        ("application/json", 200),
        ("Application/JSON; charset=UTF-8", 200),
        ("application/json; charset=\"utf-8\"", 200),
        ("application/json; charset=iso-8859-1", 415),
        ("application/json; charset=utf-16", 415),
        ("application/jsonx", 415),
    ] {
        let request = node.http.post(node.url("/graphql")).header("content-type", content_type).body(body.clone());
        assert_eq!(request.send().await.unwrap().status(), status, "{content_type}");
    }
    let latin_1 = b"{\"query\": \"{ user(by: {username: \\\"\xe4da\\\"}) { id } }\"}".to_vec();
    let request = node.http.post(node.url("/graphql")).header("content-type", "application/json").body(latin_1);
    assert_eq!(send(request).await.0, 400);
}

#[tokio::test]
async fn a_batch_of_operations_gets_a_list_of_responses() {
    let node = Node::build().flag("--operation-max-batch=3").start_alone().await;
    let ada = node.register("ada").await;
    let operation = |query: &str| json!({"query": query});
    let list = json!([operation(VERSION), operation("{ viewer { id } }"), operation("{ nope }")]);
    let (status, answers) = send(post(&node, &list).bearer_auth(&ada.access_token)).await;
    assert_eq!(status, 200);
    assert!(answers[0]["data"]["serverInfo"]["version"].is_string());
    assert!(answers[1]["data"]["viewer"]["id"].is_string());
    assert_eq!(code(&answers[2]), "GRAPHQL_VALIDATION_FAILED");
    assert_eq!(answers.as_array().unwrap().len(), 3);

    let (_, answers) = send(post(&node, &json!([operation("subscription { inbox { __typename } }")]))).await;
    assert_eq!(code(&answers[0]), "BAD_USER_INPUT");
    let (status, body) = send(post(&node, &json!(vec![operation(VERSION); 4]))).await;
    assert_eq!((status, code(&body)), (413, "OPERATION_TOO_COMPLEX"));
    for malformed in [json!([]), json!([[VERSION]]), json!([operation(VERSION), 1]), json!(["{ a }"])] {
        assert_eq!(send(post(&node, &malformed)).await.0, 400, "{malformed}");
    }
}

#[tokio::test]
async fn no_response_shows_the_schema_when_introspection_is_off() {
    let schema = "{ __schema { queryType { name } } __type(name: \"User\") { name } __typename }";
    let typo = "{ serverInfo { versions } }";
    let open = Node::start().await;
    assert_eq!(open.call(None, schema, json!({})).await.data()["__type"]["name"], "User");
    let message = open.call(None, typo, json!({})).await.body["errors"][0]["message"].to_string();
    assert!(message.contains("Did you mean"), "{message}");

    let closed = Node::build().flag("--introspection=false").start_alone().await;
    let answer = closed.call(None, schema, json!({})).await;
    assert!(!answer.body.to_string().contains("User"), "{:#}", answer.body);
    assert_eq!(closed.call(None, "{ __typename }", json!({})).await.data()["__typename"], "Query");
    let message = closed.call(None, typo, json!({})).await.body["errors"][0]["message"].to_string();
    assert!(message.contains("versions") && !message.contains("Did you mean"), "{message}");
}

#[tokio::test]
async fn responses_are_compressed_with_the_accepted_encoding() {
    let node = Node::start().await;
    let query = json!({"query": "{ __schema { types { name description } } }"});
    let plain = post(&node, &query).send().await.unwrap();
    assert_eq!(header(&plain, "content-encoding"), "");
    let length = plain.bytes().await.unwrap().len();
    for encoding in ["gzip", "br", "zstd"] {
        let answer = post(&node, &query).header("accept-encoding", encoding).send().await.unwrap();
        assert_eq!(header(&answer, "content-encoding"), encoding);
        assert!(answer.bytes().await.unwrap().len() * 2 < length);
    }
}

#[tokio::test]
async fn only_pages_of_configured_origins_may_send_requests() {
    let open = Node::build().flag("--cors-origins=*").start_alone().await;
    let loopback = Node::start().await;
    let listed = Node::build().flag("--cors-origins=https://chat.example.org,https://b.example").start_alone().await;
    let preflight = |node: &Node, origin: &'static str| {
        let request = node.http.request(reqwest::Method::OPTIONS, node.url("/graphql")).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "authorization,content-type,x-own").send()
    };
    let allowed = preflight(&open, "https://anywhere.example").await.unwrap();
    assert_eq!(header(&allowed, "access-control-allow-origin"), "*");
    assert_eq!(header(&allowed, "access-control-allow-headers"), "authorization,content-type,x-own");
    for (origin, allowed) in
        [("http://localhost:5173", true), ("http://127.0.0.1:3000", true), ("https://a.example", false)]
    {
        let answer = preflight(&loopback, origin).await.unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), if allowed { origin } else { "" });
    }
    for (origin, allowed) in
        [("https://chat.example.org", true), ("https://b.example", true), ("https://c.example", false)]
    {
        let answer = preflight(&listed, origin).await.unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), if allowed { origin } else { "" });
        // A browser sends no preflight before it opens a WebSocket, so the server checks the origin of the upgrade.
        let upgrade =
            listed.http.get(listed.url("/graphql")).headers(Socket::upgrade_headers()).header("origin", origin);
        assert_eq!(upgrade.send().await.unwrap().status(), if allowed { 101 } else { 403 });
    }
    let own = format!("http://{}", listed.address);
    let upgrade = listed.http.get(listed.url("/graphql")).headers(Socket::upgrade_headers()).header("origin", own);
    assert_eq!(upgrade.send().await.unwrap().status(), 101);
}

/// A shared cache may store only responses that are the same for all users.
#[tokio::test]
async fn only_successful_anonymous_queries_are_cacheable() {
    let node = Node::build().flag("--public-max-age=7").start_alone().await;
    let ada = node.register("ada").await;
    for (request, expected) in [
        (get(&node, &[("query", VERSION)]), "public, max-age=7"),
        (get(&node, &[("query", VERSION)]).bearer_auth(&ada.access_token), "no-store"),
        (get(&node, &[("query", "{ viewer { id } }")]), "no-store"),
        (get(&node, &[("query", "{ nope }")]), "no-store"),
        (get(&node, &[("extensions", &by_hash("{ unknown }").to_string())]), "no-store"),
        (get(&node, &[("query", "mutation { logout { sessionId } }")]), "no-store"),
    ] {
        let answer = with_preflight_header(request).send().await.unwrap();
        assert_eq!(header(&answer, "cache-control"), expected, "{}", answer.url());
        let vary: Vec<_> = answer.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        assert!(vary.join(",").contains("authorization"), "{vary:?}");
    }
}
