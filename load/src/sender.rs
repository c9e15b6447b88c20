//! A sender: one connection that sends messages.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{sleep, sleep_until, timeout_at};

use crate::client::Client;
use crate::label::Label;
use crate::load::{Pace, Sender, Shared};
use crate::numbers::length;

pub const BODY: &str = "Shall we meet at the station at half past six? I'll bring the tickets.";
/// Pause after an error, so that a server that refuses all requests is not flooded.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
/// Maximum delay that a late timer can cause. A message with a longer delay had to wait for the previous message of its
/// sender, so its latency counts from the time at which the message was due.
const TIMER_TOLERANCE: Duration = Duration::from_millis(2);
/// Time after the end of the measurement until which requests are retried.
const RETRY_TIMEOUT: Duration = Duration::from_mins(1);

/// Decides when the next message of a sender begins.
pub(crate) enum Pacer {
    Acknowledged,
    InFlight,
    Rate { next: Duration, interval: Duration },
}

impl Pacer {
    /// Creates the pacer of sender number `sender` of `count` senders.
    pub(crate) fn new(pace: Pace, sender: usize, count: usize) -> Self {
        match pace {
            Pace::Acknowledged => Self::Acknowledged,
            Pace::InFlight(_) => Self::InFlight,
            Pace::Rate(rate) => {
                let interval = Duration::from_secs_f64(length(count) / rate);
                Self::Rate { next: interval.mul_f64(length(sender) / length(count)), interval }
            }
        }
    }

    /// Waits until the next message begins. Returns the time from which its latency counts. None if the load is over.
    async fn next(&mut self, shared: &Shared) -> Option<Duration> {
        let end = shared.timeline.window().end;
        let begun = match self {
            Self::Acknowledged => shared.watch.now(),
            Self::InFlight => {
                timeout_at(shared.watch.at(end), shared.permits.acquire()).await.ok()?.ok()?.forget();
                shared.watch.now()
            }
            Self::Rate { next, interval } => {
                let due = *next;
                *next += *interval;
                if due >= end {
                    return None;
                }
                sleep_until(shared.watch.at(due)).await;
                let now = shared.watch.now();
                if now.saturating_sub(due) < TIMER_TOLERANCE { now } else { due }
            }
        };
        (begun < end).then_some(begun)
    }
}

/// Sends messages until the load is over.
pub(crate) async fn run(shared: Arc<Shared>, index: usize, sender: Sender, client: Client, mut pacer: Pacer) {
    let mut connection = Some(client);
    let number = u32::try_from(index).unwrap_or(u32::MAX);
    for (count, (room, account)) in (0..).zip(sender.turns.iter().cycle()) {
        let Some(begun) = pacer.next(&shared).await else { return };
        let label = Label { room: *room, sender: number, index: count, begun };
        let Some(conversation) = usize::try_from(*room).ok().and_then(|room| shared.rooms.get(room)) else { return };
        let mut tried = 0;
        loop {
            let sent = send(&shared, &mut connection, index + tried, async |client: &mut Client| {
                client.send_message(account, conversation, &label.to_string(), BODY).await
            });
            match sent.await {
                Ok(answer) => {
                    let listeners = shared.ledger.acknowledged(label, answer);
                    shared.timeline.sent(begun, shared.watch.now(), listeners);
                    break;
                }
                Err(_) if shared.persistent && shared.watch.now() < shared.timeline.window().end + RETRY_TIMEOUT => {
                    shared.retries.fetch_add(1, Ordering::Relaxed);
                    tried += 1;
                }
                Err(error) => {
                    shared.ledger.unacknowledged(label);
                    shared.ledger.violation(format!("message {label} was not acknowledged: {error:#}"));
                    shared.permits.add_permits(1);
                    break;
                }
            }
            sleep(ERROR_PAUSE).await;
        }
    }
}

/// Sends a request on the open connection, or on a new one if the last request failed.
async fn send(
    shared: &Shared,
    connection: &mut Option<Client>,
    node: usize,
    request: impl AsyncFnOnce(&mut Client) -> Result<i32>,
) -> Result<i32> {
    let mut client = match connection.take() {
        Some(client) => client,
        None => Client::connect(shared.node(node, 0)).await?,
    };
    let number = request(&mut client).await?;
    *connection = Some(client);
    Ok(number)
}
