//! The results, for people and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::Options;
use super::refusals::Refusal;

pub(super) const ALL_WELL: &str =
    "Checked: every acknowledged message reached every listener, once and in the order of its number.";
/// Violations shown; the JSON has them all.
const SHOWN: usize = 20;

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) version: &'static str,
    pub(super) processors: usize,
    pub(super) postgres: String,
    /// What else kept the machine busy in the last minute: processes that ran or waited for a processor.
    pub(super) load_before: Option<f64>,
    pub(super) seconds: u64,
    /// Settings of the server that are not its defaults.
    pub(super) settings: Vec<String>,
    pub(super) refusals: Vec<Refusal>,
    pub(super) blocks: Vec<Block>,
}

/// All that was measured of one server, and of its database alone.
#[derive(Serialize)]
pub(super) struct Block {
    pub(super) redis: bool,
    pub(super) rows: Vec<Row>,
    pub(super) pgbench: Vec<Baseline>,
    /// What the server logged as a warning or an error.
    pub(super) complaints: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) scenario: String,
    pub(super) senders: u16,
    pub(super) sends_per_second: f64,
    pub(super) receipts_per_second: f64,
    /// As many as there would be, did no listener fall behind.
    pub(super) receipts_due_per_second: f64,
    /// From the start of the request to its answer.
    pub(super) acknowledgement: Latency,
    /// From the start of the request to the event at a listener.
    pub(super) receipt: Latency,
    pub(super) checked_messages: usize,
    pub(super) checked_receipts: usize,
    pub(super) violations: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Baseline {
    pub(super) clients: u16,
    pub(super) inserts_per_second: f64,
}

/// In milliseconds.
#[derive(Serialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Latency {
    /// NaN, which JSON shows as null, where there is nothing.
    pub(super) fn of(latencies: impl Iterator<Item = Duration>) -> Self {
        let mut latencies: Vec<Duration> = latencies.collect();
        latencies.sort_unstable();
        let percentile = |percent: usize| {
            let place = (latencies.len() * percent).div_ceil(100).saturating_sub(1);
            latencies.get(place).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
        };
        Self { p50: percentile(50), p99: percentile(99) }
    }
}

impl Report {
    pub(super) fn new(options: &Options, postgres: String) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            processors: processors(),
            postgres,
            load_before: load(),
            seconds: options.seconds,
            settings: options.settings.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            refusals: Vec::new(),
            blocks: Vec::new(),
        }
    }

    pub(super) fn heading(&self) -> String {
        let settings = if self.settings.is_empty() { "its defaults".to_owned() } else { self.settings.join(" ") };
        let load = self.load_before.map(|load| format!(" Load before the start: {load}.")).unwrap_or_default();
        format!(
            "Parlance {} with {settings}; {}; {} s for each scenario, after its warm-up.\n\
             The server, Postgres, Redis and these clients all share this machine's {} processor cores.{load}\n\
             Each sender waits for its acknowledgement before it sends again. Latencies are in ms, from just before a\n\
             request is written; receipt is at a listener over WebSocket. `due` is how many receipts/s there would be,\n\
             did no listener fall behind. pgbench inserts such a row with one statement and does nothing else, by as\n\
             many clients as there are senders.\n",
            self.version, self.postgres, self.seconds, self.processors,
        )
    }

    pub(super) fn refusals_table(&self) -> String {
        let mut lines = vec![["refused, in ms", "p50", "p99", "max", "ratio", "memory, KiB"].map(str::to_owned)];
        lines.extend(self.refusals.iter().map(|refusal| {
            [
                refusal.request.clone(),
                format!("{:.2}", refusal.latency.p50),
                format!("{:.2}", refusal.latency.p99),
                format!("{:.2}", refusal.slowest_ms),
                format!("{:.1}", refusal.ratio),
                refusal.memory_kib.map_or_else(|| "?".to_owned(), |kib| format!("{kib:+}")),
            ]
        }));
        aligned(&lines)
    }

    /// Returns how many there are.
    pub(super) fn print_violations(&self) -> usize {
        let rows = self.blocks.iter().flat_map(|block| block.rows.iter().map(|row| (block.redis, row)));
        let mut count = 0;
        for (redis, violation) in rows.flat_map(|(redis, row)| row.violations.iter().map(move |words| (redis, words))) {
            count += 1;
            if count <= SHOWN {
                println!("VIOLATION, {}: {violation}", place(redis));
            }
        }
        if count > SHOWN {
            println!("… and {} more", count - SHOWN);
        }
        count
    }
}

impl Block {
    pub(super) fn table(&self) -> String {
        let mut lines = vec![
            [
                place(self.redis),
                "sends/s",
                "pgbench/s",
                "ratio",
                "ack p50",
                "p99",
                "receipt p50",
                "p99",
                "receipts/s",
                "due",
            ]
            .map(str::to_owned),
        ];
        lines.extend(self.rows.iter().map(|row| {
            let baseline = self.pgbench.iter().find(|baseline| baseline.clients == row.senders);
            let inserts = baseline.map_or(f64::NAN, |baseline| baseline.inserts_per_second);
            [
                row.scenario.clone(),
                format!("{:.0}", row.sends_per_second),
                format!("{inserts:.0}"),
                format!("{:.2}", row.sends_per_second / inserts),
                format!("{:.2}", row.acknowledgement.p50),
                format!("{:.2}", row.acknowledgement.p99),
                format!("{:.2}", row.receipt.p50),
                format!("{:.2}", row.receipt.p99),
                format!("{:.0}", row.receipts_per_second),
                format!("{:.0}", row.receipts_due_per_second),
            ]
        }));
        let mut table = aligned(&lines);
        if !self.complaints.is_empty() {
            let _ = writeln!(table, "The server logged {} warnings or errors; see above.", self.complaints.len());
        }
        table
    }
}

pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Linux alone tells.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn place(redis: bool) -> &'static str {
    if redis { "with Redis" } else { "without Redis" }
}

/// The first column to the left, the others to the right.
fn aligned<const N: usize>(lines: &[[String; N]]) -> String {
    let mut table = String::new();
    for line in lines {
        for (column, cell) in line.iter().enumerate() {
            let width = lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
            let _ = if column == 0 { write!(table, "{cell:<width$}") } else { write!(table, "  {cell:>width$}") };
        }
        table.push('\n');
    }
    table
}
