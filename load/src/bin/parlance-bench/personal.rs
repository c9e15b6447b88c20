//! Measures deliveries per second for a GraphQL document with fields that depend on the viewer. Compares Parlance with
//! stock async-graphql, and with a document without such fields for the same listeners.

use anyhow::{Context as _, Result};
use parlance_load::ledger::Violations;
use parlance_load::load::{Outcome, Pace, run as run_load};
use parlance_load::numbers::float;
use parlance_load::report::{aligned, decimal, percent};
use parlance_load::server::Server;
use serde::Serialize;

use super::options::Options;
use super::report::Goal;
use super::rooms::Rooms;
use super::stage::{Scratch, Stage, plan, start_stock};

/// Maximum ratio of the time of a delivery in the largest group to the time of a delivery in the smallest group. Two
/// runs of the same measurement differ by about this ratio.
const LINEAR: f64 = 1.25;

#[derive(Serialize)]
pub(super) struct Personal {
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    kind: Kind,
    listeners: u32,
    /// The server's processor time per delivery, in microseconds.
    server_micros: Option<f64>,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
enum Kind {
    /// Parlance, with fields that depend on the viewer.
    Personal,
    /// Parlance, with a document without such fields.
    Shared,
    /// Stock async-graphql, with fields that depend on the viewer.
    Stock,
}

pub(super) async fn run(options: &Options, scratch: &Scratch) -> Result<Personal> {
    let sizes = &options.personal_listeners;
    let most = sizes.iter().copied().max().unwrap_or_default();
    let named = [("MAX_GROUP_SIZE", (most + 1).max(2).to_string()), ("MAX_REQUEST_BYTES", (64 << 20).to_string())];
    let stage = Stage::open(options, scratch, "personal", None, &named).await?;
    let rooms = Rooms::make(&stage, "personal", sizes).await?;
    let mut rows = Vec::new();
    for kind in [Kind::Personal, Kind::Shared] {
        for index in 0..sizes.len() {
            rows.push(measure(kind, &rooms, index, &stage.server, options).await?);
        }
    }
    let (database, _) = stage.stop().await?;

    // Stock async-graphql is measured only with the smallest group, because one message to a larger group would take a
    // large part of the measured time.
    let smallest = (0..sizes.len()).min_by_key(|index| sizes[*index]).context("--personal-listeners is empty")?;
    let server = start_stock(options, scratch, &database, &named).await?;
    rows.push(measure(Kind::Stock, &rooms, smallest, &server, options).await?);
    server.stop().await?;
    database.remove().await?;
    Ok(Personal { rows })
}

/// Measures a load in which one message is sent at a time: the next message begins when every listener has received
/// it.
async fn measure(kind: Kind, rooms: &Rooms, index: usize, server: &Server, options: &Options) -> Result<Row> {
    let (listeners, room) = rooms.with_senders(index, 1)?;
    let mut plan = plan(server, &[room], Pace::InFlight(1), options);
    for listener in &mut plan.listeners {
        listener.personal = kind != Kind::Shared;
    }
    let outcome = run_load(plan).await.with_context(|| format!("{}, {listeners} listeners", kind.name()))?;
    Ok(Row { kind, listeners, server_micros: outcome.server_micros(), outcome })
}

impl Personal {
    pub(super) fn table(&self) -> String {
        let head = [
            "one message at a time, for each viewer",
            "deliveries/s",
            "server µs each",
            "receipt p50",
            "p99",
            "server",
            "clients",
            "others",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        for row in self.in_order() {
            let (total, usage) = (&row.outcome.total, &row.outcome.usage);
            lines.push([
                row.name(),
                decimal(total.deliveries_per_second, 0),
                decimal(row.server_micros, 2),
                decimal(total.receipt.p50, 2),
                decimal(total.receipt.p99, 2),
                percent(usage.servers),
                percent(usage.clients),
                percent(usage.others),
            ]);
        }
        aligned(&lines) + "`others` includes Postgres, which runs queries for each viewer.\n"
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let mut goals = Vec::new();
        for other in self.in_order() {
            let same = |row: &&Row| row.kind == Kind::Personal && row.listeners == other.listeners;
            let Some(own) = self.rows.iter().find(same) else { continue };
            let rate = own.outcome.total.deliveries_per_second / other.outcome.total.deliveries_per_second;
            let name = format!("deliveries/s for each viewer, compared with {}", other.name());
            match other.kind {
                Kind::Stock => goals.push(Goal::at_least(name, rate, 1.0)),
                Kind::Shared => goals.push(Goal::shown(name, rate)),
                Kind::Personal => {}
            }
        }
        let personal: Vec<_> = self.in_order().into_iter().filter(|row| row.kind == Kind::Personal).collect();
        if let [first, .., last] = personal.as_slice() {
            let time = |row: &Row| 1.0 / row.outcome.total.deliveries_per_second;
            let name = |what: &str| format!("{what}, {} listeners divided by {}", last.listeners, first.listeners);
            goals.push(Goal::at_most(name("time for each delivery"), time(last) / time(first), LINEAR));
            let micros = last.server_micros.zip(first.server_micros).map_or(f64::NAN, |(last, first)| last / first);
            goals.push(Goal::at_most(name("server time for each delivery"), micros, LINEAR));
        }
        goals
    }

    pub(super) fn bars(&self) -> Vec<(String, f64, usize)> {
        let rows = self.in_order();
        rows.iter().map(|row| (row.name(), row.outcome.total.deliveries_per_second, row.kind as usize)).collect()
    }

    pub(super) fn violations(&self) -> Vec<(String, Violations)> {
        self.rows.iter().map(|row| (row.name(), row.outcome.violations())).collect()
    }

    /// Returns the rows, sorted by the number of listeners, so that rows to compare follow each other.
    fn in_order(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        rows.sort_by_key(|row| (row.listeners, row.kind as usize));
        rows
    }
}

impl Row {
    fn name(&self) -> String {
        format!("{}, {} listeners", self.kind.name(), decimal(float(self.listeners.into()), 0))
    }
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Personal => "Parlance",
            Self::Shared => "Parlance without viewer fields",
            Self::Stock => "stock async-graphql",
        }
    }
}
