//! Measures the server's memory for many idle sockets, and whether these sockets slow down messages between two other
//! users.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use parlance_load::client::Account;
use parlance_load::ledger::Violations;
use parlance_load::listener::Listener;
use parlance_load::load::{ListenerPlan, Outcome, Pace};
use parlance_load::numbers::float;
use parlance_load::process::resident_kib;
use parlance_load::report::{aligned, decimal, percent};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::options::Options;
use super::report::Goal;
use super::stage::{Room, Scratch, Stage, measure, pairs};

/// Maximum number of sockets that connect at the same time.
const MAX_CONNECTING: usize = 64;
/// Pause in which the server frees memory that it needed to accept the connections.
const SETTLING: Duration = Duration::from_secs(3);
const GOAL_KIB: f64 = 12.0;
const GOAL_RATIO: f64 = 1.2;

#[derive(Serialize)]
pub(super) struct Idle {
    sockets: u32,
    /// Resident memory of the server in KiB, before the idle sockets are opened (`before_kib`) and while they are open.
    before_kib: Option<i64>,
    with_kib: Option<i64>,
    /// Results of one sender and one listener with one message in flight: before the idle sockets are opened, while
    /// they are open, and after they are closed.
    before: Outcome,
    with: Outcome,
    after: Outcome,
    /// Errors of idle sockets that ended too early.
    ended: Vec<String>,
}

pub(super) async fn run(options: &Options, scratch: &Scratch) -> Result<Idle> {
    let stage = Stage::open(options, scratch, "idle", None, &[]).await?;
    let measured = compare(&stage, options).await;
    stage.close().await?;
    measured
}

async fn compare(stage: &Stage, options: &Options) -> Result<Idle> {
    let sockets = options.idle_sockets;
    let accounts = stage.accounts("idle", sockets).await?;
    let talking = stage.accounts("talking", 2).await?;
    let rooms = pairs(stage.address(), &talking).await?;
    let before = one(stage, &rooms, options).await?;
    sleep(SETTLING).await;
    let resident = || resident_kib(stage.server.pid().as_slice());
    let before_kib = resident();
    let stop = CancellationToken::new();
    let idle_sockets = open_inboxes(stage, &accounts, &stop).await?;
    sleep(SETTLING).await;
    let with_kib = resident();
    let with = one(stage, &rooms, options).await?;
    stop.cancel();
    let mut ended = Vec::new();
    for socket in join_all(idle_sockets).await {
        ended.extend(socket?.err().map(|error| format!("an idle socket ended: {error:#}")));
    }
    sleep(SETTLING).await;
    let after = one(stage, &rooms, options).await?;
    Ok(Idle { sockets, before_kib, with_kib, before, with, after, ended })
}

async fn one(stage: &Stage, rooms: &[Room], options: &Options) -> Result<Outcome> {
    measure(&stage.server, rooms, Pace::InFlight(1), options).await
}

/// Opens an inbox for each account. Returns a task for each inbox, which answers pings.
async fn open_inboxes(
    stage: &Stage,
    accounts: &[Account],
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<Result<()>>>> {
    let connect = async |account: &Account| {
        let plan = ListenerPlan { account: account.clone(), rooms: Vec::new(), personal: false };
        let listener = Listener::connect(0, stage.address(), &plan).await?;
        anyhow::Ok(tokio::spawn(listener.idle(stop.clone())))
    };
    let idle_sockets = stream::iter(accounts.iter().map(connect)).buffer_unordered(MAX_CONNECTING);
    idle_sockets.try_collect().await.context("connecting idle sockets")
}

impl Idle {
    pub(super) fn table(&self) -> String {
        let head = ["1 sender, 1 listener", "ack p50", "p99", "receipt p50", "p99", "server", "clients", "others"]
            .map(str::to_owned);
        let line = |name: &str, outcome: &Outcome| {
            let (total, usage) = (&outcome.total, &outcome.usage);
            [
                name.to_owned(),
                decimal(total.acknowledgement.p50, 3),
                decimal(total.acknowledgement.p99, 3),
                decimal(total.receipt.p50, 3),
                decimal(total.receipt.p99, 3),
                percent(usage.servers),
                percent(usage.clients),
                percent(usage.others),
            ]
        };
        let lines = [
            head,
            line("no idle sockets", &self.before),
            line(&format!("{} idle sockets", self.sockets), &self.with),
            line("no idle sockets again", &self.after),
        ];
        let memory = format!(
            "The server's resident memory: {} KiB without and {} KiB with {} idle sockets, so {} KiB for each.\n",
            decimal(self.before_kib.map(kib), 0),
            decimal(self.with_kib.map(kib), 0),
            self.sockets,
            decimal(self.each_kib(), 2),
        );
        aligned(&lines) + &memory
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let sockets = self.sockets;
        let none = f64::midpoint(self.before.total.receipt.p50, self.after.total.receipt.p50);
        let ratio = self.with.total.receipt.p50 / none;
        vec![
            Goal::at_most(format!("KiB of memory for each of {sockets} idle sockets"), self.each_kib(), GOAL_KIB),
            Goal::at_most(
                format!("p50 from send to receipt with {sockets} idle sockets, compared with none"),
                ratio,
                GOAL_RATIO,
            ),
        ]
    }

    /// Returns bars for the median time from send to receipt, in ms.
    pub(super) fn bars(&self) -> Vec<(String, f64, usize)> {
        let rows = [
            ("no idle sockets".to_owned(), &self.before),
            (format!("{} idle sockets", self.sockets), &self.with),
            ("no idle sockets again".to_owned(), &self.after),
        ];
        rows.map(|(name, outcome)| (name, outcome.total.receipt.p50, 0)).into()
    }

    pub(super) fn violations(&self) -> Vec<(String, Violations)> {
        let ended = Violations { count: self.ended.len(), descriptions: self.ended.clone() };
        vec![
            ("no idle sockets".to_owned(), self.before.violations()),
            ("idle sockets".to_owned(), self.with.violations()),
            ("no idle sockets again".to_owned(), self.after.violations()),
            ("idle sockets".to_owned(), ended),
        ]
    }

    fn each_kib(&self) -> f64 {
        let taken = self.with_kib.zip(self.before_kib).map(|(with, before)| kib(with - before));
        taken.map_or(f64::NAN, |taken| taken / float(self.sockets.into()))
    }
}

fn kib(value: i64) -> f64 {
    float(u64::try_from(value).unwrap_or_default())
}
