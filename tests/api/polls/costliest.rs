//! The costliest documents, largest requests and largest responses that the default limits allow.

use reqwest::header::ACCEPT_ENCODING;
use serde_json::{Value, json};

use super::tour::{forward, long};
use super::{ATTEMPTS, COSTLIEST_BOUND, Measured, Meter, Probed, clients};
use crate::support::{Answer, Node, User};

/// Registers a user with 100 groups of about 100 messages each. 20 of the groups have 50 participants.
async fn fill(node: &Node) -> User {
    let ada = node.register("ada").await;
    let mut others = Vec::new();
    for _ in 0..49 {
        others.push(node.register("other").await);
    }
    let crowd: Vec<_> = others.iter().collect();
    let mut groups = Vec::new();
    for place in 0..100 {
        groups.push(ada.create_group(&format!("Group {place}"), if place < 20 { &crowd } else { &[] }).await);
    }
    let mut messages = Vec::new();
    for _ in 0..99 {
        messages.push(ada.send(&groups[0], "hello world").await["id"].clone());
    }
    let query = "mutation ($input: ForwardMessagesInput!) { forwardMessages(input: $input) { messages { id } } }";
    for groups in groups[1..].chunks(20) {
        ada.query(query, json!({"input": {"messageIds": messages, "conversationIds": groups}})).await;
    }
    ada
}

/// Concatenates `count` parts of a document. `piece` returns the part for an index.
fn joined(count: usize, piece: impl Fn(usize) -> String) -> String {
    (0..count).map(piece).collect::<Vec<_>>().concat()
}

/// Asserts that the response has no errors.
#[track_caller]
fn assert_not_refused(answer: &Answer) {
    assert!(answer.body.get("errors").is_none(), "{:.500}", answer.body.to_string());
}

#[test]
fn the_costliest_documents_block_no_thread_for_long() {
    let mut meter = Meter::default();
    let measured = Measured::start(&meter, Node::build());
    let node = &measured.node;
    clients(async {
        let ada = fill(node).await;
        let introspection = include_str!("../../../src/http/introspection.graphql");
        let list = |size: &str, fields: &str| {
            format!("{{ viewer {{ conversations(first: {size}) {{ nodes {{ {fields} }} }} }} }}")
        };
        let first = list("20", "__typename id title lastMessage { __typename id body sender { __typename username } }
            participants(first: 50) { __typename nodes { __typename id role user { __typename id username displayName } } }");
        let aliases = joined(99, |i| format!("a{i}: viewer {{ conversations(first: 100) {{ nodes {{ id }} }} }} "));
        let wide: String = "serverInfo { version } ".repeat(1200);
        for (name, query) in [
            ("introspection", introspection.to_owned()),
            ("a first list of conversations with participants", first),
            ("many messages of many conversations", list("100", "messages(last: 80) { nodes { id } }")),
            (
                "many messages with fields",
                list("100", "messages(last: 30) { nodes { id number body kind createdAt sender { id } } }"),
            ),
            ("many participants", list("100", "participants(first: 80) { nodes { id } }")),
            ("many lists by aliases", format!("{{ {aliases} }}")),
            ("the maximum of tokens", format!("{{ {wide} }}")),
        ] {
            for time in ["first", "again"] {
                let answer = meter.measure(&format!("{name}, {time}"), ada.call(&query, json!({}))).await;
                assert!(
                    answer.body["errors"][0]["extensions"]["code"] == "OPERATION_TOO_COMPLEX"
                        || answer.body.get("errors").is_none()
                );
                if name != "many lists by aliases" {
                    assert_not_refused(&answer);
                }
            }
        }
        for (name, query) in [
            ("unknown fields", format!("{{ {} }}", "nope ".repeat(4990))),
            ("different unknown fields", format!("{{ {} }}", joined(4900, |i| format!("nope{i} ")))),
            ("unknown arguments", format!("{{ {} }}", "serverInfo(a: 1) { version } ".repeat(490))),
            ("a long list", format!("{{ nodes(ids: [{}]) {{ id }} }}", "1 ".repeat(4900))),
            ("a long text", format!("{{ node(id: \"{}\") {{ id }} }}", "x".repeat(900_000))),
            ("fragments", {
                let each = joined(400, |i| format!("fragment f{i} on ServerInfo {{ version }} "));
                let spreads = joined(400, |i| format!("...f{i} "));
                format!("{{ serverInfo {{ {spreads} }} }} {each}")
            }),
            ("small fragments that each spread two others", {
                // Expanded, the fragments spread each other about a thousand times. At most 1 KiB is validated on a
                // thread of the runtime.
                let name = |index: usize| &"ABCDEFGHIJKLMNOP"[index..=index];
                let each = joined(14, |i| {
                    let [own, next, after] = [i, i + 1, i + 2].map(name);
                    format!(
                        "fragment {own} on Message{{replyTo{{...{next}}}conversation{{lastMessage{{...{after}}}}}}}"
                    )
                });
                format!("{{node(id:1){{...A}}}}{each}fragment O on Message{{id}}fragment P on Message{{id}}")
            }),
            ("variables", {
                let each = joined(900, |i| format!("$v{i}: Int "));
                format!("query ({each}) {{ serverInfo {{ version }} }}")
            }),
            ("operations", joined(800, |i| format!("query Q{i} {{ serverInfo {{ version }} }} "))),
        ] {
            let answer = meter.measure(name, ada.call(&query, json!({}))).await;
            if name.starts_with("small") {
                // The document is valid, and is executed.
                assert!(query.len() <= 1024 && answer.code() == "BAD_USER_INPUT", "{name}: {}", answer.body);
            }
        }
    });
    measured.end();
    meter.assert_below(COSTLIEST_BOUND);
}

/// Returns a JSON value whose text takes long to parse for its length.
fn dense(bytes: usize) -> Value {
    json!(vec![json!([]); bytes / 3])
}

#[test]
fn the_largest_requests_block_no_thread_for_long() {
    let mut meter = Meter::default();
    let measured = Measured::start(&meter, Node::build());
    let node = &measured.node;
    clients(async {
        let ada = node.register("ada").await;
        let query = "{ serverInfo { version } }";
        let ids = "query ($ids: [ID!]!) { nodes(ids: $ids) { id } }";
        for (name, query, variables) in [
            ("dense variables", query, json!({"a": dense(1_000_000)})),
            ("many variables", query, (0..60_000).map(|i| (i.to_string(), json!(i))).collect()),
            ("a long variable", query, json!({"a": "\u{1}".repeat(160_000)})),
            ("many ids", ids, json!({"ids": vec![""; 300_000]})),
            ("one long id", ids, json!({"ids": ["x".repeat(1_000_000)]})),
        ] {
            meter.measure(name, ada.call(query, variables)).await;
        }
        let batch: Value = (0..10).map(|_| json!({"query": query, "variables": {"a": dense(90_000)}})).collect();
        let post = |body: &Value| node.http.post(node.url("/graphql")).json(body).send();
        assert_eq!(meter.measure("a batch", post(&batch)).await.unwrap().status(), 200);
        let many = json!(vec![json!({"query": query}); 20_000]);
        assert_eq!(meter.measure("a batch of too many", post(&many)).await.unwrap().status(), 413);

        let group = ada.create_group("Long", &[]).await;
        forward(&mut meter, &ada, &group, &long("hello world ")).await;

        let mut socket = ada.socket().await;
        let send = async {
            socket.subscribe("large", query, json!({"a": dense(250_000)})).await;
            for kind in ["next", "complete"] {
                assert_eq!(socket.receive_of("large").await["type"], kind);
            }
        };
        meter.measure("a message of a socket", send).await;
        let ping = json!({"type": "ping", "payload": {"a": dense(250_000)}});
        let send = async {
            socket.send(ping).await;
            assert_eq!(socket.receive().await["type"], "pong");
        };
        meter.measure("a ping of a socket", send).await;
    });
    measured.end();
    meter.assert_below(COSTLIEST_BOUND);
}

#[test]
fn the_largest_responses_block_no_thread_for_long() {
    let mut meter = Meter::default();
    let probed = Probed::start(Node::build());
    let node = &probed.node;
    clients(async {
        let ada = node.register("ada").await;
        let group = ada.create_group("Long", &[]).await;
        for body in ["hello world ".repeat(660), format!("x{}", "\u{1}".repeat(7999)), "🦀".repeat(8000)] {
            for _ in 0..34 {
                ada.send(&group, &body).await;
            }
        }
        let asks = |times| {
            let each = joined(times, |i| format!("a{i}: messages(last: 100) {{ nodes {{ body }} }} "));
            format!("query ($id: ID!) {{ conversation(id: $id) {{ {each} }} }}")
        };
        // OPERATION_MAX_ANSWER_BYTES allows five pages, but not more.
        let query = asks(5);
        let variables = json!({"id": group});
        assert_not_refused(
            &probed.measure("5 times 100 long messages", &mut meter, ada.call(&query, variables.clone())).await,
        );
        for encoding in ["br", "gzip", "zstd"] {
            for _ in 0..ATTEMPTS {
                let request = node.http.post(node.url("/graphql")).bearer_auth(&ada.access_token);
                let request =
                    request.header(ACCEPT_ENCODING, encoding).json(&json!({"query": query, "variables": variables}));
                let get = async {
                    let response = request.send().await.unwrap();
                    assert_eq!(response.headers()["content-encoding"], encoding);
                    response.bytes().await.unwrap()
                };
                probed.measure(&format!("the same as {encoding}"), &mut meter, get).await;
            }
            meter.keep_shortest(ATTEMPTS);
        }
        for _ in 0..ATTEMPTS {
            let mut socket = ada.socket().await;
            let receive = async {
                socket.subscribe("large", &asks(4), variables.clone()).await;
                assert_eq!(socket.receive_of("large").await["type"], "next");
            };
            probed.measure("4 times 100 long messages over a socket", &mut meter, receive).await;
        }
        meter.keep_shortest(ATTEMPTS);
    });
    drop(probed.node);
    probed.runtime.shutdown_background();
    meter.assert_below(COSTLIEST_BOUND);
}
