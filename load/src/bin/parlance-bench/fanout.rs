//! Measures deliveries per second in one conversation. Compares Parlance with a bare WebSocket server and with stock
//! async-graphql.

use anyhow::{Context as _, Result};
use parlance_load::ledger::Violations;
use parlance_load::load::{Outcome, Pace};
use parlance_load::numbers::float;
use parlance_load::report::{aligned, decimal, percent};
use parlance_load::server::Server;
use serde::Serialize;

use super::options::Options;
use super::report::Goal;
use super::rooms::Rooms;
use super::stage::{self, Scratch, Stage, start_other};

#[derive(Serialize)]
pub(super) struct Fanout {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    serving: Serving,
    listeners: u32,
    in_flight: u16,
    /// The server's processor time per delivery, in microseconds.
    server_micros: Option<f64>,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
enum Serving {
    Parlance,
    Bare,
    Stock,
}

pub(super) async fn run(options: &Options, scratch: &Scratch) -> Result<Fanout> {
    let most = options.listeners.iter().copied().max().unwrap_or_default();
    let named = [("MAX_GROUP_SIZE", (most + 1).max(2).to_string()), ("MAX_REQUEST_BYTES", (64 << 20).to_string())];
    let stage = Stage::open(options, scratch, "fanout", None, &named).await?;
    let rooms = Rooms::make(&stage, "fanout", &options.listeners).await?;
    let mut rows = measure(&rooms, Serving::Parlance, &stage.server, options).await?;
    let (database, _) = stage.stop().await?;

    let server = stage::start_stock(options, scratch, &database, &named).await?;
    rows.extend(measure(&rooms, Serving::Stock, &server, options).await?);
    server.stop().await?;

    // The frames of the bare server are as large as Parlance's events.
    let bytes = rows.iter().map(|row| row.outcome.total.event_bytes).filter(|bytes| bytes.is_finite());
    let frame_bytes = bytes.reduce(f64::max).context("nothing was delivered")?;
    let arguments = ["serve-bare".to_owned(), format!("--frame-bytes={frame_bytes:.0}")];
    let server = start_other(&arguments, database.url(), &[], &scratch.path().join("bare")).await?;
    rows.extend(measure(&rooms, Serving::Bare, &server, options).await?);
    server.stop().await?;
    database.remove().await?;
    Ok(Fanout { rows })
}

async fn measure(rooms: &Rooms, serving: Serving, server: &Server, options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for index in 0..rooms.len() {
        for &in_flight in &options.in_flight {
            let (listeners, room) = rooms.with_senders(index, in_flight)?;
            let pace = Pace::InFlight(in_flight.into());
            let outcome = stage::measure(server, &[room], pace, options).await;
            let outcome = outcome.with_context(|| format!("{}, {listeners} listeners", serving.name()))?;
            let server_micros = outcome.server_micros();
            rows.push(Row { serving, listeners, in_flight, server_micros, outcome });
        }
    }
    Ok(rows)
}

impl Fanout {
    pub(super) fn table(&self) -> String {
        let head = [
            "one conversation",
            "deliveries/s",
            "ratio",
            "server µs each",
            "ratio",
            "receipt p50",
            "p99",
            "server",
            "clients",
            "others",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        for row in self.in_order() {
            let (total, usage) = (&row.outcome.total, &row.outcome.usage);
            let (rate, micros) = self.ratios(row);
            lines.push([
                row.name(),
                decimal(total.deliveries_per_second, 0),
                decimal(rate, 2),
                decimal(row.server_micros, 2),
                decimal(micros, 2),
                decimal(total.receipt.p50, 2),
                decimal(total.receipt.p99, 2),
                percent(usage.servers),
                percent(usage.clients),
                percent(usage.others),
            ]);
        }
        aligned(&lines)
            + "Ratios: Parlance's deliveries/s divided by the other server's; the other server's time by Parlance's.\n"
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for row in self.in_order().into_iter().filter(|row| row.serving != Serving::Parlance) {
            let wanted = match (row.serving, row.in_flight) {
                (Serving::Bare, 1) => 1.0,
                (Serving::Bare, 4) => 2.0,
                (Serving::Stock, _) => 3.0,
                _ => continue,
            };
            let (rate, micros) = self.ratios(row);
            let name = |what: &str| format!("{what} compared with {}", row.name());
            goals.push(Goal::at_least(name("deliveries/s"), rate.unwrap_or(f64::NAN), wanted));
            goals.push(Goal::shown(name("server time"), micros.unwrap_or(f64::NAN)));
        }
        goals
    }

    pub(super) fn bars(&self) -> Vec<(String, f64, usize)> {
        self.in_order().iter().map(|row| (row.name(), row.outcome.total.deliveries_per_second, row.kind())).collect()
    }

    pub(super) fn micros(&self) -> Vec<(String, f64, usize)> {
        self.in_order().iter().map(|row| (row.name(), row.server_micros.unwrap_or(f64::NAN), row.kind())).collect()
    }

    pub(super) fn violations(&self) -> Vec<(String, Violations)> {
        self.rows.iter().map(|row| (row.name(), row.outcome.violations())).collect()
    }

    /// Returns the rows, sorted so that rows to compare are next to each other.
    fn in_order(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (row.listeners, row.in_flight, row.kind()));
        rows
    }

    /// Returns two ratios that are above 1 if Parlance is faster than the server of `row`: Parlance's deliveries per
    /// second divided by those of the server, and the server's time per delivery divided by Parlance's time.
    fn ratios(&self, row: &Row) -> (Option<f64>, Option<f64>) {
        let same = |other: &&Row| {
            other.serving == Serving::Parlance && other.listeners == row.listeners && other.in_flight == row.in_flight
        };
        let Some(parlance) = self.rows.iter().find(same) else { return (None, None) };
        let rate = parlance.outcome.total.deliveries_per_second / row.outcome.total.deliveries_per_second;
        let micros = row.server_micros.zip(parlance.server_micros).map(|(other, own)| other / own);
        (Some(rate), micros)
    }
}

impl Row {
    fn name(&self) -> String {
        let listeners = decimal(float(self.listeners.into()), 0);
        format!("{}, {listeners} listeners, {} in flight", self.serving.name(), self.in_flight)
    }

    fn kind(&self) -> usize {
        match self.serving {
            Serving::Parlance => 0,
            Serving::Bare => 1,
            Serving::Stock => 2,
        }
    }
}

impl Serving {
    fn name(self) -> &'static str {
        match self {
            Self::Parlance => "Parlance",
            Self::Bare => "bare axum",
            Self::Stock => "stock async-graphql",
        }
    }
}
