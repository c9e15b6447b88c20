//! GraphQL over HTTP beyond single POSTs: GET, lists, persisted documents, limits, and what browsers and proxies ask.

use std::fs;

use diesel_async::SimpleAsyncConnection as _;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Node, Socket, TestDatabase};

const VERSION: &str = "{ serverInfo { version } }";

fn get(node: &Node, parameters: &[(&str, &str)]) -> RequestBuilder {
    node.http.get(node.url("/graphql")).query(parameters)
}

fn asked(request: RequestBuilder) -> RequestBuilder {
    request.header("apollo-require-preflight", "true")
}

fn post(node: &Node, body: &Value) -> RequestBuilder {
    node.http.post(node.url("/graphql")).header("accept", "application/graphql-response+json").json(body)
}

async fn send(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn code(body: &Value) -> &str {
    body["errors"][0]["extensions"]["code"].as_str().unwrap_or_else(|| panic!("no error in {body:#}"))
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
}

fn hash(query: &str) -> String {
    Sha256::digest(query).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

fn by_hash(query: &str) -> Value {
    json!({"persistedQuery": {"version": 1, "sha256Hash": hash(query)}})
}

#[tokio::test]
async fn what_a_browser_could_send_unasked_is_refused() {
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
        asked(bare()),
        bare().header("x-apollo-operation-name", "Version"),
        bare().header("content-type", "application/json"),
        bare().bearer_auth(&ada.access_token),
    ] {
        assert_eq!(send(taken).await.0, 200);
    }
    for simple in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let body = json!({"query": VERSION}).to_string();
        let request = asked(node.http.post(node.url("/graphql")));
        assert_eq!(send(request.header("content-type", simple).body(body)).await.0, 415, "{simple}");
    }
}

#[tokio::test]
async fn json_is_utf_8() {
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
async fn a_list_of_operations_gets_a_list_of_answers() {
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
async fn a_document_is_remembered_by_its_hash() {
    let node = Node::start().await;
    let query = "query Remembered { serverInfo { version } }";
    let extensions = by_hash(query);
    let (status, body) = send(post(&node, &json!({"extensions": extensions}))).await;
    assert_eq!((status, code(&body)), (400, "PERSISTED_QUERY_NOT_FOUND"));
    assert_eq!(body["errors"][0]["message"], "PersistedQueryNotFound", "clients compare it");

    let (status, body) = send(post(&node, &json!({"query": "{ other }", "extensions": extensions}))).await;
    assert_eq!((status, code(&body)), (400, "BAD_USER_INPUT"));
    assert_eq!(send(post(&node, &json!({"query": query, "extensions": extensions}))).await.0, 200);

    // From then on by the hash alone: in a body, in a query string, and over a socket.
    let (_, body) = send(post(&node, &json!({"extensions": extensions, "operationName": "Remembered"}))).await;
    assert!(body["data"]["serverInfo"]["version"].is_string());
    let text = extensions.to_string();
    let answer = asked(get(&node, &[("extensions", &text), ("variables", "{}")])).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "cache-control")), (200, "public, max-age=60"));
    let mut socket = Socket::raw(&node.url("/graphql")).await;
    socket.send(json!({"type": "connection_init"})).await;
    socket.receive().await;
    socket.send(json!({"type": "subscribe", "id": "1", "payload": {"extensions": extensions}})).await;
    assert!(socket.receive().await["payload"]["data"]["serverInfo"]["version"].is_string());

    // What does not run is not worth remembering.
    for broken in ["{ serverInfo ", "{ nope }"] {
        send(post(&node, &json!({"query": broken, "extensions": by_hash(broken)}))).await;
        let (_, body) = send(post(&node, &json!({"extensions": by_hash(broken)}))).await;
        assert_eq!(code(&body), "PERSISTED_QUERY_NOT_FOUND", "{broken}");
    }
    for malformed in [json!({}), json!({"version": 2, "sha256Hash": "x"}), json!({"version": 1, "sha256Hash": 5})] {
        let body = json!({"query": query, "extensions": {"persistedQuery": malformed}});
        assert_eq!(send(post(&node, &body)).await.0, 400, "{body}");
    }
}

/// What is known of a document does not spare its variables.
#[tokio::test]
async fn a_known_document_still_wants_variables_that_fit() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let by = "query ($by: UserBy!, $first: Int = 20) { user(by: $by) { id } searchUsers(query: \"ada\", first: $first) { nodes { id } } }";
    let fits = json!({"by": {"username": ada.username}});
    for _ in 0..2 {
        assert_eq!(ada.query(by, fits.clone()).await["user"]["id"], ada.id.as_str());
    }
    for wrong in [
        json!({}),
        json!({"by": null}),
        json!({"by": "ada"}),
        json!({"by": {"username": 5}}),
        json!({"by": {"nickname": "ada"}}),
        json!({"by": {}}),
        json!({"by": {"username": "ada", "id": ada.id}}),
        json!({"by": {"username": "ada"}, "first": "20"}),
        json!({"by": {"username": "ada"}, "first": 3_000_000_000_u32}),
    ] {
        let answer = ada.call(by, wrong.clone()).await;
        assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED", "{wrong}");
    }
    // More than is asked for does no harm.
    ada.query(by, json!({"by": {"id": ada.id}, "first": 3, "other": true})).await;
}

#[tokio::test]
async fn the_memory_for_documents_is_bounded() {
    let node = Node::build().flag("--document-cache-bytes=500000").start_alone().await;
    let queries: Vec<_> =
        (0..100).map(|i| format!("{{ serverInfo {{ v{i}: version }} }} # {}", "x".repeat(500))).collect();
    for query in &queries {
        assert_eq!(send(post(&node, &json!({"query": query, "extensions": by_hash(query)}))).await.0, 200);
    }
    let mut kept = 0;
    for query in &queries {
        kept += u32::from(send(post(&node, &json!({"extensions": by_hash(query)}))).await.0 == 200);
    }
    // Each takes many times its 500 bytes once it is parsed.
    assert!((1..=500_000 / (20 * 500)).contains(&kept), "{kept} of 100 are kept");
}

#[tokio::test]
async fn with_a_manifest_only_what_is_registered_runs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("manifest.json");
    let registered = "query Version { serverInfo { version } }";
    for manifest in [
        json!({"v1": registered}),
        json!({"format": "apollo-persisted-query-manifest", "version": 1, "operations": [
            {"id": "v1", "name": "Version", "type": "query", "body": registered},
        ]}),
    ] {
        fs::write(&path, manifest.to_string()).unwrap();
        let node = Node::build().flag(&format!("--persisted-manifest={}", path.display())).start_alone().await;
        let id = json!({"persistedQuery": {"version": 1, "sha256Hash": "v1"}});
        for allowed in [
            json!({"documentId": "v1"}),
            json!({"extensions": id}),
            json!({"query": "", "documentId": "v1"}),
            json!({"query": registered}),
        ] {
            assert_eq!(send(post(&node, &allowed)).await.0, 200, "{allowed}");
        }
        let parameters = [("documentId", "v1")];
        assert_eq!(send(asked(get(&node, &parameters))).await.0, 200);
        for (other, expected) in [
            (json!({"query": VERSION}), "FORBIDDEN"),
            (json!({"query": VERSION, "extensions": by_hash(VERSION)}), "FORBIDDEN"),
            (json!({"query": VERSION, "documentId": "v1"}), "FORBIDDEN"),
            (json!({"documentId": "v2"}), "PERSISTED_QUERY_NOT_FOUND"),
        ] {
            let (status, body) = send(post(&node, &other)).await;
            assert_eq!((status, code(&body)), (400, expected), "{other}");
        }
        let mut socket = Socket::raw(&node.url("/graphql")).await;
        socket.send(json!({"type": "connection_init"})).await;
        socket.receive().await;
        socket.subscribe("no", VERSION, json!({})).await;
        assert_eq!(socket.receive().await["payload"][0]["extensions"]["code"], "FORBIDDEN");
        socket.send(json!({"type": "subscribe", "id": "yes", "payload": {"documentId": "v1"}})).await;
        assert_eq!(socket.receive().await["type"], "next");
    }
}

/// Each limit by its own setting, at its edge and beyond.
#[tokio::test]
async fn each_limit_on_an_operation_holds() {
    let node = Node::build()
        .flag("--operation-max-tokens=300")
        .flag("--operation-max-nesting=16")
        .flag("--operation-max-depth=6")
        .flag("--operation-max-aliases=5")
        .flag("--operation-max-directives=4")
        .flag("--operation-max-complexity=500")
        .start_alone()
        .await;
    let ada = node.register("ada").await;
    let aliases =
        |n: usize| format!("{{ {} }}", (0..n).map(|i| format!("a{i}: __typename ")).collect::<Vec<_>>().concat());
    let directives = |n: usize| format!("{{ __typename {} }}", "@include(if: true) ".repeat(n));
    let spread = |n: usize| {
        let fields = (0..n).map(|i| format!("b{i}: version ")).collect::<Vec<_>>().concat();
        format!("{{ serverInfo {{ ...f ...f }} }} fragment f on ServerInfo {{ {fields} }}")
    };
    let list = |size: &str| format!("{{ viewer {{ conversations{size} {{ nodes {{ id title }} }} }} }}");
    let messages = |size: &str| {
        format!("{{ viewer {{ conversations(first: 3) {{ nodes {{ messages{size} {{ nodes {{ id }} }} }} }} }} }}")
    };
    let deep = "{ viewer { conversations(first: 1) { nodes { lastMessage { sender { id } } } } } }";
    let deeper =
        "{ viewer { conversations(first: 1) { nodes { lastMessage { conversation { createdBy { id } } } } } } }";
    let tokens = format!("{{ {} }}", "__typename ".repeat(298));
    let brackets = |n: usize| format!("{{ nope(a: {}1{}) }}", "[".repeat(n), "]".repeat(n));
    for (query, fits) in [
        (aliases(5), true),
        (aliases(6), false),
        (spread(2), true),
        (spread(3), false),
        (directives(1), true),
        (format!("{{ {} }}", "__typename @include(if: true) ".repeat(4)), true),
        (format!("{{ {} }}", "__typename @include(if: true) ".repeat(5)), false),
        (deep.to_owned(), true),
        (deeper.to_owned(), false),
        (tokens.clone(), true),
        (format!("{tokens} # and a comment\n,,, "), true),
        (tokens.replacen('{', "{ __typename", 1), false),
        // 1 viewer, 1 conversations, and for each of them nodes and two fields.
        (list("(first: 100)"), true),
        (list(""), true),
        // 20 of them where nothing else is said, and 50 messages of each of 3.
        (messages(""), true),
        (messages("(last: 80)"), true),
        (messages("(last: 90)"), false),
        (messages("(last: 2000000000)"), false),
        (
            format!(
                "{} {}",
                list("").replacen('{', "query List {", 1),
                messages("(last: 90)").replacen('{', "query Other {", 1)
            ),
            false,
        ),
    ] {
        let answer = ada.call(&query, json!({})).await;
        let code = &answer.body["errors"][0]["extensions"]["code"];
        let expected = if fits { json!(null) } else { json!("OPERATION_TOO_COMPLEX") };
        assert_eq!((answer.status, code), (if fits { 200 } else { 400 }, &expected), "{query}: {:#}", answer.body);
    }
    // What multiplies by nothing still costs once.
    let doubling =
        (0..12).map(|i| format!("fragment f{i} on Node {{ ...f{} ...f{0} }} ", i + 1)).collect::<Vec<_>>().concat();
    let doubling = format!("{doubling} fragment f12 on Node {{ id }}");
    let nothing = format!("{{ nodes(ids: []) {{ ...f0 }} }} {doubling}");
    assert_eq!(node.call(None, &nothing, json!({})).await.code(), "OPERATION_TOO_COMPLEX");
    // From types to types, again and again.
    let walk = "{ __schema { types { possibleTypes { interfaces { name } } } } }";
    node.call(None, walk, json!({})).await.data();
    let longer = "{ __schema { types { possibleTypes { interfaces { possibleTypes { name } } } } } }";
    assert_eq!(node.call(None, longer, json!({})).await.code(), "OPERATION_TOO_COMPLEX");
    let types = "types { fields { args { type { fields { args { name } } } } } }";
    let wide =
        format!("{{ {} }}", (0..5).map(|i| format!("s{i}: __schema {{ {types} }} ")).collect::<Vec<_>>().concat());
    assert_eq!(node.call(None, &wide, json!({})).await.code(), "OPERATION_TOO_COMPLEX");
    for (nesting, code) in [(14, "GRAPHQL_VALIDATION_FAILED"), (15, "OPERATION_TOO_COMPLEX")] {
        assert_eq!(node.call(None, &brackets(nesting), json!({})).await.code(), code);
    }
    // A variable counts for what it holds, given or by default.
    let sized =
        "query ($n: Int = 90) { viewer { conversations(first: 3) { nodes { messages(last: $n) { nodes { id } } } } } }";
    assert_eq!(ada.call(sized, json!({})).await.code(), "OPERATION_TOO_COMPLEX");
    assert_eq!(ada.call(sized, json!({"n": 91})).await.code(), "OPERATION_TOO_COMPLEX");
    ada.query(sized, json!({"n": 80})).await;
    let nodes = "query ($ids: [ID!]!) { nodes(ids: $ids) { id __typename ... on User { username } } }";
    ada.query(nodes, json!({"ids": vec![&ada.id; 90]})).await;
    assert_eq!(ada.call(nodes, json!({"ids": vec![&ada.id; 130]})).await.code(), "OPERATION_TOO_COMPLEX");
}

#[tokio::test]
async fn explorers_may_ask_for_the_whole_schema() {
    let node = Node::start().await;
    let query = include_str!("../../src/http/introspection.graphql");
    let schema = node.call(None, query, json!({})).await.data();
    assert!(schema["__schema"]["types"].as_array().unwrap().len() > 30);
}

/// The parser takes a block string that is never closed for an empty one, and goes on behind that.
#[tokio::test]
async fn nothing_hides_behind_a_string() {
    let node = Node::start().await;
    for brackets in [200, 100_000] {
        let query = format!("{{__typename(x:[\"\"\" \"{}{}])}}", "[".repeat(brackets), "]".repeat(brackets));
        assert_eq!(node.call(None, &query, json!({})).await.code(), "OPERATION_TOO_COMPLEX");
    }
}

#[tokio::test]
async fn introspection_and_suggestions_can_be_turned_off() {
    let schema = "{ __schema { queryType { name } } __type(name: \"User\") { name } __typename }";
    let typo = "{ serverInfo { versions } }";
    let open = Node::start().await;
    assert_eq!(open.call(None, schema, json!({})).await.data()["__type"]["name"], "User");
    let message = open.call(None, typo, json!({})).await.body["errors"][0]["message"].to_string();
    assert!(message.contains("Did you mean"), "{message}");

    let closed = Node::build().flag("--introspection=false").flag("--suggestions=false").start_alone().await;
    let answer = closed.call(None, schema, json!({})).await;
    assert!(!answer.body.to_string().contains("User"), "{:#}", answer.body);
    assert_eq!(closed.call(None, "{ __typename }", json!({})).await.data()["__typename"], "Query");
    let message = closed.call(None, typo, json!({})).await.body["errors"][0]["message"].to_string();
    assert!(message.contains("versions") && !message.contains("Did you mean"), "{message}");
}

#[tokio::test]
async fn answers_are_compressed_as_the_client_likes() {
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
async fn pages_of_other_origins_may_ask_where_the_settings_say_so() {
    let open = Node::start().await;
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
        [("https://chat.example.org", true), ("https://b.example", true), ("https://c.example", false)]
    {
        let answer = preflight(&listed, origin).await.unwrap();
        assert_eq!(header(&answer, "access-control-allow-origin"), if allowed { origin } else { "" });
        // A browser asks nobody before it opens a socket.
        let upgrade =
            listed.http.get(listed.url("/graphql")).headers(Socket::upgrade_headers()).header("origin", origin);
        assert_eq!(upgrade.send().await.unwrap().status(), if allowed { 101 } else { 403 });
    }
    let own = format!("http://{}", listed.address);
    let upgrade = listed.http.get(listed.url("/graphql")).headers(Socket::upgrade_headers()).header("origin", own);
    assert_eq!(upgrade.send().await.unwrap().status(), 101);
}

/// Only what is the same for everybody may be kept by a cache between.
#[tokio::test]
async fn caches_keep_what_nobody_is_signed_in_for() {
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
        let answer = asked(request).send().await.unwrap();
        assert_eq!(header(&answer, "cache-control"), expected, "{}", answer.url());
        let vary: Vec<_> = answer.headers().get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
        assert!(vary.join(",").contains("authorization"), "{vary:?}");
    }
}

/// A query is stopped; a mutation is not, and its client is told that it may still happen.
#[tokio::test]
async fn an_operation_has_its_time() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--operation-timeout=1").start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Slow", &[]).await;
    let mut lock = database.connection().await;
    lock.batch_execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let query = "query ($id: ID!) { conversation(id: $id) { messages { nodes { id } } } }";
    let answer = ada.call(query, json!({"id": group})).await;
    assert_eq!((answer.status, answer.code()), (400, "OPERATION_TOO_COMPLEX"));
    assert_eq!(ada.try_send(&group, "late", Some("1")).await.code(), "UNAVAILABLE");
    lock.batch_execute("COMMIT").await.unwrap();
    // The retry finds what the first try has done.
    let message = ada.try_send(&group, "late", Some("1")).await.data()["sendMessage"]["message"].clone();
    assert_eq!(message["number"], 1);
}
