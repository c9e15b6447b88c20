//! Validation of documents and coercion of variables as the GraphQL specification requires.
//! `tests/js/documents.test.js` compares the results for random documents with graphql-js.

use serde_json::{Value, json};

use crate::support::{Answer, Node, Socket};

/// Subscriptions whose root field is in fragments.
const ROOTS: [&str; 4] = [
    "subscription { ...F } fragment F on Subscription { inbox { __typename } }",
    "subscription { ... on Subscription { inbox { __typename } } }",
    "subscription { ... { ... @include(if: true) { inbox { __typename } } } }",
    "subscription { ...F inbox { ... on CaughtUp { cursor } } } fragment F on Subscription { inbox { __typename } }",
];

fn rules(answer: &Answer) -> Vec<&str> {
    let errors = answer.body["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(|error| error["extensions"]["rule"].as_str()).collect()
}

fn message(body: &Value) -> &str {
    body["errors"][0]["message"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_subscription_runs_if_its_root_field_is_in_fragments() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut socket = ada.socket().await;
    for (index, query) in ROOTS.into_iter().enumerate() {
        let id = index.to_string();
        socket.subscribe(&id, query, json!({})).await;
        let event = socket.receive_of(&id).await;
        assert_eq!(event["payload"]["data"]["inbox"]["__typename"], "CaughtUp", "{query}: {event}");
    }
    for accept in ["text/event-stream", "multipart/mixed;boundary=\"graphql\";subscriptionSpec=1.0,application/json"] {
        for query in ROOTS {
            let request = node.http.post(node.url("/graphql")).header("accept", accept);
            let mut stream =
                request.bearer_auth(&ada.access_token).json(&json!({"query": query})).send().await.unwrap();
            let mut read = String::new();
            while !read.contains("CaughtUp") {
                let chunk = stream.chunk().await.unwrap().unwrap_or_else(|| panic!("the stream ended after {read:?}"));
                read.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        }
    }
}

#[tokio::test]
async fn the_default_of_an_argument_applies_if_its_variable_is_omitted() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let requests = "query ($d: ContactRequestDirection, $n: Int) {
        viewer { contactRequests(direction: $d, first: $n) { nodes { id } } } }";
    for _ in 0..2 {
        ada.query(requests, json!({})).await;
    }
    // The default of a variable also applies in directives.
    let skipped = "query ($s: Boolean = true) { viewer { id @skip(if: $s) user { id } } }";
    assert_eq!(ada.query(skipped, json!({})).await["viewer"].get("id"), None);
    // A single value is coerced to a list with one item.
    let nodes = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }";
    assert_eq!(ada.query(nodes, json!({"ids": ada.id})).await["nodes"][0]["id"], ada.id.as_str());
}

#[tokio::test]
async fn strings_in_documents_are_decoded() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for (literal, text) in [
        (r#""\u{1F600}""#, "😀"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\u00e9 \" \\ \/""#, "é \" \\ /"),
        (r#""""a \""" b""""#, r#"a """ b"#),
        ("\"\"\"\n    one\n      two\n  \"\"\"", "one\n  two"),
    ] {
        let query =
            format!("mutation {{ updateProfile(input: {{about: {literal}}}) {{ viewer {{ user {{ about }} }} }} }}");
        let answer = ada.call(&query, json!({})).await;
        assert_eq!(answer.body["data"]["updateProfile"]["viewer"]["user"]["about"], text, "{:#}", answer.body);
    }
}

#[tokio::test]
async fn each_violation_names_its_rule() {
    let node = Node::start().await;
    for (query, rule) in [
        ("{ viewer { user { n: username } user { n: displayName } } }", "OverlappingFieldsCanBeMerged"),
        (
            "{ viewer { ...A ...B } } fragment A on Viewer { user { n: username } } fragment B on Viewer { user { n: about } }",
            "OverlappingFieldsCanBeMerged",
        ),
        ("{ a: user(by: {id: \"1\"}) { id } a: user(by: {id: \"2\"}) { id } }", "OverlappingFieldsCanBeMerged"),
        ("{ nodes(ids: [\"1\"]) { id } nodes(ids: [\"1\", \"2\"]) { id } }", "OverlappingFieldsCanBeMerged"),
        ("query ($v: ID!) { user(by: {id: $v, username: \"x\"}) { id } }", "ValuesOfCorrectType"),
        ("{ user(by: {}) { id } }", "ValuesOfCorrectType"),
        ("query ($v: ID) { user(by: {id: $v}) { id } }", "VariablesInAllowedPosition"),
        ("query ($v: [ID!]!) { user(by: {id: $v}) { id } }", "VariablesInAllowedPosition"),
        ("query ($v: [ID!]!) { nodes(ids: [$v]) { id } }", "VariablesInAllowedPosition"),
        (
            "mutation ($m: ID!, $c: [ID]!) { forwardMessages(input: {messageIds: $m, conversationIds: $c}) { __typename } }",
            "VariablesInAllowedPosition",
        ),
        ("query ($v: Boolean = null) { viewer { id @skip(if: $v) } }", "VariablesInAllowedPosition"),
        ("{ viewer { ...A } } fragment A on Viewer { ...B } fragment B on Viewer { ...A }", "NoFragmentCycles"),
        ("query A { viewer { id } } query B { viewer { id } }", "KnownOperationNames"),
        ("query A { viewer { id } } { viewer { id } }", "LoneAnonymousOperation"),
        ("{ viewer { user { id: username id } } }", "OverlappingFieldsCanBeMerged"),
        (
            "{ node(id: \"1\") { ... on User { n: username } ... on Conversation { n: kind } } }",
            "OverlappingFieldsCanBeMerged",
        ),
        ("{ user(by: {id: \"1\", id: \"1\"}) { id } }", "UniqueInputFieldNames"),
        ("{ user(by: {id: null}) { id } }", "ValuesOfCorrectType"),
        ("{ user(by: {name: \"x\"}) { id } }", "ValuesOfCorrectType"),
        ("{ node(id: \"1\", id: \"1\") { id } }", "UniqueArgumentNames"),
        ("{ node(id: \"1\", nope: 1) { id } }", "KnownArgumentNames"),
        ("{ ...A } fragment A on Int { id }", "FragmentsOnCompositeTypes"),
        ("{ ...A } fragment A on Nope { id }", "KnownTypeNames"),
        ("{ viewer { ... on User { id } } }", "PossibleFragmentSpreads"),
        ("{ viewer { id } } fragment A on Viewer { id }", "NoUnusedFragments"),
        ("query ($v: ID!, $v: ID!) { node(id: $v) { id } }", "UniqueVariableNames"),
        ("query ($v: Viewer) { node(id: $v) { id } }", "VariablesAreInputTypes"),
        ("{ viewer { id @skip(if: true) @skip(if: true) } }", "UniqueDirectivesPerLocation"),
        ("{ viewer { id } } type T { id: ID }", "ExecutableDefinitions"),
        ("subscription ($v: Boolean!) { inbox @skip(if: $v) { __typename } }", "SingleFieldSubscriptions"),
        ("subscription { __typename }", "SingleFieldSubscriptions"),
        ("subscription { inbox @skip(if: true) { __typename } }", "SingleFieldSubscriptions"),
        ("subscription { ... @include(if: false) { inbox { __typename } } }", "SingleFieldSubscriptions"),
        ("{ nope }", "FieldsOnCorrectType"),
        ("{ viewer }", "ScalarLeafs"),
        ("{ viewer { id { x } } }", "ScalarLeafs"),
        ("{ node { id } }", "ProvidedRequiredArguments"),
        ("{ viewer { ...F } }", "KnownFragmentNames"),
        ("{ viewer { id @nope } }", "KnownDirectives"),
        ("query ($v: ID) { viewer { id } }", "NoUnusedVariables"),
        ("{ node(id: $v) { id } }", "NoUndefinedVariables"),
        ("subscription { inbox { __typename } callEvents { __typename } }", "SingleFieldSubscriptions"),
        ("query A { viewer { id } } query A { viewer { id } }", "UniqueOperationNames"),
    ] {
        let answer = node.call(None, query, json!({})).await;
        assert_eq!(answer.body["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{query}");
        assert!(rules(&answer).contains(&rule), "{query}: {:#}", answer.body);
    }
}

#[tokio::test]
async fn errors_do_not_list_fields_and_values_if_introspection_is_disabled() {
    let node = Node::build().flag("--introspection=false").start_alone().await;
    for (query, variables, rule) in [
        ("{ __schema { types { name } } }", json!({}), "NoSchemaIntrospection"),
        ("{ ...F } fragment F on Query { __type(name: \"User\") { name } }", json!({}), "NoSchemaIntrospection"),
        ("query ($by: UserBy!) { user(by: $by) { id } }", json!({"by": {}}), "VariableValues"),
        ("query ($by: UserBy!) { user(by: $by) { id } }", json!({"by": {"nope": 1}}), "VariableValues"),
        ("query ($by: UserBy!) { user(by: $by) { id } }", json!({"by": 1}), "VariableValues"),
        (
            "query ($d: ContactRequestDirection) { viewer { contactRequests(direction: $d) { nodes { id } } } }",
            json!({"d": "NOPE"}),
            "VariableValues",
        ),
    ] {
        let answer = node.call(None, query, variables).await;
        assert_eq!(rules(&answer)[0], rule, "{query}: {:#}", answer.body);
        let text = answer.body.to_string();
        assert!(!text.contains("username") && !text.contains("INCOMING"), "{text}");
    }
    node.call(None, "{ __typename }", json!({})).await.data();
}

#[tokio::test]
async fn errors_name_nothing_of_the_schema_that_the_client_has_not_named_if_introspection_is_disabled() {
    let node = Node::build().flag("--introspection=false").start_alone().await;
    for (query, variables, rule, hidden) in [
        ("{ viewer { nope } }", json!({}), "FieldsOnCorrectType", "Viewer"),
        ("{ viewer { id { x } } }", json!({}), "ScalarLeafs", "ID"),
        ("{ viewer { ... on User { id } } }", json!({}), "PossibleFragmentSpreads", "Viewer"),
        ("{ node { id } }", json!({}), "ProvidedRequiredArguments", "Query"),
        ("{ node(id: 1, nope: 1) { id } }", json!({}), "KnownArgumentNames", "Query"),
        ("{ node(id: {a: 1}) { id } }", json!({}), "ValuesOfCorrectType", "ID"),
        ("{ user(by: {}) { id } }", json!({}), "ValuesOfCorrectType", "UserBy"),
        ("{ user(by: {nope: 1}) { id } }", json!({}), "ValuesOfCorrectType", "UserBy"),
        (
            "{ viewer { contactRequests(direction: NOPE) { nodes { id } } } }",
            json!({}),
            "ValuesOfCorrectType",
            "ContactRequestDirection",
        ),
        ("mutation { login(input: {}) { __typename } }", json!({}), "ValuesOfCorrectType", "password"),
        ("query ($v: Int) { node(id: $v) { id } }", json!({}), "VariablesInAllowedPosition", "ID"),
        ("query ($v: Int) { nodes(ids: [$v]) { id } }", json!({}), "ValuesOfCorrectType", "ID"),
        ("query ($v: [Int!]!) { user(by: {id: $v}) { id } }", json!({}), "ValuesOfCorrectType", "ID"),
        (
            "query ($v: [String]!) { user(by: {username: $v}) { id } }",
            json!({}),
            "VariablesInAllowedPosition",
            "UserBy",
        ),
        (
            "mutation ($i: LoginInput!) { login(input: $i) { __typename } }",
            json!({"i": {}}),
            "VariableValues",
            "password",
        ),
    ] {
        let answer = node.call(None, query, variables).await;
        assert_eq!(rules(&answer)[0], rule, "{query}: {:#}", answer.body);
        let errors = answer.body["errors"].as_array().unwrap();
        let text = errors.iter().map(|error| error["message"].as_str().unwrap()).collect::<Vec<_>>().join(" ");
        assert!(!text.contains(hidden), "{query}: {text}");
    }
}

/// A line ends at LF, CR or CRLF, and not at U+2028 or U+0085.
#[tokio::test]
async fn errors_have_the_line_and_the_column_in_characters() {
    let node = Node::start().await;
    for (query, line, column) in [
        ("{ user(by: {username: \"é😀\"}) { nope } }", 1, 32),
        ("{\r\n  user(by: {username: \"a\"}) {\r\n    nope } }", 3, 5),
        ("{\r  user(by: {username: \"a\"}) {\r nope } }", 3, 2),
        ("# \u{2028} \u{85} é\n{ user(by: {username: \"a\"}) { nope } }", 2, 31),
        ("{ user(by: {username: \"é\"}) { id } node { id } }", 1, 36),
        ("{ a: user(by: {username: \"é\"}) { id } a: user(by: {username: \"è\"}) { id } }", 1, 39),
        ("query ($v: [ID!]!) { user(by: {username: \"é\"}) { id } b: user(by: {id: $v}) { id } }", 1, 72),
        ("subscription { inbox(after: \"é\") { __typename } callEvents { __typename } }", 1, 49),
    ] {
        let answer = node.call(None, query, json!({})).await;
        let expected = json!([{"line": line, "column": column}]);
        assert_eq!(answer.body["errors"][0]["locations"], expected, "{query:?}: {:#}", answer.body);
    }
}

#[tokio::test]
async fn each_problem_is_reported_once_at_its_place() {
    let node = Node::start().await;
    for (query, expected) in [
        (
            "subscription ($v: Boolean!) { a: __typename b: __typename inbox @skip(if: $v) { __typename } }",
            json!([["SingleFieldSubscriptions", 31], ["SingleFieldSubscriptions", 59]]),
        ),
        (
            "subscription { inbox { __typename } callEvents { __typename } c: callEvents { __typename } }",
            json!([["SingleFieldSubscriptions", 37]]),
        ),
        ("subscription { inbox @skip(if: true) { __typename } }", json!([["SingleFieldSubscriptions", 1]])),
        // Two required input fields are missing at the same place.
        (
            "mutation { login(input: {}) { __typename } }",
            json!([["ValuesOfCorrectType", 25], ["ValuesOfCorrectType", 25]]),
        ),
        // The fragment has one error for both operations.
        (
            "query A { ...F } query B { ...F } fragment F on Query { node { id } }",
            json!([["ProvidedRequiredArguments", 57]]),
        ),
    ] {
        let answer = node.call(None, query, json!({})).await;
        let errors = answer.body["errors"].as_array().unwrap();
        let found = errors.iter().map(|error| json!([error["extensions"]["rule"], error["locations"][0]["column"]]));
        assert_eq!(Value::Array(found.collect()), expected, "{query}: {:#}", answer.body);
    }
}

/// Null would count as false in `@skip` and `@include`.
#[tokio::test]
async fn a_variable_with_a_default_cannot_be_null_where_null_is_not_allowed() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let query = "query ($s: Boolean = true) { viewer { id @skip(if: $s) user { id } } }";
    for _ in 0..2 {
        let answer = ada.call(query, json!({"s": null})).await;
        assert_eq!(rules(&answer), ["VariableValues"], "{:#}", answer.body);
    }
    assert_eq!(ada.query(query, json!({})).await["viewer"].get("id"), None);
}

/// Sends documents whose validation would take a long time. The server counts the cost first, and refuses them.
#[tokio::test]
async fn documents_that_are_costly_to_validate_are_refused() {
    let node = Node::start().await;
    let joined = |count: usize, piece: &dyn Fn(usize) -> String| (0..count).map(piece).collect::<Vec<_>>().concat();
    let spreads = joined(100, &|i| format!("...F{i} "));
    let fragments = joined(100, &|i| format!("fragment F{i} on Query {{ serverInfo {{ version }} }} "));
    let operations = joined(500, &|i| format!("query Q{i} {{ ...All }} "));
    let long = "x".repeat(200_000);
    let conflicts = joined(500, &|i| format!("node(id: \"{i}\") {{ id }} "));
    let many = joined(200, &|i| format!("query Q{i} {{ ...F0 }} "));
    let chain = joined(60, &|i| format!("fragment F{i} on Query {{ __typename ...F{} }} ", i + 1));
    for query in [
        format!("{many} {chain} fragment F60 on Query {{ serverInfo {{ version }} }}"),
        format!("{operations} fragment All on Query {{ {spreads} }} {fragments}"),
        format!("{{ node(id: \"{long}\") {{ id }} {conflicts} }}"),
    ] {
        let answer = node.call(None, &query, json!({})).await;
        assert_eq!(answer.code(), "OPERATION_TOO_COMPLEX", "{:.300}", answer.body.to_string());
    }
}

#[tokio::test]
async fn the_error_for_a_wrong_syntax_has_line_and_column() {
    let node = Node::start().await;
    for (query, expected) in [
        (
            "{\n  viewer { id",
            "Syntax error at line 2, column 14: expected a field, a fragment or `}`, found the end of the document.",
        ),
        (
            "{ viewer { conversations(first) { nodes { id } } } }",
            "Syntax error at line 1, column 31: expected `:` after the argument `first`, found `)`.",
        ),
    ] {
        let answer = node.call(None, query, json!({})).await;
        assert_eq!(answer.code(), "GRAPHQL_PARSE_FAILED");
        assert_eq!(message(&answer.body), expected);
    }
}

#[tokio::test]
async fn commas_are_ignored_and_definitions_may_have_descriptions() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let query = r#"
        """Loads the viewer."""
        query ("Always true" $n: Boolean = true) { ...,F @include(if: $n) a ,: viewer { __typename } }
        "é" fragment F on Query { viewer { user { username } } }"#;
    let answer = ada.query(query, json!({})).await;
    assert_eq!(answer, json!({"viewer": {"user": {"username": ada.username}}, "a": {"__typename": "Viewer"}}));
}

#[tokio::test]
async fn the_error_for_a_wrong_variable_has_its_path_its_value_and_the_allowed_values() {
    let node = Node::start().await;
    let query = "query ($by: UserBy!, $first: Int, $ids: [ID!]) {
        user(by: $by) { id } searchUsers(query: \"a\", first: $first) { nodes { id } } nodes(ids: $ids) { id } }";
    let query = query.replace("$ids: [ID!]", "$ids: [ID!]!");
    for (variables, expected) in [
        (
            json!({"by": {"id": "1"}, "ids": [], "first": "20"}),
            "The variable `$first` is \"20\", but it must be an integer",
        ),
        (
            json!({"by": {"id": "1"}, "ids": ["1", true]}),
            "The variable `$ids.1` is true, but it must be a string or an integer.",
        ),
        (
            json!({"by": {"id": null}, "ids": []}),
            "The variable `$by` must have exactly one field, and its value must not be null.",
        ),
        (json!({"by": {"name": "x"}, "ids": []}), "The variable `$by` has an unknown field `name`."),
        (json!({"ids": []}), "The variable `$by` of the type UserBy! is missing."),
    ] {
        let answer = node.call(None, &query, variables).await;
        assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED", "{:#}", answer.body);
        assert!(message(&answer.body).starts_with(expected), "{expected}: {:#}", answer.body);
        assert_eq!(rules(&answer)[0], "VariableValues");
    }
}

#[tokio::test]
async fn an_operation_that_cannot_be_decoded_does_not_close_the_socket() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut socket: Socket = ada.socket().await;
    socket.subscribe("inbox", ROOTS[0], json!({})).await;
    socket.receive_of("inbox").await;
    for payload in [
        r#"{"query":"{ viewer { id } }","variables":{"body":"nice \ud83d"}}"#,
        r#"{"query":"{ viewer { id } }","variables":{"body":1e999}}"#,
        r#"{"query":"\ude00"}"#,
        r#"{"query":"{ viewer { id } }","variables":"{}"}"#,
        r#"{"query":1}"#,
        "{}",
        "[]",
        "null",
        &"[".repeat(200),
    ] {
        let closing = "]".repeat(payload.matches('[').count() - payload.matches(']').count());
        socket.send_text(&format!(r#"{{"type":"subscribe","id":"wrong","payload":{payload}{closing}}}"#)).await;
        let error = socket.receive_of("wrong").await;
        assert_eq!(error["type"], "error", "{payload}: {error}");
        assert_eq!(error["payload"][0]["extensions"]["code"], "GRAPHQL_PARSE_FAILED", "{payload}: {error}");
    }
    // A thread of the pool reads a large message.
    let padding = "x".repeat(20_000);
    let payload = format!(r#"{{"query":"{{ viewer {{ id }} }}","variables":{{"a":"{padding}\ud83d"}}}}"#);
    socket.send_text(&format!(r#"{{"type":"subscribe","id":"large","payload":{payload}}}"#)).await;
    assert_eq!(socket.receive_of("large").await["type"], "error");
    socket.subscribe("next", "{ viewer { id } }", json!({})).await;
    assert_eq!(socket.receive_of("next").await["type"], "next");
}

#[tokio::test]
async fn the_first_page_of_conversations_is_within_the_limits() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let query = "{ __typename viewer { __typename id conversations(first: 20) { __typename pageInfo { __typename hasNextPage endCursor }
        edges { __typename cursor node { __typename id kind title participantCount
            lastMessage { __typename id number body createdAt sender { __typename id displayName } }
            participants(first: 50) { __typename pageInfo { __typename hasNextPage } edges { __typename cursor node {
                __typename role lastReadNumber lastDeliveredNumber
                user { __typename id username displayName about avatar { __typename id url width height } } } } } } } } } }";
    ada.query(query, json!({})).await;
    let wider = query.replace("first: 20", "first: 100");
    let answer = ada.call(&wider, json!({})).await;
    assert_eq!(answer.code(), "OPERATION_TOO_COMPLEX");
    let text = message(&answer.body);
    assert!(text.contains("`participants` (50 items with "), "{text}");
    assert!(text.contains("`conversations` (100 items with "), "{text}");
}
