//! Metrics of e-mails and SMS.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::{Builder, Counters, Labels, Open};

/// The metrics of one node's notices. Cheap to clone.
#[derive(Clone)]
pub struct NoticeMetrics(Arc<Inner>);

/// The metrics of each [`NoticeChannel`].
struct Inner {
    sent: [Counter; 2],
    failed: [Counter; 2],
    queued: [Gauge; 2],
}

/// How a notice is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeChannel {
    Email,
    Sms,
}

impl NoticeMetrics {
    pub(super) fn new(builder: &mut Builder) -> Self {
        const CHANNELS: [&str; 2] = ["email", "sms"];
        let outcomes: Counters<2> = builder.counters(
            "parlance_notices_total",
            "`channel`: email, sms; `outcome`: sent, failed",
            "E-mails and SMS that a server has accepted, or that were given up.",
        );
        let queued: Family<Labels<1>, Gauge> = builder.gauges(
            "parlance_notices_queued",
            "`channel`: email, sms",
            "E-mails and SMS that wait to be sent, also those that wait for a further attempt.",
        );
        let counters = |outcome| {
            CHANNELS.map(|channel| outcomes.get_or_create_owned(&[("channel", channel), ("outcome", outcome)]))
        };
        Self(Arc::new(Inner {
            sent: counters("sent"),
            failed: counters("failed"),
            queued: CHANNELS.map(|channel| queued.get_or_create_owned(&[("channel", channel)])),
        }))
    }

    pub fn sent(&self, channel: NoticeChannel) {
        self.0.sent[channel as usize].inc();
    }

    pub fn failed(&self, channel: NoticeChannel) {
        self.0.failed[channel as usize].inc();
    }

    /// Counts a notice as queued, until the returned value is dropped.
    pub fn queued(&self, channel: NoticeChannel) -> Open {
        Open::new(&self.0.queued[channel as usize])
    }
}
