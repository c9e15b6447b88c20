//! The metrics at `/metrics`, in the format of Prometheus.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures_util::future::join_all;
use parlance::log::MemoryBroker;
use parlance::metrics::Metrics;
use serde_json::json;

use crate::support::{DroppingBroker, Node, PATIENCE, eventually_some};

/// The samples of one scrape. The key is the metric name with the labels.
struct Scrape(HashMap<String, f64>);

impl Scrape {
    async fn of(node: &Node) -> Self {
        let response = node.http.get(node.url("/metrics")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(&response.text().await.unwrap())
    }

    /// Parses the text format, which the page "Exposition formats" of the Prometheus documentation specifies.
    fn parse(text: &str) -> Self {
        let (mut described, mut typed, mut samples) = (HashSet::new(), HashMap::new(), HashMap::new());
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                assert!(described.insert(help.split_once(' ').unwrap().0), "duplicate HELP: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(typed.insert(name, kind).is_none(), "duplicate TYPE: {line}");
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let name = series.split('{').next().unwrap();
                let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
                let histogram = family.is_some_and(|family| typed.get(family) == Some(&"histogram"));
                assert!(histogram || typed.contains_key(name), "{line} has no type");
                assert!(
                    samples.insert(series.to_owned(), value.parse().unwrap()).is_none(),
                    "duplicate sample: {line}"
                );
            }
        }
        for (name, kind) in typed {
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            assert!(described.contains(name), "{name} has no help");
        }
        Self(samples)
    }

    #[track_caller]
    fn get(&self, series: &str) -> f64 {
        *self.0.get(series).unwrap_or_else(|| panic!("no {series} in {:#?}", self.0.keys()))
    }

    /// Returns the value of a series. Panics if the value is not an integer.
    #[track_caller]
    fn count(&self, series: &str) -> i64 {
        let value = self.get(series);
        assert!(value.fract().abs() < f64::EPSILON, "{series} is {value}");
        #[expect(clippy::cast_possible_truncation, reason = "these counts are small")]
        let count = value as i64;
        count
    }

    fn events(&self) -> i64 {
        ["published", "read"]
            .map(|source| self.count(&format!("parlance_log_events_total{{source=\"{source}\"}}")))
            .iter()
            .sum()
    }
}

/// Scrapes the node repeatedly until `what` returns true for the scrape, and returns this scrape.
async fn wait_for(node: &Node, what: impl Fn(&Scrape) -> bool) -> Scrape {
    eventually_some("the metrics reach the expected values", async || {
        let scrape = Scrape::of(node).await;
        what(&scrape).then_some(scrape)
    })
    .await
}

#[tokio::test]
async fn messages_events_and_connections_are_counted() {
    let node = Node::start().await;
    let start = Scrape::of(&node).await;
    assert_eq!(start.count("parlance_errors_total{code=\"NOT_FOUND\"}"), 0, "codes are shown before their first error");
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inbox = bob.inbox().await;
    let open = Scrape::of(&node).await;
    assert_eq!((open.count("parlance_sockets_open"), open.count("parlance_subscriptions_open")), (1, 1));
    for body in ["one", "two", "three"] {
        ada.send(&conversation, body).await;
        inbox.message().await;
    }
    let end = Scrape::of(&node).await;
    assert_eq!(end.count("parlance_messages_stored_total"), 3);
    assert_eq!(end.count("parlance_writer_queue_length"), 0);
    assert_eq!(end.count("parlance_writer_batch_size_count"), 3);
    assert_eq!(end.count("parlance_writer_batch_size_bucket{le=\"1.0\"}"), 3);
    assert_eq!(end.count("parlance_log_position"), end.events());
    assert_eq!(end.events() - open.events(), 3);
    assert_eq!(end.count("parlance_log_delay_seconds_count"), 3);
    assert!(end.get("parlance_log_delay_seconds_sum") < 3.0 * PATIENCE.as_secs_f64());
    assert!(end.get("parlance_log_lag_seconds") < PATIENCE.as_secs_f64());
    assert_eq!(end.count("parlance_operations_total{kind=\"subscription\",transport=\"websocket\"}"), 1);
    // The six mutations are two registrations, one conversation and three messages.
    assert_eq!(end.count("parlance_operations_total{kind=\"mutation\",transport=\"http\"}"), 6);

    inbox.socket.close(1000).await;
    wait_for(&node, |scrape| {
        (scrape.count("parlance_sockets_open"), scrape.count("parlance_subscriptions_open")) == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn errors_are_counted_by_code_on_every_transport() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let errors = async |code: &str| Scrape::of(&node).await.count(&format!("parlance_errors_total{{code=\"{code}\"}}"));

    ada.call("{ nope }", json!({})).await;
    ada.call("{", json!({})).await;
    let unknown = json!({"id": format!("cnv_{}", "0".repeat(26))});
    let send = "mutation ($id: ID!) { sendMessage(input: {conversationId: $id, body: \"hello\"}) { message { id } } }";
    assert_eq!(ada.call(send, unknown.clone()).await.code(), "NOT_FOUND");
    assert_eq!((errors("GRAPHQL_VALIDATION_FAILED").await, errors("NOT_FOUND").await), (1, 1));
    assert_eq!(errors("GRAPHQL_PARSE_FAILED").await, 1);

    let mut socket = ada.socket().await;
    socket.subscribe("1", send, unknown).await;
    socket.receive_of("1").await;
    socket.subscribe("2", "{", json!({})).await;
    socket.receive_of("2").await;
    assert_eq!((errors("NOT_FOUND").await, errors("GRAPHQL_PARSE_FAILED").await), (2, 2));

    let stream = node.http.post(node.url("/graphql")).header("accept", "text/event-stream");
    stream.json(&json!({"query": "subscription { nope }"})).send().await.unwrap().text().await.unwrap();
    assert_eq!(errors("GRAPHQL_VALIDATION_FAILED").await, 2);

    // These requests are rejected before an operation is parsed.
    node.http.get(node.url("/graphql?query=%7B__typename%7D")).send().await.unwrap();
    assert_eq!(errors("FORBIDDEN").await, 1);
    node.http.post(node.url("/graphql")).body("text").send().await.unwrap();
    assert_eq!(errors("BAD_USER_INPUT").await, 1);

    let scrape = Scrape::of(&node).await;
    assert_eq!(scrape.count("parlance_operations_total{kind=\"mutation\",transport=\"websocket\"}"), 1);
}

#[tokio::test]
async fn missing_publications_and_queue_overflows_are_counted() {
    let broker = Arc::new(DroppingBroker::new(Arc::new(MemoryBroker::default()), 3));
    // With the default interval, a poll could read the dropped events before the tail notices that they are missing.
    let flags = ["--stream-queue=1", "--tail-poll-interval=10000"];
    let node = Node::build().broker(broker).flags(&flags).start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Group", &[]).await;
    let inbox = ada.inbox().await;
    join_all((0..60).map(|_| ada.send(&group, "hello"))).await;
    let scrape = wait_for(&node, |scrape| scrape.count("parlance_log_position") == 61).await;
    assert_eq!(scrape.events(), 61);
    assert!(scrape.count("parlance_log_events_total{source=\"read\"}") >= 20);
    assert!(scrape.count("parlance_log_holes_filled_total") > 0);
    assert!(scrape.count("parlance_stream_overflows_total") > 0);
    assert_eq!(scrape.count("parlance_log_events_unpublished_total"), 0, "the broker reported no failure");
    assert!(scrape.count("parlance_writer_batch_size_count") <= 60);
    assert_eq!(scrape.count("parlance_writer_batch_size_sum"), 60);
    drop(inbox);
}

#[tokio::test]
async fn metrics_can_be_turned_off() {
    let node = Node::build().flag("--metrics=false").start_alone().await;
    assert_eq!(node.http.get(node.url("/metrics")).send().await.unwrap().status(), 404);
}

#[test]
fn shared_and_personal_renderings_are_counted_separately() {
    let metrics = Metrics::default();
    assert_eq!(Scrape::parse(&metrics.text()).count("parlance_renders_total{rendering=\"shared\"}"), 0);
    metrics.renders(true);
    metrics.renders(true);
    metrics.renders(false);
    let scrape = Scrape::parse(&metrics.text());
    assert_eq!(scrape.count("parlance_renders_total{rendering=\"shared\"}"), 2);
    assert_eq!(scrape.count("parlance_renders_total{rendering=\"personal\"}"), 1);
}
