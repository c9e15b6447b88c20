//! Measures the time from send to receipt at several shares of the maximum rate of messages.

use anyhow::{Context as _, Result};
use parlance_load::ledger::Violations;
use parlance_load::load::{Outcome, Pace};
use parlance_load::report::{aligned, decimal, percent};
use serde::Serialize;

use super::options::Options;
use super::report::Goal;
use super::stage::{Scratch, Stage, measure, pairs};

/// Shares of the maximum rate, and the goal for the p99 at each share, in ms.
const SHARES: [(f64, f64); 2] = [(0.1, 10.0), (0.5, 25.0)];

#[derive(Serialize)]
pub(super) struct Latencies {
    redis: bool,
    senders: u16,
    /// Result at the maximum rate: each sender sends its next message when its previous message is acknowledged.
    greatest: Outcome,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    share: f64,
    rate: f64,
    goal_ms: f64,
    outcome: Outcome,
}

pub(super) async fn run(options: &Options, scratch: &Scratch) -> Result<Latencies> {
    let redis = options.redis_url.as_deref();
    let stage = Stage::open(options, scratch, "latency", redis, &[]).await?;
    let measured = at_rates(&stage, options, redis.is_some()).await;
    stage.close().await?;
    measured
}

async fn at_rates(stage: &Stage, options: &Options, redis: bool) -> Result<Latencies> {
    let people = stage.accounts("latency", 2 * u32::from(options.senders)).await?;
    let rooms = pairs(stage.address(), &people).await?;
    let greatest = measure(&stage.server, &rooms, Pace::Acknowledged, options).await.context("the maximum rate")?;
    let mut rows = Vec::new();
    for (share, goal_ms) in SHARES {
        let rate = greatest.total.sends_per_second * share;
        let outcome = measure(&stage.server, &rooms, Pace::Rate(rate), options).await?;
        rows.push(Row { share, rate, goal_ms, outcome });
    }
    Ok(Latencies { redis, senders: options.senders, greatest, rows })
}

impl Latencies {
    pub(super) fn table(&self) -> String {
        let redis_label = if self.redis { "with Redis" } else { "without Redis" };
        let head = [
            format!("{} senders {redis_label}", self.senders),
            "target/s".to_owned(),
            "sends/s".to_owned(),
            "ack p50".to_owned(),
            "p99".to_owned(),
            "receipt p50".to_owned(),
            "p99".to_owned(),
            "max".to_owned(),
            "server".to_owned(),
            "clients".to_owned(),
            "others".to_owned(),
        ];
        let line = |name: String, asked: f64, outcome: &Outcome| {
            let (total, usage) = (&outcome.total, &outcome.usage);
            [
                name,
                decimal(asked, 0),
                decimal(total.sends_per_second, 0),
                decimal(total.acknowledgement.p50, 2),
                decimal(total.acknowledgement.p99, 2),
                decimal(total.receipt.p50, 2),
                decimal(total.receipt.p99, 2),
                decimal(total.receipt.max, 2),
                percent(usage.servers),
                percent(usage.clients),
                percent(usage.others),
            ]
        };
        let mut lines = vec![head, line("the maximum rate".to_owned(), f64::NAN, &self.greatest)];
        lines.extend(self.rows.iter().map(|row| line(row.name(), row.rate, &row.outcome)));
        aligned(&lines)
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let goal = |row: &Row| {
            Goal::at_most(
                format!("p99 from send to receipt in ms, {}", row.name()),
                row.outcome.total.receipt.p99,
                row.goal_ms,
            )
        };
        self.rows.iter().map(goal).collect()
    }

    /// Returns bars for the p99 of the time from send to receipt, in ms.
    pub(super) fn bars(&self) -> Vec<(String, f64, usize)> {
        self.rows.iter().map(|row| (row.name(), row.outcome.total.receipt.p99, 0)).collect()
    }

    pub(super) fn violations(&self) -> Vec<(String, Violations)> {
        let rows = self.rows.iter().map(|row| (row.name(), row.outcome.violations()));
        rows.chain([("the maximum rate".to_owned(), self.greatest.violations())]).collect()
    }
}

impl Row {
    fn name(&self) -> String {
        format!("at {:.0} % of the maximum rate", self.share * 100.0)
    }
}
