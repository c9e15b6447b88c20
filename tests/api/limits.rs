//! Limits on the size, cost, duration and response size of an operation.

use diesel_async::SimpleAsyncConnection as _;
use serde_json::json;

use crate::support::{Node, TestDatabase, eventually_some};

/// Sends operations that reach a limit exactly, and operations that slightly exceed a limit.
#[tokio::test]
async fn operations_above_a_limit_are_rejected() {
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
    let group = ada.create_group("Files", &[]).await;
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
    let attachments = |last: usize| {
        let messages = format!("messages(last: {last}) {{ nodes {{ attachments {{ id }} }} }}");
        format!("{{ conversation(id: \"{group}\") {{ {messages} }} }}")
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
        // The cost is 1 for `viewer`, 1 for `conversations`, and for each conversation 1 for the node and 2 for its
        // fields.
        (list("(first: 100)"), true),
        (list(""), true),
        // Without an argument a page has 20 conversations or 50 messages.
        (messages(""), true),
        (messages("(last: 80)"), true),
        // A message can have 10 attachments, so each message costs 12.
        (attachments(41), true),
        (attachments(42), false),
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
    // The fields of an empty list cost as much as the fields of one item.
    let doubling =
        (0..12).map(|i| format!("fragment f{i} on Node {{ ...f{} ...f{0} }} ", i + 1)).collect::<Vec<_>>().concat();
    let doubling = format!("{doubling} fragment f12 on Node {{ id }}");
    let nothing = format!("{{ nodes(ids: []) {{ ...f0 }} }} {doubling}");
    assert_eq!(node.call(None, &nothing, json!({})).await.code(), "OPERATION_TOO_COMPLEX");
    // Introspection queries that lead from types back to types are limited too.
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
    // A page size from a variable counts with the value of the variable, or with its default.
    let sized =
        "query ($n: Int = 90) { viewer { conversations(first: 3) { nodes { messages(last: $n) { nodes { id } } } } } }";
    assert_eq!(ada.call(sized, json!({})).await.code(), "OPERATION_TOO_COMPLEX");
    assert_eq!(ada.call(sized, json!({"n": 91})).await.code(), "OPERATION_TOO_COMPLEX");
    ada.query(sized, json!({"n": 80})).await;
    let nodes = "query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on User { username displayName } } }";
    ada.query(nodes, json!({"ids": vec![&ada.id; 90]})).await;
    assert_eq!(ada.call(nodes, json!({"ids": vec![&ada.id; 130]})).await.code(), "OPERATION_TOO_COMPLEX");
}

#[tokio::test]
async fn the_introspection_query_of_explorers_is_allowed() {
    let node = Node::start().await;
    let query = include_str!("../../src/http/introspection.graphql");
    let schema = node.call(None, query, json!({})).await.data();
    assert!(schema["__schema"]["types"].as_array().unwrap().len() > 30);
}

/// A document ends at an unclosed block string, so the brackets after it are neither counted nor parsed.
#[tokio::test]
async fn brackets_after_an_unclosed_block_string_are_not_parsed() {
    let node = Node::start().await;
    for brackets in [20, 200, 50_000] {
        let query = format!("{{__typename(x:[\"\"\" \"{}{}])}}", "[".repeat(brackets), "]".repeat(brackets));
        assert_eq!(node.call(None, &query, json!({})).await.code(), "GRAPHQL_PARSE_FAILED");
    }
}

/// Much longer than the operations that must succeed, also on a loaded machine.
const TIMEOUT: &str = "--operation-timeout=4";

/// After the timeout a query is cancelled. A mutation continues, but its client gets UNAVAILABLE.
#[tokio::test]
async fn operations_that_exceed_the_timeout_get_errors() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag(TIMEOUT).start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Slow", &[]).await;
    let mut lock = database.connection().await;
    lock.batch_execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let query = "query ($id: ID!) { conversation(id: $id) { messages { nodes { id } } } }";
    let answer = ada.call(query, json!({"id": group})).await;
    assert_eq!((answer.status, answer.code()), (400, "OPERATION_TOO_COMPLEX"));
    assert_eq!(ada.try_send(&group, "late", Some("1")).await.code(), "UNAVAILABLE");
    lock.batch_execute("COMMIT").await.unwrap();
    // The retry returns the message that the first attempt stored.
    let message = ada.try_send(&group, "late", Some("1")).await.data()["sendMessage"]["message"].clone();
    assert_eq!(message["number"], 1);
}

/// The field that is being executed at the deadline is completed. Later fields are not started.
#[tokio::test]
async fn root_fields_after_the_deadline_are_not_started() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag(TIMEOUT).start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Slow", &[]).await;
    let mut lock = database.connection().await;
    lock.batch_execute("BEGIN; LOCK TABLE messages IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mutation = "mutation ($id: ID!) {
        sendMessage(input: {conversationId: $id, body: \"begun\"}) { message { id } }
        createGroup(input: {title: \"Never\", participantIds: []}) { conversation { id } }
        updateProfile(input: {about: \"Never\"}) { viewer { user { id } } }
    }";
    assert_eq!(ada.call(mutation, json!({"id": group})).await.code(), "UNAVAILABLE");
    lock.batch_execute("COMMIT").await.unwrap();
    // After the release of the lock the message is stored. Without the deadline the next field would then be executed.
    let query = "query ($id: ID!) { conversation(id: $id) { lastMessage { body } } }";
    let stored = eventually_some("the message is stored", async || {
        let data = ada.query(query, json!({"id": group})).await;
        data["conversation"]["lastMessage"]["body"].as_str().map(ToOwned::to_owned)
    });
    assert_eq!(stored.await, "begun");
    // If the mutation continued, it would execute the next field during these requests.
    for _ in 0..20 {
        ada.send(&group, "later").await;
    }
    let data = ada.query("{ viewer { user { about } conversations { nodes { title } } } }", json!({})).await;
    assert_eq!(data["viewer"]["user"]["about"], json!(null));
    assert_eq!(data["viewer"]["conversations"]["nodes"], json!([{"title": "Slow"}]));
}

/// Texts that exceed the limit are null, with an error for each. Other fields keep their values.
#[tokio::test]
async fn the_bytes_of_text_in_a_response_are_limited() {
    let node = Node::build().flag("--operation-max-answer-bytes=1048576").start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Long", &[]).await;
    let body = "🦀".repeat(8000);
    for _ in 0..10 {
        ada.send(&group, &body).await;
    }
    let page = |times: usize| {
        let aliases = (0..times).map(|n| format!("a{n}: messages(last: 10) {{ nodes {{ number body }} }} "));
        format!("query ($id: ID!) {{ conversation(id: $id) {{ {} }} }}", aliases.collect::<Vec<_>>().concat())
    };
    // 3 pages of 10 messages of 32,000 bytes fit; 4 pages do not.
    ada.call(&page(3), json!({"id": group})).await.data();
    let answer = ada.call(&page(4), json!({"id": group})).await;
    let errors = answer.body["errors"].as_array().unwrap();
    assert!(errors.iter().all(|error| error["extensions"]["code"] == "OPERATION_TOO_COMPLEX"), "{errors:?}");
    let bodies = (0..4).flat_map(|n| answer.body["data"]["conversation"][format!("a{n}")]["nodes"].as_array().unwrap());
    let shown = bodies.clone().filter(|node| !node["body"].is_null()).count();
    assert_eq!((shown, errors.len()), (32, 8));
    assert!(bodies.clone().all(|node| node["number"].is_i64()));
}
