//! Which loads are measured.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::client::{Account, Client};
use super::load::{Room, Window, run};
use super::report::{Latency, Row};
use super::{Options, Stopwatch, check, load};

/// Who registers at once: enough for all processors, and fewer than the server lets wait for one.
const REGISTERING: usize = 16;

/// As many pairs as there are senders, and one more for the scenario of a single sender, whose conversation must be new.
struct People {
    pairs: Vec<(Account, Account)>,
    single: (Account, Account),
}

pub(super) async fn run_all(address: SocketAddr, options: &Options, watch: Stopwatch) -> Result<Vec<Row>> {
    let people = People::register(address, usize::from(options.senders)).await.context("registering")?;
    let senders = options.senders;
    let single = std::slice::from_ref(&people.single);
    let plans = [
        ("1 sender".to_owned(), 1, direct(address, single).await?),
        (format!("{senders} senders, {senders} conversations"), senders, direct(address, &people.pairs).await?),
        (format!("{senders} senders, one group, 1 listens"), senders, vec![people.group(address, false).await?]),
        (format!("{senders} senders, one group, all listen"), senders, vec![people.group(address, true).await?]),
    ];
    let length = Duration::from_secs(options.seconds);
    let mut rows = Vec::new();
    for (name, senders, rooms) in plans {
        let (window, outcomes) = run(address, &rooms, length, watch).await.with_context(|| name.clone())?;
        rows.push(row(name, senders, window, &outcomes));
    }
    Ok(rows)
}

impl People {
    async fn register(address: SocketAddr, pairs: usize) -> Result<Self> {
        let pair = async |place: usize| {
            let mut client = Client::connect(address, None).await?;
            let (sender, listener) = (format!("sender{place}"), format!("listener{place}"));
            anyhow::Ok((client.register(&sender).await?, client.register(&listener).await?))
        };
        let pairs = stream::iter((1..=pairs).map(pair)).buffered(REGISTERING).try_collect().await?;
        Ok(Self { pairs, single: pair(0).await? })
    }

    /// All senders and one listener in a new group.
    async fn group(&self, address: SocketAddr, all_listen: bool) -> Result<Room> {
        let senders: Vec<Account> = self.pairs.iter().map(|(sender, _)| sender.clone()).collect();
        let (owner, listener) = &self.single;
        let others: Vec<&str> = senders.iter().chain([listener]).map(|account| account.id.as_str()).collect();
        let conversation = Client::connect(address, Some(owner)).await?.create_group("The bench", &others).await?;
        let listeners = if all_listen { senders.clone() } else { vec![listener.clone()] };
        Ok(Room { conversation, senders, listeners })
    }
}

/// A direct conversation for each pair, where the one sends and the other listens.
async fn direct(address: SocketAddr, pairs: &[(Account, Account)]) -> Result<Vec<Room>> {
    try_join_all(pairs.iter().map(async |(sender, listener)| {
        let conversation = Client::connect(address, Some(sender)).await?.open_direct(listener).await?;
        anyhow::Ok(Room { conversation, senders: vec![sender.clone()], listeners: vec![listener.clone()] })
    }))
    .await
}

fn row(scenario: String, senders: u16, window: Window, outcomes: &[load::Outcome]) -> Row {
    let sent = || outcomes.iter().flat_map(|outcome| &outcome.sent);
    let received = || outcomes.iter().flat_map(|outcome| &outcome.heard).flat_map(|heard| &heard.receipts);
    let rate = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / window.length().as_secs_f64();
    let acknowledgement = sent()
        .filter(|sent| window.holds(sent.label.begun))
        .map(|sent| sent.acknowledged.saturating_sub(sent.label.begun));
    let receipt = received()
        .filter(|receipt| window.holds(receipt.label.begun))
        .map(|receipt| receipt.at.saturating_sub(receipt.label.begun));
    // One for each listener of each message that was acknowledged in time.
    let due = outcomes
        .iter()
        .map(|outcome| outcome.sent.iter().filter(|sent| window.holds(sent.acknowledged)).count() * outcome.heard.len())
        .sum::<usize>();
    let received_in_time = received().filter(|receipt| window.holds(receipt.at)).count();
    Row {
        senders,
        sends_per_second: rate(sent().filter(|sent| window.holds(sent.acknowledged)).count()),
        receipts_per_second: rate(received_in_time),
        receipts_due_per_second: rate(due),
        acknowledgement: Latency::of(acknowledgement),
        receipt: Latency::of(receipt),
        checked_messages: sent().count(),
        checked_receipts: received().count(),
        violations: outcomes.iter().flat_map(|outcome| check::violations(&scenario, outcome)).collect(),
        scenario,
    }
}
