//! Measures the server's memory for clients that do not read, and whether other clients still receive their messages.

use anyhow::{Context as _, Result};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use parlance_load::client::{Account, Client};
use parlance_load::ledger::Violations;
use parlance_load::listener::Listener;
use parlance_load::load::{ListenerPlan, Outcome, Pace};
use parlance_load::numbers::float;
use parlance_load::process::resident_kib;
use parlance_load::report::{aligned, decimal};
use serde::Serialize;

use super::options::Options;
use super::report::Goal;
use super::stage::{Room, Scratch, Stage, measure};

/// Maximum number of sockets that connect at the same time.
const MAX_CONNECTING: usize = 64;
/// Number of active clients. Half of these clients send, and all of them listen.
const OTHERS: u32 = 16;
/// Number of measurements, which run one after the other.
const ROUNDS: usize = 3;
/// Maximum growth of the server's memory in MiB: the memory that the node's caches of messages, users and renderings
/// may use. Sockets that do not read must not need more.
const GOAL_MIB: f64 = 64.0;

#[derive(Serialize)]
pub(super) struct Stalled {
    sockets: u32,
    /// Resident memory of the server in KiB: one value before the first message, and one value after each round.
    resident_kib: Vec<Option<i64>>,
    rounds: Vec<Outcome>,
}

pub(super) async fn run(options: &Options, scratch: &Scratch) -> Result<Stalled> {
    let sockets = options.stalled_sockets;
    let named = [
        ("MAX_GROUP_SIZE", (sockets + OTHERS).to_string()),
        ("MAX_REQUEST_BYTES", (64 << 20).to_string()),
        // With these timeouts, sockets that do not read stay open for the whole measurement.
        ("SOCKET_WRITE_TIMEOUT", "3600".to_owned()),
        ("SOCKET_PONG_TIMEOUT", "3600".to_owned()),
    ];
    let stage = Stage::open(options, scratch, "stalled", None, &named).await?;
    let measured = measure_rounds(&stage, options, sockets).await;
    stage.close().await?;
    measured
}

async fn measure_rounds(stage: &Stage, options: &Options, sockets: u32) -> Result<Stalled> {
    let stalled = stage.accounts("stalled", sockets).await?;
    let others = stage.accounts("others", OTHERS).await?;
    let owner = others.first().context("no active clients")?;
    let everybody: Vec<Account> = stalled.iter().chain(others.iter().skip(1)).cloned().collect();
    let conversation = Client::connect(stage.address()).await?.create_group(owner, "The bench", &everybody).await?;
    let senders = others.iter().step_by(2).cloned().collect();
    let rooms = [Room { conversation, senders, listeners: others }];

    let connect = async |account: &Account| {
        Listener::connect(
            0,
            stage.address(),
            &ListenerPlan { account: account.clone(), rooms: Vec::new(), personal: false },
        )
        .await
    };
    // These sockets are open, but no task reads from them.
    let crowd: Vec<Listener> =
        stream::iter(stalled.iter().map(connect)).buffer_unordered(MAX_CONNECTING).try_collect().await?;
    let resident = || resident_kib(stage.server.pid().as_slice());
    let mut measured = Stalled { sockets, resident_kib: vec![resident()], rounds: Vec::new() };
    for _ in 0..ROUNDS {
        measured.rounds.push(measure(&stage.server, &rooms, Pace::Acknowledged, options).await?);
        measured.resident_kib.push(resident());
    }
    drop(crowd);
    Ok(measured)
}

impl Stalled {
    pub(super) fn table(&self) -> String {
        let head = [&format!("{} sockets that do not read", self.sockets), "sends/s", "receipt p50", "p99", "KiB"]
            .map(ToString::to_string);
        let before = ["before".to_owned(), String::new(), String::new(), String::new(), self.kib(0)];
        let rounds = self.rounds.iter().enumerate().map(|(round, outcome)| {
            let total = &outcome.total;
            [
                format!("round {}", round + 1),
                decimal(total.sends_per_second, 0),
                decimal(total.receipt.p50, 2),
                decimal(total.receipt.p99, 2),
                self.kib(round + 1),
            ]
        });
        aligned(&[head, before].into_iter().chain(rounds).collect::<Vec<_>>())
    }

    pub(super) fn goals(&self) -> Vec<Goal> {
        let name = format!("growth of the server's memory in MiB, {} sockets that do not read", self.sockets);
        let grown = self.memory(ROUNDS).zip(self.memory(0)).map_or(f64::NAN, |(last, first)| (last - first) / 1024.0);
        vec![Goal::at_most(name, grown, GOAL_MIB)]
    }

    pub(super) fn violations(&self) -> Vec<(String, Violations)> {
        self.rounds.iter().map(|outcome| ("with sockets that do not read".to_owned(), outcome.violations())).collect()
    }

    fn kib(&self, index: usize) -> String {
        decimal(self.memory(index).unwrap_or(f64::NAN), 0)
    }

    fn memory(&self, index: usize) -> Option<f64> {
        let kib = (*self.resident_kib.get(index)?)?;
        Some(float(u64::try_from(kib).unwrap_or_default()))
    }
}
