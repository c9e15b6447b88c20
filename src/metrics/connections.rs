//! Metrics of TCP connections.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::{Builder, Open};

/// The metrics of one node's TCP connections. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionMetrics(Arc<Inner>);

struct Inner {
    open: Gauge,
    /// One counter for each [`Refusal`].
    refused: [Counter; 3],
    timed_out: Counter,
    accept_errors: Counter,
    unfinished_bytes: Gauge,
    unfinished_refused: Counter,
}

/// The limit that a refused connection, request or socket would have exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Limit of all connections of the node.
    Total,
    /// Limit of the connections of one client address.
    Address,
    /// Limit of the sockets of one client address on which no user has signed in.
    Anonymous,
}

impl Refusal {
    const ALL: [Self; 3] = [Self::Total, Self::Address, Self::Anonymous];

    /// Returns the name of the setting that contains the limit.
    pub const fn setting(self) -> &'static str {
        match self {
            Self::Total => "MAX_CONNECTIONS",
            Self::Address => "MAX_CONNECTIONS_PER_ADDRESS",
            Self::Anonymous => "SOCKET_MAX_ANONYMOUS_PER_ADDRESS",
        }
    }
}

impl ConnectionMetrics {
    pub(super) fn new(builder: &mut Builder) -> Self {
        Self(Arc::new(Inner {
            open: builder.gauge("parlance_connections_open", "TCP connections."),
            refused: builder.counters_of(
                "parlance_connections_refused_total",
                ("limit", Refusal::ALL.map(Refusal::setting)),
                "Connections that were closed at once because a limit was reached. Behind trusted proxies also requests \
                 and sockets that were answered with 429.",
            ),
            timed_out: builder.counter(
                "parlance_connections_timed_out_total",
                "Connections that were closed because no request came, or its headers were not complete in time.",
            ),
            accept_errors: builder.counter(
                "parlance_accept_errors_total",
                "Times that no connection could be accepted, such as for too many open files.",
            ),
            unfinished_bytes: builder.gauge(
                "parlance_unfinished_bytes",
                "Bytes reserved for request bodies and WebSocket messages that are not complete.",
            ),
            unfinished_refused: builder.counter(
                "parlance_unfinished_refused_total",
                "Request bodies and WebSocket messages that were refused for lack of MAX_UNFINISHED_BYTES.",
            ),
        }))
    }

    pub fn connection(&self) -> Open {
        Open::new(&self.0.open)
    }

    pub fn refused(&self, refusal: Refusal) {
        self.0.refused[refusal as usize].inc();
    }

    pub fn timed_out(&self) {
        self.0.timed_out.inc();
    }

    pub fn accept_failed(&self) {
        self.0.accept_errors.inc();
    }

    pub fn unfinished_bytes(&self, bytes: usize) {
        self.0.unfinished_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    pub fn unfinished_refused(&self) {
        self.0.unfinished_refused.inc();
    }
}
