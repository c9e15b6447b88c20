//! Metrics of push notifications.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::{Builder, Counters};

/// Upper bounds of the histogram buckets for the time of a push, in seconds.
const DURATIONS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
const TRANSPORTS: [&str; 4] = ["web_push", "unified_push", "fcm", "apns"];
const OUTCOMES: [&str; 4] = ["delivered", "gone", "retry", "refused"];

/// The metrics of one node's pushes. Cheap to clone.
#[derive(Clone)]
pub struct PushMetrics(Arc<Inner>);

struct Inner {
    sent: Counters<2>,
    duration: Histogram,
    queue: Gauge,
}

impl PushMetrics {
    pub(super) fn new(builder: &mut Builder) -> Self {
        let sent: Counters<2> = builder.counters(
            "parlance_push_sent_total",
            format!("`transport`: {}; `outcome`: {}", TRANSPORTS.join(", "), OUTCOMES.join(", ")),
            "Attempts to send a push, by the answer. `gone` means that the subscription no longer exists, `retry` that \
             another attempt may follow, and `refused` that no attempt would succeed.",
        );
        // Each counter exists from the start, so that its first push is visible as an increase.
        for transport in TRANSPORTS {
            for outcome in OUTCOMES {
                sent.get_or_create_owned(&[("transport", transport), ("outcome", outcome)]);
            }
        }
        Self(Arc::new(Inner {
            sent,
            duration: builder.histogram(
                "parlance_push_duration_seconds",
                "Seconds from the start of an attempt to send a push to the answer of the push service.",
                DURATIONS,
            ),
            queue: builder.gauge(
                "parlance_push_queue_length",
                "Deliveries: pushes that wait to be sent by any node, including those that wait for a retry.",
            ),
        }))
    }

    /// Counts an attempt to send a push.
    pub fn sent(&self, transport: &'static str, outcome: &'static str, after: Duration) {
        self.0.sent.get_or_create(&[("transport", transport), ("outcome", outcome)]).inc();
        self.0.duration.observe(after.as_secs_f64());
    }

    /// Sets the number of pushes that wait to be sent.
    pub fn set_queue_length(&self, deliveries: i64) {
        self.0.queue.set(deliveries);
    }
}
