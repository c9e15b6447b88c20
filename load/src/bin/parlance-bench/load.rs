//! One scenario: closed-loop senders, those who listen, and what they saw.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Stopwatch;
use super::client::{Account, Client};
use super::listener::{Heard, Listener};

/// Until caches, connections and plans are warm.
const WARM_UP: Duration = Duration::from_secs(2);
/// Without any event for so long, what has not come is taken for lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longer than the server's own look at Postgres: an event that comes twice has come by then.
const AFTERMATH: Duration = Duration::from_millis(1500);
/// After an error, so that a server that refuses everything is not flooded.
const AFTER_ERROR: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(20);
pub(super) const BODY: &str = "Shall we meet at the station at half past six? I'll bring the tickets.";

/// Who sends and who listens in one conversation.
pub(super) struct Room {
    pub(super) conversation: String,
    pub(super) senders: Vec<Account>,
    pub(super) listeners: Vec<Account>,
}

/// Travels as the clientId and tells a listener whose message it is, and when its request was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Label {
    pub(super) sender: usize,
    pub(super) place: usize,
    pub(super) begun: Duration,
}

/// A message that the server has acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) label: Label,
    pub(super) number: i32,
    pub(super) acknowledged: Duration,
}

/// What came of a conversation.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) sent: Vec<Sent>,
    /// Requests without an acknowledgement: the label, and why.
    pub(super) failures: Vec<(Label, String)>,
    pub(super) heard: Vec<Heard>,
}

/// The time that counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start: Duration,
    pub(super) end: Duration,
}

impl Label {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let label = Self {
            sender: parts.next()?.parse().ok()?,
            place: parts.next()?.parse().ok()?,
            begun: Duration::from_nanos(parts.next()?.parse().ok()?),
        };
        parts.next().is_none().then_some(label)
    }
}

impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.sender, self.place, self.begun.as_nanos())
    }
}

impl Window {
    pub(super) fn holds(self, instant: Duration) -> bool {
        (self.start..self.end).contains(&instant)
    }

    pub(super) fn length(self) -> Duration {
        self.end.saturating_sub(self.start)
    }
}

/// Those who listen in one conversation, while they do.
struct Audience {
    counts: Vec<Arc<AtomicUsize>>,
    heard: Vec<JoinHandle<Heard>>,
}

/// Runs all the rooms at once.
pub(super) async fn run(
    address: SocketAddr,
    rooms: &[Room],
    length: Duration,
    watch: Stopwatch,
) -> Result<(Window, Vec<Outcome>)> {
    let stop = CancellationToken::new();
    let mut audiences = Vec::new();
    let mut clients = Vec::new();
    for room in rooms {
        audiences.push(Audience::gather(address, room, watch, &stop).await?);
        clients.push(try_join_all(room.senders.iter().map(|sender| Client::connect(address, Some(sender)))).await?);
    }
    let start = watch.now() + WARM_UP;
    let window = Window { start, end: start + length };
    let sending: Vec<Vec<_>> = rooms
        .iter()
        .zip(clients)
        .map(|(room, clients)| {
            let send =
                |(place, client)| tokio::spawn(send(client, place, room.conversation.clone(), window.end, watch));
            clients.into_iter().enumerate().map(send).collect()
        })
        .collect();
    let mut outcomes = Vec::new();
    for senders in sending {
        let mut outcome = Outcome::default();
        for sender in senders {
            let (sent, failures) = sender.await?;
            outcome.sent.extend(sent);
            outcome.failures.extend(failures);
        }
        outcomes.push(outcome);
    }
    until_heard(&audiences, &outcomes, watch).await;
    sleep(AFTERMATH).await;
    stop.cancel();
    for (outcome, audience) in outcomes.iter_mut().zip(audiences) {
        for heard in audience.heard {
            outcome.heard.push(heard.await?);
        }
    }
    Ok((window, outcomes))
}

impl Audience {
    async fn gather(address: SocketAddr, room: &Room, watch: Stopwatch, stop: &CancellationToken) -> Result<Self> {
        let connecting =
            room.listeners.iter().map(|account| Listener::connect(address, account, &room.conversation, watch));
        let mut audience = Self { counts: Vec::new(), heard: Vec::new() };
        for listener in try_join_all(connecting).await? {
            let count = Arc::new(AtomicUsize::new(0));
            audience.heard.push(tokio::spawn(listener.listen(Arc::clone(&count), stop.clone())));
            audience.counts.push(count);
        }
        Ok(audience)
    }

    fn counts(&self) -> impl Iterator<Item = usize> {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed))
    }
}

/// A sender in a closed loop: its next message begins when the last one is acknowledged.
async fn send(
    mut client: Client,
    sender: usize,
    conversation: String,
    end: Duration,
    watch: Stopwatch,
) -> (Vec<Sent>, Vec<(Label, String)>) {
    let (mut sent, mut failures) = (Vec::new(), Vec::new());
    for place in 0.. {
        let label = Label { sender, place, begun: watch.now() };
        if label.begun >= end {
            break;
        }
        match client.send_message(&conversation, &label.to_string(), BODY).await {
            Ok(number) => sent.push(Sent { label, number, acknowledged: watch.now() }),
            Err(error) => {
                failures.push((label, format!("{error:#}")));
                sleep(AFTER_ERROR).await;
            }
        }
    }
    (sent, failures)
}

/// Until every listener has as many messages as were acknowledged, or none has come for long.
async fn until_heard(audiences: &[Audience], outcomes: &[Outcome], watch: Stopwatch) {
    let (mut total, mut since) = (0, watch.now());
    loop {
        let complete = audiences
            .iter()
            .zip(outcomes)
            .all(|(audience, outcome)| audience.counts().all(|count| count >= outcome.sent.len()));
        let now = audiences.iter().flat_map(Audience::counts).sum();
        if now > total {
            (total, since) = (now, watch.now());
        }
        if complete || watch.now().saturating_sub(since) > PATIENCE {
            return;
        }
        sleep(LOOK).await;
    }
}
