//! Bad input gets an error with a code and the path of the field, and never causes an internal error.

use serde_json::{Value, json};

use crate::support::{Answer, Node};

#[track_caller]
fn assert_bad(answer: &Answer, path: &str) {
    assert_eq!(answer.code(), "BAD_USER_INPUT", "{:#}", answer.body);
    assert_eq!(answer.violations(), [path], "{:#}", answer.body);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn invalid_ids_are_bad_user_input() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for id in ["", "nonsense", "usr_", "cnv_8zzzzzzzzzzzzzzzzzzzzzzzzz", "\0", "msg_é"] {
        for (query, path) in [
            ("query ($id: ID!) { node(id: $id) { id } }", "id"),
            ("query ($id: ID!) { nodes(ids: [$id]) { id } }", "ids.0"),
            ("query ($id: ID!) { conversation(id: $id) { id } }", "id"),
            ("query ($id: ID!) { user(by: {id: $id}) { id } }", "by.id"),
            ("mutation ($id: ID!) { openDirectConversation(input: {userId: $id}) { conversation { id } } }", "userId"),
            (
                "mutation ($id: ID!) { createGroup(input: {title: \"x\", participantIds: [$id]}) { conversation { id } } }",
                "participantIds.0",
            ),
            (
                "mutation ($id: ID!) { sendMessage(input: {conversationId: $id, body: \"x\"}) { message { id } } }",
                "conversationId",
            ),
            ("mutation ($id: ID!) { markRead(input: {messageId: $id}) { conversation { id } } }", "messageId"),
            ("mutation ($id: ID!) { markDelivered(input: {messageId: $id}) { conversation { id } } }", "messageId"),
            ("mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } } }", "userId"),
            ("mutation ($id: ID!) { acceptContactRequest(input: {requestId: $id}) { contact { id } } }", "requestId"),
            ("mutation ($id: ID!) { declineContactRequest(input: {requestId: $id}) { requestId } }", "requestId"),
            ("mutation ($id: ID!) { removeContact(input: {userId: $id}) { user { id } } }", "userId"),
            ("mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }", "userId"),
            ("mutation ($id: ID!) { unblockUser(input: {userId: $id}) { user { id } } }", "userId"),
            ("mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId } }", "sessionId"),
            ("mutation ($id: ID!) { removePasskey(input: {passkeyId: $id}) { passkeyId } }", "passkeyId"),
            ("mutation ($id: ID!) { removePushSubscription(input: {id: $id}) { removedId } }", "id"),
            (
                "mutation ($id: ID!) { renamePasskey(input: {passkeyId: $id, name: \"x\"}) { passkey { id } } }",
                "passkeyId",
            ),
        ] {
            assert_bad(&ada.call(query, json!({"id": id})).await, path);
        }
    }
    let itself = "mutation ($id: ID!) { openDirectConversation(input: {userId: $id}) { conversation { id } } }";
    assert_bad(&ada.call(itself, json!({"id": ada.id})).await, "userId");
    let many = json!({"ids": vec![ada.id.as_str(); 101]});
    assert_bad(&ada.call("query ($ids: [ID!]!) { nodes(ids: $ids) { id } }", many).await, "ids");
}

#[tokio::test]
async fn invalid_bodies_and_client_ids_are_bad_user_input() {
    let node = Node::build().flag("--max-message-length=10").start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Bodies", &[]).await;
    let data = node.call(None, "{ serverInfo { maxMessageLength maxGroupSize maxPageSize version } }", json!({})).await;
    assert_eq!(data.data()["serverInfo"]["maxMessageLength"], 10);
    // The limit counts characters, not bytes.
    assert_eq!(ada.send(&group, "🦀🦀🦀🦀🦀🦀🦀🦀🦀🦀").await["number"], 1);
    for body in ["", " ", "\n\t", "12345678901", "a\0b"] {
        assert_bad(&ada.try_send(&group, body, None).await, "body");
    }
    let missing = "mutation ($id: ID!) { sendMessage(input: {conversationId: $id}) { message { id } } }";
    assert_bad(&ada.call(missing, json!({"id": group})).await, "body");
    for client_id in ["", "\0", &"x".repeat(65)] {
        assert_bad(&ada.try_send(&group, "fine", Some(client_id)).await, "clientId");
    }
    assert_eq!(ada.try_send(&group, "fine", Some(&"é".repeat(64))).await.data()["sendMessage"]["message"]["number"], 2);
}

#[tokio::test]
async fn invalid_page_sizes_and_cursors_are_bad_user_input() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Pages", &[]).await;
    let messages = |arguments: &str| {
        format!("query ($id: ID!) {{ conversation(id: $id) {{ messages({arguments}) {{ nodes {{ id }} }} }} }}")
    };
    for size in [0, -1, 101, i32::MAX, i32::MIN] {
        for (query, path) in [
            (format!("{{ viewer {{ conversations(first: {size}) {{ nodes {{ id }} }} }} }}"), "first"),
            (format!("{{ searchUsers(query: \"a\", first: {size}) {{ nodes {{ id }} }} }}"), "first"),
            (messages(&format!("first: {size}")), "first"),
            (messages("first: 1").replace("messages(first: 1)", &format!("participants(first: {size})")), "first"),
            (messages(&format!("last: {size}")), "last"),
        ] {
            let variables = if query.contains("$id") { json!({"id": group}) } else { json!({}) };
            assert_bad(&ada.call(&query, variables).await, path);
        }
    }
    assert_bad(&ada.call(&messages("first: 1, last: 1"), json!({"id": group})).await, "last");

    // Invalid text, cursors of another list, and well-formed JSON that is not a cursor of this list.
    for cursor in
        ["", "nonsense", "!!", "bnVsbA", "WzEsIlwwIl0", "eyJhIjoxfQ", "W1siMjAyNi0wMS0wMVQwMDowMDowMFoiLDFdXQ"]
    {
        let variables = json!({"id": group, "cursor": cursor});
        for (query, path) in [
            ("query ($cursor: String) { viewer { conversations(after: $cursor) { nodes { id } } } }", "after"),
            ("query ($cursor: String) { searchUsers(query: \"a\", after: $cursor) { nodes { id } } }", "after"),
            (
                "query ($id: ID!, $cursor: String) { conversation(id: $id) { participants(after: $cursor) { nodes { id } } } }",
                "after",
            ),
            (
                "query ($id: ID!, $cursor: String) { conversation(id: $id) { messages(after: $cursor) { nodes { id } } } }",
                "after",
            ),
            (
                "query ($id: ID!, $cursor: String) { conversation(id: $id) { messages(before: $cursor) { nodes { id } } } }",
                "before",
            ),
        ] {
            let answer = ada.call(query, variables.clone()).await;
            assert_bad(&answer, path);
        }
    }
}

/// A well-formed cursor can hold values that no row can have.
#[tokio::test]
async fn cursors_with_out_of_range_values_cause_no_internal_error() {
    use base64::Engine as _;
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let query = "query ($cursor: String) { viewer { conversations(after: $cursor) { nodes { id } } } }";
    let id = "00000000-0000-0000-0000-000000000000";
    for time in ["0001-01-01T00:00:00Z", "-262143-01-01T00:00:00Z", "+262142-12-31T23:59:59Z"] {
        let cursor = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json!([time, id]).to_string());
        let answer = ada.call(query, json!({"cursor": cursor})).await;
        if answer.body.get("errors").is_some() {
            assert_bad(&answer, "after");
        }
    }
}

/// A later time, or the same time with another offset, is in a year that RFC 3339 cannot write.
#[tokio::test]
async fn times_outside_of_the_years_0_to_9999_are_bad_user_input() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Times", &[]).await;
    let invite = "mutation ($id: ID!, $at: DateTime!) { createInvite(input: {conversationId: $id, expiresAt: $at}) {
        invite { expiresAt }
    } }";
    let mute = "mutation ($id: ID!, $at: DateTime!) { updateMembership(input: {conversationId: $id, mutedUntil: $at}) {
        conversation { viewerMembership { mutedUntil } }
    } }";
    let schedule = "mutation ($id: ID!, $at: DateTime!) {
        scheduleMessage(input: {conversationId: $id, body: \"x\", sendAt: $at}) { scheduledMessage { id } }
    }";
    for time in [
        "9999-12-31T23:59:59-12:00",
        "9999-12-31T23:59:59.999999-00:01",
        "9999-12-31T23:59:60Z",
        "9999-12-31T22:59:60-01:00",
    ] {
        for (query, path) in [(invite, "expiresAt"), (mute, "mutedUntil"), (schedule, "sendAt")] {
            assert_bad(&ada.call(query, json!({"id": group, "at": time})).await, path);
            let literal = query.replace(", $at: DateTime!", "").replace("$at", &format!("\"{time}\""));
            assert_bad(&ada.call(&literal, json!({"id": group})).await, path);
        }
    }
    assert_bad(&ada.call(mute, json!({"id": group, "at": "0000-01-01T00:00:00+00:01"})).await, "mutedUntil");
    for time in ["+10000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z"] {
        let answer = ada.call(mute, json!({"id": group, "at": time})).await;
        assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED", "{time}: {:#}", answer.body);
    }
    for (time, returned) in [
        ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999Z"),
        ("9999-12-31T12:00:00-11:59", "9999-12-31T23:59:00.000000Z"),
        ("2030-06-30T23:59:60Z", "2030-07-01T00:00:00.000000Z"),
    ] {
        let created = ada.call(invite, json!({"id": group, "at": time})).await.data();
        assert_eq!(created["createInvite"]["invite"]["expiresAt"], returned);
        ada.call(mute, json!({"id": group, "at": returned})).await.data();
    }
}

#[tokio::test]
async fn invalid_titles_profile_fields_and_search_texts_are_bad_user_input() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for query in ["", "  ", "a\0", &"x".repeat(65)] {
        let document = "query ($query: String!) { searchUsers(query: $query) { nodes { id } } }";
        assert_bad(&ada.call(document, json!({"query": query})).await, "query");
    }
    for title in ["", " ", "two\nlines", "\0", &"x".repeat(101)] {
        let document = "mutation ($title: String!) { createGroup(input: {title: $title, participantIds: []}) { conversation { id } } }";
        assert_bad(&ada.call(document, json!({"title": title})).await, "title");
    }
    let update = "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { viewer { id } } }";
    for (field, value) in [
        ("username", "ab"),
        ("username", "with space"),
        ("username", "ünïcode"),
        ("displayName", ""),
        ("displayName", "a\0b"),
        ("about", "a\0b"),
        ("email", "no.at.sign"),
        ("email", "a@b"),
        ("email", "a\0@example.org"),
        ("phone", "015112345678"),
        ("phone", "+0123456789"),
    ] {
        let mut input = json!({});
        input[field] = json!(value);
        assert_bad(&ada.call(update, json!({"input": input})).await, field);
    }
    let title = json!({"filter": {"titleContains": "\0"}});
    let filter = "query ($filter: ConversationFilter) { viewer { conversations(filter: $filter) { nodes { id } } } }";
    assert_eq!(ada.query(filter, title).await["viewer"]["conversations"]["nodes"], json!([]));
    let by = json!({"by": {"username": "\0"}});
    assert_eq!(ada.query("query ($by: UserBy!) { user(by: $by) { id } }", by).await["user"], Value::Null);
}

#[tokio::test]
async fn malformed_documents_and_requests_are_refused() {
    let node = Node::start().await;
    for (query, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ node { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { serverInfo { version } } query B { serverInfo { version } }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let answer = node.call(None, query, json!({})).await;
        assert_eq!((answer.status, answer.code()), (400, code), "{query}");
        assert!(answer.body.get("data").is_none(), "{query}: an operation that did not run has no data");
    }
    let answer = node.call(None, "query ($id: ID!) { node(id: $id) { id } }", json!({})).await;
    assert_eq!(answer.code(), "GRAPHQL_VALIDATION_FAILED");

    let post = |content_type: &'static str, body: &'static str| {
        node.http.post(node.url("/graphql")).header("content-type", content_type).body(body).send()
    };
    assert_eq!(post("text/plain", "{\"query\": \"{ serverInfo { version } }\"}").await.unwrap().status(), 415);
    for body in ["", "[]", "null", "{}", "{\"query\": 1}", "{\"query\": \"{ a }\", \"variables\": []}", "\u{feff}{"] {
        assert_eq!(post("application/json", body).await.unwrap().status(), 400, "{body}");
    }
}

#[tokio::test]
async fn the_accept_header_determines_status_and_content_type() {
    let node = Node::start().await;
    for (accept, query, status, content_type) in [
        ("application/graphql-response+json", "{", 400, "application/graphql-response+json; charset=utf-8"),
        ("application/json", "{", 200, "application/json; charset=utf-8"),
        ("*/*", "{ serverInfo { version } }", 200, "application/json; charset=utf-8"),
        ("text/html", "{ serverInfo { version } }", 406, "text/plain; charset=utf-8"),
    ] {
        let request = node.http.post(node.url("/graphql")).header("accept", accept).json(&json!({"query": query}));
        let answer = request.send().await.unwrap();
        let seen = (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap());
        assert_eq!(seen, (status, content_type), "{accept}");
    }
}

#[tokio::test]
async fn get_requests_can_execute_only_queries() {
    let node = Node::start().await;
    let bare = || node.http.get(node.url("/graphql")).header("apollo-require-preflight", "true");
    let get = |query: &'static str| bare().query(&[("query", query)]).send();
    let answer = get("{ serverInfo { maxPageSize } }").await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json::<Value>().await.unwrap()["data"]["serverInfo"]["maxPageSize"], 100);
    let answer = get("mutation { logout { sessionId } }").await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "POST"));
    assert_eq!(bare().send().await.unwrap().status(), 400);
    let variables =
        bare().query(&[("query", "query ($id: ID!) { node(id: $id) { id } }"), ("variables", "{\"id\": \"x\"}")]);
    let answer: Value = variables.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
}

/// The node refuses documents that nest too deeply or select too much, and does not crash.
#[tokio::test]
async fn too_deep_and_too_wide_documents_are_refused() {
    let node = Node::start().await;
    let chain: Vec<_> = (0..20_000).map(|i| format!("fragment f{i} on Query {{ ...f{} }}", i + 1)).collect();
    let doubling: Vec<_> = (0..40).map(|i| format!("fragment f{i} on Query {{ ...f{0} ...f{0} }}", i + 1)).collect();
    let (chain, doubling) = (chain.join(" "), doubling.join(" "));
    for query in [
        "{a".repeat(300_000),
        format!("{{ a(b: {}", "[".repeat(500_000)),
        format!("{{ a(b: {}", "{c:".repeat(200_000)),
        format!("{{ ...f0 }} {chain}"),
        format!("{{ ...f0 }} {doubling} fragment f40 on Query {{ serverInfo {{ version }} }}"),
        format!("{{ {} }}", "serverInfo { version } ".repeat(20_000)),
    ] {
        let answer = node.call(None, &query, json!({})).await;
        assert_eq!((answer.status, answer.code()), (400, "OPERATION_TOO_COMPLEX"), "{query:.100}");
    }
    let mut socket = crate::support::Socket::raw(&node.url("/graphql")).await;
    socket.send(json!({"type": "connection_init"})).await;
    socket.receive().await;
    socket.subscribe("deep", &"{a".repeat(100_000), json!({})).await;
    assert_eq!(socket.receive().await["payload"][0]["extensions"]["code"], "OPERATION_TOO_COMPLEX");
    // Error messages about long names and long lines stay short.
    for query in [format!("{{ {} }}", "x".repeat(500_000)), format!("{{ {} !}}", "x ".repeat(2_000)), "\"".repeat(9999)]
    {
        let answer = node.call(None, &query, json!({})).await;
        assert!(answer.body.to_string().len() < 5_000, "{} bytes", answer.body.to_string().len());
    }
    // Validation refuses fragments that contain themselves.
    let circle = "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }";
    assert_eq!(node.call(None, circle, json!({})).await.code(), "GRAPHQL_VALIDATION_FAILED");
}
