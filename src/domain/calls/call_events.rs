//! The events of calls for one device: rings, answers and ends from the log, and the signals that wait for the device.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use async_stream::stream;
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::calls::Calls;
use super::core::CallsCore;
use crate::config::Socket;
use crate::domain::error::Result;
use crate::domain::viewer::Viewer;
use crate::ids::{CallId, CallParticipantId, UserId};
use crate::log::{Change, Event, Interest, Item};
use crate::store::calls::call_signals::{self, Pending};
use crate::store::calls::calls;
use crate::task;

/// Minimum time for which delivered signals are kept, even if a broken socket is detected sooner.
const HANDED_OVER: Duration = Duration::from_secs(10);

/// Number of signals that one query reads. The next ones are read when the client has room for them.
const PAGE: i64 = 32;

#[derive(Clone, Debug)]
pub enum CallEvent {
    Ringing(CallId),
    Answered(CallParticipantId),
    Left(CallParticipantId),
    Ended(CallId),
    /// The state when the stream goes live. Every later change comes as an event.
    CaughtUp(Snapshot),
    Signal(Pending),
    /// The client has missed events. The stream ends.
    Missed,
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The calls that ring for the user, the oldest first.
    pub ringing: Vec<CallId>,
    /// The call that the device is in.
    pub current: Option<CallId>,
}

/// Time after which a delivered signal has reached the device, or its connection is known to be broken. The server
/// drops a socket that does not answer a ping in time. An event stream breaks if TCP gets no acknowledgement; a proxy
/// in between can hide that.
pub(in crate::domain) fn handed_over(socket: &Socket) -> Duration {
    HANDED_OVER.max(socket.socket_ping_interval + socket.socket_pong_timeout)
}

impl CallEvent {
    /// None if the change is not about a call, or only says that signals are waiting.
    pub fn of(change: &Change) -> Option<Self> {
        match *change {
            Change::CallRinging { call, .. } => Some(Self::Ringing(call)),
            Change::CallAnswered { participant, .. } => Some(Self::Answered(participant)),
            Change::CallLeft { participant, .. } => Some(Self::Left(participant)),
            Change::CallEnded { call, .. } => Some(Self::Ended(call)),
            _ => None,
        }
    }
}

impl Calls<'_> {
    /// A stream of the call events of the viewer's device. It begins with the calls that ring now, the snapshot, and
    /// the signals that wait for this device. Signals come in the order in which they were sent, each once. The next
    /// subscription delivers those of the last minute or so again, because the server does not know whether they have
    /// arrived. The stream ends only after `Missed`.
    pub fn events(&self, viewer: Viewer) -> impl Stream<Item = CallEvent> + Send + use<> {
        let core = self.core.clone();
        stream! {
            let mut log = core.base.log.stream(viewer.user, Interest::Calls(viewer.session), None);
            let mut rung = HashSet::new();
            let mut handover = Handover::new(core.clone(), viewer);
            loop {
                let item = tokio::select! {
                    biased;
                    item = log.next() => item,
                    () = sleep_until(handover.look_at), if handover.is_open() => {
                        handover.look().await;
                        continue;
                    }
                };
                match item {
                    // The stream follows the tail by now, so changes during this query come as later events.
                    Some(Item::CaughtUp(_)) => {
                        let snapshot = retry(&core, move |core| async move { Calls { core: &core }.snapshot(viewer).await }).await;
                        rung.extend(snapshot.ringing.iter().copied());
                        for &call in &snapshot.ringing {
                            yield CallEvent::Ringing(call);
                        }
                        yield CallEvent::CaughtUp(snapshot);
                        handover.more = true;
                    }
                    Some(Item::Event(Event { change: Change::CallRinging { user, call }, .. })) => {
                        let rings = retry(&core, move |core| async move { Calls { core: &core }.rings(call, user).await }).await;
                        if rings && rung.insert(call) {
                            yield CallEvent::Ringing(call);
                        }
                    }
                    Some(Item::Event(Event { change: Change::CallSignalled { .. }, .. })) => handover.more = true,
                    Some(Item::Event(Event { change, .. })) => {
                        if let Some(event) = CallEvent::of(&change) {
                            yield event;
                        }
                    }
                    Some(Item::ResyncRequired(_)) => {
                        yield CallEvent::Missed;
                        return;
                    }
                    Some(Item::Closed) | None => return,
                }
                while handover.more {
                    for signal in handover.page().await {
                        yield CallEvent::Signal(signal);
                    }
                }
            }
        }
    }

    /// The pairs of a call and a user in which the call still rings for the user.
    pub async fn still_ringing(&self, pairs: &[(CallId, UserId)]) -> Result<Vec<(CallId, UserId)>> {
        let connection = self.core.base.connection().await?;
        Ok(calls::still_ringing(&connection, pairs).await?)
    }

    async fn rings(&self, call: CallId, user: UserId) -> Result<bool> {
        Ok(!self.still_ringing(&[(call, user)]).await?.is_empty())
    }

    async fn snapshot(&self, viewer: Viewer) -> Result<Snapshot> {
        let mut connection = self.core.base.connection().await?;
        let ringing = calls::ringing_for(&mut connection, viewer.user).await?;
        let current = calls::of_session(&mut connection, viewer.session).await?;
        Ok(Snapshot { ringing, current })
    }

    async fn signals(&self, viewer: Viewer, after: i64) -> Result<Vec<Pending>> {
        let age = self.core.settings.call_signal_ttl.as_secs_f64();
        Ok(call_signals::pending(&mut *self.core.base.connection().await?, viewer.session, after, age, PAGE).await?)
    }

    async fn forget_signals(&self, viewer: Viewer, upto: i64) -> Result<()> {
        Ok(call_signals::delete_upto(&mut *self.core.base.connection().await?, viewer.session, upto).await?)
    }
}

/// The signals that one subscription delivers to its device, and deletes when they have arrived.
struct Handover {
    core: Arc<CallsCore>,
    viewer: Viewer,
    /// Whether unread signals may be waiting.
    more: bool,
    /// `seq` of the last signal that was delivered.
    given: i64,
    /// `seq` of the last signal that had been delivered at the previous look.
    arrived: i64,
    /// `seq` of the last signal that was deleted.
    deleted: i64,
    /// Time of the next look.
    look_at: Instant,
}

impl Handover {
    fn new(core: Arc<CallsCore>, viewer: Viewer) -> Self {
        let look_at = Instant::now() + core.handed_over;
        Self { core, viewer, more: false, given: 0, arrived: 0, deleted: 0, look_at }
    }

    /// Whether any delivered signal is not yet deleted.
    fn is_open(&self) -> bool {
        self.given > self.deleted
    }

    /// Reads the next waiting signals, at most `PAGE`.
    async fn page(&mut self) -> Vec<Pending> {
        if !self.is_open() {
            self.look_at = Instant::now() + self.core.handed_over;
        }
        let (viewer, given) = (self.viewer, self.given);
        let read = move |core: Arc<CallsCore>| async move { Calls { core: &core }.signals(viewer, given).await };
        let signals = retry(&self.core, read).await;
        self.more = i64::try_from(signals.len()) == Ok(PAGE);
        self.given = signals.last().map_or(self.given, |last| last.seq);
        signals
    }

    /// Deletes the signals that were delivered before the previous look: they have arrived.
    async fn look(&mut self) {
        if self.arrived > self.deleted {
            let (viewer, arrived) = (self.viewer, self.arrived);
            let forget =
                move |core: Arc<CallsCore>| async move { Calls { core: &core }.forget_signals(viewer, arrived).await };
            retry(&self.core, forget).await;
            self.deleted = self.arrived;
        }
        self.arrived = self.given;
        self.look_at = Instant::now() + self.core.handed_over;
    }
}

/// Retries the work until Postgres answers, so that no ring and no signal is lost.
async fn retry<T, F>(core: &Arc<CallsCore>, work: impl Fn(Arc<CallsCore>) -> F + Send) -> T
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    task::retry("reading the call events of a device failed", || work(core.clone())).await
}
