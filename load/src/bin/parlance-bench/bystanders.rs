//! Users who query their account at a steady rate, while another load runs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use parlance_load::client::{Account, Client};
use parlance_load::histogram::Histogram;
use parlance_load::report::Latency;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::addresses::Addresses;
use super::stage::{Stage, WARM_UP};

/// Number of users. One user alone would make too few queries for a p99 during a short load.
pub(super) const COUNT: u32 = 8;
/// Time between two queries of a user. RATE_OPERATIONS allows each user 50 operations per second.
const PERIOD: Duration = Duration::from_millis(20);
const QUERY: &str = "{ viewer { user { id username } } }";

/// Users who are not involved in the load. Each user has a separate address.
pub(super) struct Bystanders {
    server: SocketAddr,
    users: Vec<(Account, Ipv4Addr)>,
}

impl Bystanders {
    /// Makes the users, and warms the server up with their queries.
    pub(super) async fn make(stage: &Stage, addresses: &mut Addresses) -> Result<Self> {
        let accounts = stage.accounts("bystander", COUNT).await?;
        let users = accounts.into_iter().map(|account| (account, addresses.take())).collect();
        let bystanders = Self { server: stage.address(), users };
        bystanders.rest(WARM_UP).await?;
        Ok(bystanders)
    }

    /// Measures the queries for this time without another load.
    pub(super) async fn rest(&self, length: Duration) -> Result<Latency> {
        let resting = async {
            sleep(length).await;
            Ok(())
        };
        Ok(self.measure(resting).await?.1)
    }

    /// Runs a load, and returns its result and the latencies of the queries during it.
    pub(super) async fn measure<T>(&self, load: impl Future<Output = Result<T>>) -> Result<(T, Latency)> {
        let (stop, latencies) = (CancellationToken::new(), Arc::new(Histogram::default()));
        let mut tasks = JoinSet::new();
        for (place, (account, address)) in (0_u32..).zip(&self.users) {
            // The queries of the users are spread evenly over the time.
            let start = Instant::now() + PERIOD * place / COUNT;
            let client = Client::connect(self.server).await?;
            tasks.spawn(ask(client, account.clone(), *address, start, Arc::clone(&latencies), stop.clone()));
        }
        let result = load.await?;
        stop.cancel();
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok((result, Latency::of(&latencies)))
    }
}

/// Sends one query after the other until `stop` is cancelled. If a query had to wait for the one before, its latency
/// counts from the time at which it was due.
async fn ask(
    mut client: Client,
    account: Account,
    address: Ipv4Addr,
    start: Instant,
    latencies: Arc<Histogram>,
    stop: CancellationToken,
) -> Result<()> {
    let (mut ticks, mut answered) = (interval_at(start, PERIOD), start);
    while let Some(due) = stop.run_until_cancelled(ticks.tick()).await {
        let begin = if due < answered { due } else { Instant::now() };
        let response = client.forward(address, Some(&account), QUERY, &json!({})).await?;
        answered = Instant::now();
        latencies.record(answered - begin);
        let text = String::from_utf8_lossy(&response.body);
        ensure!(response.status == 200 && !text.starts_with("{\"errors\""), "a query of another user failed: {text}");
    }
    Ok(())
}
