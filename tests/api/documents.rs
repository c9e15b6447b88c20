//! Persisted documents, which clients register by hash at run time, or which a manifest lists.

use std::fs;

use serde_json::json;

use crate::support::http::{VERSION, by_hash, code, get, header, post, send, with_preflight_header};
use crate::support::{Node, Socket};

#[tokio::test]
async fn a_persisted_document_runs_by_its_hash() {
    let node = Node::start().await;
    let query = "query Remembered { serverInfo { version } }";
    let extensions = by_hash(query);
    let (status, body) = send(post(&node, &json!({"extensions": extensions}))).await;
    assert_eq!((status, code(&body)), (400, "PERSISTED_QUERY_NOT_FOUND"));
    assert_eq!(body["errors"][0]["message"], "PersistedQueryNotFound", "clients compare the message");

    let (status, body) = send(post(&node, &json!({"query": "{ other }", "extensions": extensions}))).await;
    assert_eq!((status, code(&body)), (400, "BAD_USER_INPUT"));
    assert_eq!(send(post(&node, &json!({"query": query, "extensions": extensions}))).await.0, 200);

    // From now on requests can contain the hash only: in a body, in a query string, and over a socket.
    let (_, body) = send(post(&node, &json!({"extensions": extensions, "operationName": "Remembered"}))).await;
    assert!(body["data"]["serverInfo"]["version"].is_string());
    let text = extensions.to_string();
    let answer = with_preflight_header(get(&node, &[("extensions", &text), ("variables", "{}")])).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "cache-control")), (200, "public, max-age=60"));
    let mut socket = Socket::raw(&node.url("/graphql")).await;
    socket.send(json!({"type": "connection_init"})).await;
    socket.receive().await;
    socket.send(json!({"type": "subscribe", "id": "1", "payload": {"extensions": extensions}})).await;
    assert!(socket.receive().await["payload"]["data"]["serverInfo"]["version"].is_string());

    // Invalid documents are not persisted.
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

/// The document is cached after its first run. The server still checks the variables of each request.
#[tokio::test]
async fn variables_of_a_cached_document_are_checked() {
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
    // Variables that the document does not declare are ignored.
    ada.query(by, json!({"by": {"id": ada.id}, "first": 3, "other": true})).await;
}

#[tokio::test]
async fn the_document_cache_is_bounded_in_bytes() {
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
    // A parsed document takes more than 20 times the 500 bytes of its text.
    assert!((1..=500_000 / (20 * 500)).contains(&kept), "{kept} of 100 documents are cached");
}

#[tokio::test]
async fn with_a_manifest_only_listed_documents_run() {
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
        assert_eq!(send(with_preflight_header(get(&node, &parameters))).await.0, 200);
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
