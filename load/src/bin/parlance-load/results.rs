//! The results of a load, as text, JSON and SVG.

use parlance_load::load::Outcome;
use parlance_load::numbers::{float, length};
use parlance_load::plot::{Line, Plot};
use parlance_load::process::processors;
use parlance_load::report::{aligned, decimal, percent};
use parlance_load::timeline::Span;
use serde::Serialize;

use super::options::{Options, Size};
use super::world::World;

#[derive(Serialize)]
pub(super) struct Results {
    version: &'static str,
    processors: usize,
    conversations: Vec<Size>,
    rooms: usize,
    senders: u16,
    rate: Option<f64>,
    churn_percent: f64,
    memory: Memory,
    /// The servers' processor time per delivery, in microseconds.
    server_micros: Option<f64>,
    pub(super) outcome: Outcome,
}

/// Resident memory of the servers, in KiB.
#[derive(Serialize)]
struct Memory {
    before_connecting: Option<i64>,
    at_the_end: Option<i64>,
    /// Growth of the memory until the end, divided by the number of listeners.
    each_connection: Option<f64>,
}

impl Memory {
    fn of(before_connecting: Option<i64>, outcome: &Outcome) -> Self {
        let at_the_end = outcome.usage.resident_kib;
        let each_connection = at_the_end
            .zip(before_connecting)
            .map(|(end, before)| float(u64::try_from(end - before).unwrap_or_default()) / length(outcome.listeners));
        Self { before_connecting, at_the_end, each_connection }
    }
}

impl Results {
    pub(super) fn new(options: &Options, world: &World, resident_before: Option<i64>, outcome: Outcome) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processors: processors(),
            conversations: options.conversations.clone(),
            rooms: world.rooms.len(),
            senders: options.senders,
            rate: options.rate,
            churn_percent: options.churn,
            memory: Memory::of(resident_before, &outcome),
            server_micros: outcome.server_micros(),
            outcome,
        }
    }

    pub(super) fn table(&self) -> String {
        let Outcome { total, usage, listeners, .. } = &self.outcome;
        let ms = |latency: f64| decimal(latency, 2);
        let kib = |kib: Option<i64>| kib.map_or_else(|| "?".to_owned(), |kib| kib.to_string());
        let lines = [
            ["", "per second", "p50 ms", "p99 ms", "max ms"].map(str::to_owned),
            [
                "sends acknowledged".to_owned(),
                decimal(total.sends_per_second, 0),
                ms(total.acknowledgement.p50),
                ms(total.acknowledgement.p99),
                ms(total.acknowledgement.max),
            ],
            [
                format!("deliveries to {listeners} listeners"),
                decimal(total.deliveries_per_second, 0),
                ms(total.receipt.p50),
                ms(total.receipt.p99),
                ms(total.receipt.max),
            ],
        ];
        format!(
            "{}\nDeliveries due per second: {}. Reconnects: {}. Retried requests: {}.\n\
             Shares of {} processors: servers {} ({} µs per delivery), this program {}, other processes {}.\n\
             Resident memory of the servers: {} KiB before the listeners connected, {} KiB at the end, {} KiB for each \
             connection.\nChecked: {} messages, {} deliveries.",
            aligned(&lines),
            decimal(total.due_per_second, 0),
            self.outcome.reconnects,
            self.outcome.retries,
            self.processors,
            percent(usage.servers),
            decimal(self.server_micros, 2),
            percent(usage.clients),
            percent(usage.others),
            kib(self.memory.before_connecting),
            kib(self.memory.at_the_end),
            decimal(self.memory.each_connection, 1),
            self.outcome.checked_messages,
            self.outcome.checked_deliveries,
        )
    }

    pub(super) fn svg(&self) -> String {
        let line = |name, value: fn(&Span) -> f64| Line {
            name,
            points: self.outcome.spans.iter().map(|span| (span.seconds, value(span))).collect(),
        };
        let mut plot = Plot::default();
        plot.lines("Messages acknowledged per second", &[line("sends/s", |span| span.sends_per_second)]);
        plot.lines(
            "Deliveries per second",
            &[line("due", |span| span.due_per_second), line("delivered", |span| span.deliveries_per_second)],
        );
        plot.lines(
            "From send to receipt, ms",
            &[line("p50", |span| span.receipt.p50), line("p99", |span| span.receipt.p99)],
        );
        plot.finish()
    }
}
