//! The metrics of a node, in the text format of Prometheus.

mod connections;
mod labels;
mod notices;
mod push;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

pub use connections::{ConnectionMetrics, Refusal};
pub use labels::{LiveKind, OperationKind, S3Outcome, Source, Transport};
pub use notices::{NoticeChannel, NoticeMetrics};
pub use push::PushMetrics;

/// Upper bounds of the histogram buckets for the number of messages and receipts in one transaction.
const BATCH_SIZES: [f64; 11] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0];
/// Upper bounds of the histogram buckets for the time from a message's creation to its dispatch, in seconds.
const DELAYS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// Names and values of a metric's labels.
type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Seconds = Gauge<f64, std::sync::atomic::AtomicU64>;

/// The metrics of one node. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    catalogue: Vec<Entry>,
    /// Time at which the tail was last known to be at the head of the log.
    at_head: Mutex<Instant>,
    log_position: Gauge,
    log_lag: Seconds,
    /// One counter for each [`Source`].
    log_events: [Counter; 2],
    log_delay: Histogram,
    log_holes_filled: Counter,
    log_unpublished: Counter,
    consumer_position: Family<Labels<1>, Gauge>,
    consumer_lag: Family<Labels<1>, Seconds>,
    stream_overflows: Counter,
    /// Two counters: of runs that completed, and of runs that failed.
    housekeeping_runs: [Counter; 2],
    writer_queue: Gauge,
    writer_batch: Histogram,
    messages_stored: Counter,
    sockets: Gauge,
    subscriptions: Gauge,
    operations: Counters<2>,
    errors: Counters<1>,
    /// Two counters: of shared renderings, and of personal renderings.
    renders: [Counter; 2],
    /// One counter for each [`LiveKind`].
    live: [Counter; 4],
    s3_requests: Counters<1>,
    connections: ConnectionMetrics,
    notices: NoticeMetrics,
    push: PushMetrics,
}

/// A row of the table of metrics in the documentation.
struct Entry {
    name: &'static str,
    kind: &'static str,
    labels: String,
    help: &'static str,
}

/// Counts one open connection, socket or subscription in a gauge, until this value is dropped.
pub struct Open(Gauge);

/// Registers metrics, and collects their descriptions for the documentation.
struct Builder {
    registry: Registry,
    catalogue: Vec<Entry>,
}

impl Builder {
    fn add<M: Metric + Clone>(&mut self, entry: Entry, metric: M) -> M {
        let name = entry.name.strip_suffix("_total").unwrap_or(entry.name);
        self.registry.register(name, entry.help.trim_end_matches('.'), metric.clone());
        self.catalogue.push(entry);
        metric
    }

    fn counter(&mut self, name: &'static str, help: &'static str) -> Counter {
        self.add(Entry { name, kind: "counter", labels: String::new(), help }, Counter::default())
    }

    fn counters<const N: usize>(
        &mut self,
        name: &'static str,
        labels: impl Into<String>,
        help: &'static str,
    ) -> Counters<N> {
        self.add(Entry { name, kind: "counter", labels: labels.into(), help }, Counters::default())
    }

    /// Registers a counter with one label. Returns one counter for each value of the label.
    fn counters_of<const N: usize>(
        &mut self,
        name: &'static str,
        (label, values): (&'static str, [&'static str; N]),
        help: &'static str,
    ) -> [Counter; N] {
        let labels = format!("`{label}`: {}", values.join(", "));
        let family = self.counters::<1>(name, labels, help);
        values.map(|value| family.get_or_create_owned(&[(label, value)]))
    }

    fn gauge<G: Metric + Clone + Default>(&mut self, name: &'static str, help: &'static str) -> G {
        self.add(Entry { name, kind: "gauge", labels: String::new(), help }, G::default())
    }

    fn gauges<G: Metric + Clone + Default>(&mut self, name: &'static str, labels: &str, help: &'static str) -> G {
        self.add(Entry { name, kind: "gauge", labels: labels.to_owned(), help }, G::default())
    }

    fn histogram<const N: usize>(&mut self, name: &'static str, help: &'static str, buckets: [f64; N]) -> Histogram {
        self.add(Entry { name, kind: "histogram", labels: String::new(), help }, Histogram::new(buckets))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut new = Builder { registry: Registry::default(), catalogue: Vec::new() };
        let inner = Inner {
            log_position: new.gauge("parlance_log_position", "The newest event that this node's tail has dispatched."),
            log_lag: new.gauge(
                "parlance_log_lag_seconds",
                "Seconds since this node's tail was last known to be at the head of the log. Normally about \
                 TAIL_POLL_INTERVAL at most.",
            ),
            log_events: new.counters_of(
                "parlance_log_events_total",
                ("source", ["published", "read"]),
                "Events dispatched by the tail, as published by a node or as read from Postgres.",
            ),
            log_delay: new.histogram(
                "parlance_log_delay_seconds",
                "Seconds from the creation of a message to its dispatch by this node's tail. Wrong by the difference \
                 between the clocks of the nodes.",
                DELAYS,
            ),
            log_holes_filled: new.counter(
                "parlance_log_holes_filled_total",
                "Times that the tail read missing events from Postgres, because later events had arrived.",
            ),
            log_unpublished: new.counter(
                "parlance_log_events_unpublished_total",
                "Events of this node that were not published, because publishing failed or its queue was full. Tails \
                 read them from Postgres.",
            ),
            consumer_position: new.gauges(
                "parlance_consumer_position",
                "`consumer`: search, push",
                "The newest event that a consumer of the log has handled, on any node.",
            ),
            consumer_lag: new.gauges(
                "parlance_consumer_lag_seconds",
                "`consumer`: search, push",
                "Age in seconds of the oldest event that a consumer of the log has not handled yet, on any node. 0 if \
                 all events are handled.",
            ),
            stream_overflows: new.counter(
                "parlance_stream_overflows_total",
                "Times that the queue of a stream was full, so that the stream reads the log instead.",
            ),
            housekeeping_runs: new.counters_of(
                "parlance_housekeeping_runs_total",
                ("result", ["completed", "failed"]),
                "Runs of housekeeping by this node. A run that failed is repeated after a minute at most.",
            ),
            writer_queue: new.gauge("parlance_writer_queue_length", "Requests that wait to be committed."),
            writer_batch: new.histogram(
                "parlance_writer_batch_size",
                "Requests committed in one transaction.",
                BATCH_SIZES,
            ),
            messages_stored: new.counter("parlance_messages_stored_total", "Messages stored by this node."),
            connections: ConnectionMetrics::new(&mut new),
            sockets: new.gauge("parlance_sockets_open", "Open WebSocket connections."),
            subscriptions: new.gauge("parlance_subscriptions_open", "Open subscriptions, over all transports."),
            operations: new.counters(
                "parlance_operations_total",
                "`kind`: query, mutation, subscription; `transport`: http, event_stream, websocket",
                "Operations that were started.",
            ),
            errors: new.counters(
                "parlance_errors_total",
                "`code`: as in errors.md",
                "Errors in answers to clients, by their code.",
            ),
            renders: new.counters_of(
                "parlance_renders_total",
                ("rendering", ["shared", "personal"]),
                "Events rendered for subscriptions: once for all that have the same document, or for one viewer.",
            ),
            live: new.counters_of(
                "parlance_live_published_total",
                ("kind", ["presence", "typing", "room", "device"]),
                "Changes of live state that this node has published to the others: presence of users, typing, \
                 users in rooms, and connections of devices.",
            ),
            s3_requests: new.counters::<1>(
                "parlance_s3_requests_total",
                "`outcome`: done, refused, away",
                "Requests of the server to S3. Requests of clients are not counted. `refused` includes objects that do \
                 not exist. `away` means that S3 does not answer, or is overloaded.",
            ),
            notices: NoticeMetrics::new(&mut new),
            push: PushMetrics::new(&mut new),
            at_head: Mutex::new(Instant::now()),
            registry: new.registry,
            catalogue: new.catalogue,
        };
        Self { inner: Arc::new(inner) }
    }
}

impl Metrics {
    /// Returns all metrics in the text format of Prometheus, version 0.0.4.
    pub fn text(&self) -> String {
        let at_head = *self.inner.at_head.lock();
        self.inner.log_lag.set(at_head.elapsed().as_secs_f64());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode_registry(&mut text, &self.inner.registry);
        self.with_full_names(&text)
    }

    /// Adds `_total` to the names of counters in comment lines. The library writes OpenMetrics, which omits this suffix
    /// in comments.
    fn with_full_names(&self, text: &str) -> String {
        let mut full = String::with_capacity(text.len() + 1024);
        for line in text.lines() {
            let mut words = line.splitn(4, ' ');
            let (comment, what, name) = (words.next(), words.next(), words.next().unwrap_or_default());
            let counter = || self.inner.catalogue.iter().any(|entry| entry.name.strip_suffix("_total") == Some(name));
            let _ = match (comment, what, words.next()) {
                (Some("#"), Some(what), Some(rest)) if counter() => writeln!(full, "# {what} {name}_total {rest}"),
                _ => writeln!(full, "{line}"),
            };
        }
        full
    }

    /// Returns the documentation of all metrics, with their labels and meanings.
    pub fn table() -> String {
        let mut text = String::from(
            "# Metrics\n\n\
             `GET /metrics` answers in the text format of Prometheus, unless `METRICS=false`. It is for the network\n\
             of the operators: a public proxy should not forward it. Each node reports its own metrics, since its\n\
             start. Generated by `make generate`.\n\n\
             | metric | type | labels | meaning |\n|---|---|---|---|\n",
        );
        for Entry { name, kind, labels, help } in &Self::default().inner.catalogue {
            let _ = writeln!(text, "| `{name}` | {kind} | {labels} | {help} |");
        }
        text
    }

    /// Sets the position of the tail in the log.
    pub fn set_log_position(&self, seq: i64) {
        self.inner.log_position.set(seq);
    }

    pub fn event_dispatched(&self, source: Source) {
        self.inner.log_events[source as usize].inc();
    }

    pub fn message_dispatched(&self, after: Duration) {
        self.inner.log_delay.observe(after.as_secs_f64());
    }

    /// Records that the tail was at the head of the log at this instant.
    pub fn set_at_head(&self, at: Instant) {
        *self.inner.at_head.lock() = at;
    }

    pub fn hole_filled(&self) {
        self.inner.log_holes_filled.inc();
    }

    pub fn unpublished(&self, events: usize) {
        self.inner.log_unpublished.inc_by(events as u64);
    }

    /// Sets the position of a consumer, and the age in seconds of the oldest event that it has not handled.
    pub fn set_consumer(&self, consumer: &'static str, position: i64, lag: f64) {
        let labels = [("consumer", consumer)];
        self.inner.consumer_position.get_or_create_owned(&labels).set(position);
        self.inner.consumer_lag.get_or_create_owned(&labels).set(lag);
    }

    pub fn stream_overflow(&self) {
        self.inner.stream_overflows.inc();
    }

    pub fn housekeeping_run(&self, completed: bool) {
        self.inner.housekeeping_runs[usize::from(!completed)].inc();
    }

    pub fn queued(&self) {
        self.inner.writer_queue.inc();
    }

    /// Records that the writer has taken this number of requests from its queue, to commit them in one transaction.
    pub fn batch_started(&self, requests: usize) {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.inner.writer_queue.dec_by(i64::from(requests));
        self.inner.writer_batch.observe(f64::from(requests));
    }

    pub fn messages_stored(&self, messages: usize) {
        self.inner.messages_stored.inc_by(messages as u64);
    }

    pub fn connections(&self) -> ConnectionMetrics {
        self.inner.connections.clone()
    }

    pub fn notices(&self) -> NoticeMetrics {
        self.inner.notices.clone()
    }

    pub fn push(&self) -> PushMetrics {
        self.inner.push.clone()
    }

    pub fn socket(&self) -> Open {
        Open::new(&self.inner.sockets)
    }

    pub fn subscription(&self) -> Open {
        Open::new(&self.inner.subscriptions)
    }

    pub fn operation(&self, kind: OperationKind, transport: Transport) {
        self.inner.operations.get_or_create(&[("kind", kind.as_str()), ("transport", transport.as_str())]).inc();
    }

    /// Creates the counter of an error code with the value 0, so that the first error with this code is visible as an
    /// increase.
    pub fn expect_errors(&self, code: &'static str) {
        self.inner.errors.get_or_create_owned(&[("code", code)]);
    }

    pub fn error(&self, code: &'static str) {
        self.inner.errors.get_or_create(&[("code", code)]).inc();
    }

    pub fn s3_request(&self, outcome: S3Outcome) {
        let outcome = match outcome {
            S3Outcome::Done => "done",
            S3Outcome::Refused => "refused",
            S3Outcome::Unavailable => "away",
        };
        self.inner.s3_requests.get_or_create(&[("outcome", outcome)]).inc();
    }

    pub fn live_published(&self, kind: LiveKind) {
        self.inner.live[kind as usize].inc();
    }

    /// Counts an event that was rendered: if `shared`, once for all subscriptions with the same document, else for one
    /// viewer.
    pub fn renders(&self, shared: bool) {
        self.inner.renders[usize::from(!shared)].inc();
    }
}

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
