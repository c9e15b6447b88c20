//! Measures messages per second and their latency. Compares the rate with inserts of pgbench into the same Postgres.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use parlance_load::client::{Account, Client};
use parlance_load::ledger::Violations;
use parlance_load::load::{Outcome, Pace};
use parlance_load::report::{aligned, decimal, percent};
use serde::Serialize;

use super::options::Options;
use super::pgbench::{Baseline, Pgbench};
use super::report::Goal;
use super::stage::{Room, Scratch, Stage, measure, pairs};

/// The results of one server, and of pgbench with the server's database.
#[derive(Serialize)]
pub(super) struct Sends {
    redis: bool,
    rows: Vec<Row>,
    pgbench: Vec<Baseline>,
    /// Number of warnings and errors that the server logged.
    complaints: usize,
}

#[derive(Serialize)]
struct Row {
    scenario: String,
    senders: u16,
    outcome: Outcome,
}

pub(super) async fn run(options: &Options, scratch: &Scratch, redis: Option<&str>, pgbench: &Pgbench) -> Result<Sends> {
    let name = if redis.is_some() { "redis" } else { "memory" };
    let stage = Stage::open(options, scratch, name, redis, &[]).await?;
    let rows = scenarios(&stage, options).await;
    let (database, complaints) = stage.stop().await?;
    let rows = rows?;
    let pgbench = pgbench.run(database.url(), options, scratch.path()).await?;
    database.remove().await?;
    Ok(Sends { redis: redis.is_some(), rows, pgbench, complaints })
}

async fn scenarios(stage: &Stage, options: &Options) -> Result<Vec<Row>> {
    let (address, senders) = (stage.address(), options.senders);
    let mut people = stage.accounts("sends", 2 * u32::from(senders)).await?;
    let single = stage.accounts("single", 2).await?;
    let plans = [
        ("1 sender".to_owned(), 1, pairs(address, &single).await?),
        (format!("{senders} senders, {senders} conversations"), senders, pairs(address, &people).await?),
        {
            people.truncate(senders.into());
            let room = group(stage, &single, &people, false).await?;
            (format!("{senders} senders, one group, 1 listens"), senders, vec![room])
        },
        {
            let room = group(stage, &single, &people, true).await?;
            (format!("{senders} senders, one group, all listen"), senders, vec![room])
        },
    ];
    let mut rows = Vec::new();
    for (scenario, senders, rooms) in plans {
        let outcome = measure(&stage.server, &rooms, Pace::Acknowledged, options).await;
        rows.push(Row { outcome: outcome.with_context(|| scenario.clone())?, scenario, senders });
    }
    Ok(rows)
}

/// Creates a group of an owner, a listener and all senders. If `all_listen`, all senders listen, else only the
/// listener.
async fn group(stage: &Stage, single: &[Account], senders: &[Account], all_listen: bool) -> Result<Room> {
    let [owner, listener] = single else { anyhow::bail!("a group needs an owner and a listener") };
    let others: Vec<Account> = senders.iter().chain([listener]).cloned().collect();
    let conversation = Client::connect(stage.address()).await?.create_group(owner, "The bench", &others).await?;
    let listeners = if all_listen { senders.to_vec() } else { vec![listener.clone()] };
    Ok(Room { conversation, senders: senders.to_vec(), listeners })
}

impl Sends {
    pub(super) fn table(&self) -> String {
        let head = [
            self.redis_label(),
            "sends/s",
            "pgbench/s",
            "ratio",
            "ack p50",
            "p99",
            "receipt p50",
            "p99",
            "receipts/s",
            "due",
            "server",
            "clients",
            "others",
        ];
        let mut lines = vec![head.map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| {
            let (total, usage) = (&row.outcome.total, &row.outcome.usage);
            let inserts = self.inserts(row);
            [
                row.scenario.clone(),
                decimal(total.sends_per_second, 0),
                decimal(inserts, 0),
                decimal(total.sends_per_second / inserts, 2),
                decimal(total.acknowledgement.p50, 2),
                decimal(total.acknowledgement.p99, 2),
                decimal(total.receipt.p50, 2),
                decimal(total.receipt.p99, 2),
                decimal(total.deliveries_per_second, 0),
                decimal(total.due_per_second, 0),
                percent(usage.servers),
                percent(usage.clients),
                percent(usage.others),
            ]
        }));
        let mut table = aligned(&lines);
        if self.complaints > 0 {
            let _ = writeln!(table, "The server logged {} warnings or errors; see above.", self.complaints);
        }
        table
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let many = self.rows.iter().filter(|row| row.senders > 1).take(1);
        many.map(|row| {
            let ratio = row.outcome.total.sends_per_second / self.inserts(row);
            Goal::at_least(
                format!("sends/s {}, {}, compared with pgbench", self.redis_label(), row.scenario),
                ratio,
                1.2,
            )
        })
        .collect()
    }

    /// Returns bars for the sends/s of each scenario, and for the inserts/s of pgbench.
    pub(super) fn bars(&self) -> Vec<(String, f64, usize)> {
        let rows = self
            .rows
            .iter()
            .map(|row| (format!("{}, {}", row.scenario, self.redis_label()), row.outcome.total.sends_per_second, 0));
        let baselines = self
            .pgbench
            .iter()
            .map(|baseline| (format!("pgbench, {} clients", baseline.clients), baseline.inserts_per_second, 1));
        rows.chain(baselines).collect()
    }

    pub(super) fn violations(&self) -> Vec<(String, Violations)> {
        let name = |row: &Row| format!("{} ({})", row.scenario, self.redis_label());
        self.rows.iter().map(|row| (name(row), row.outcome.violations())).collect()
    }

    fn inserts(&self, row: &Row) -> f64 {
        let baseline = self.pgbench.iter().find(|baseline| baseline.clients == row.senders);
        baseline.map_or(f64::NAN, |baseline| baseline.inserts_per_second)
    }

    fn redis_label(&self) -> &'static str {
        if self.redis { "with Redis" } else { "without Redis" }
    }
}
