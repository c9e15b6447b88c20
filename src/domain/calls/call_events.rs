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

/// Minimum of `delivery_timeout`, even if a broken socket is detected sooner.
const MIN_DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum number of signals that one query reads. The next page is read when the client has taken all signals of this
/// page.
const PAGE_SIZE: i64 = 32;

#[derive(Clone, Debug)]
pub enum CallEvent {
    Ringing(CallId),
    Answered(CallParticipantId),
    Left(CallParticipantId),
    Ended(CallId),
    /// The state when the stream has caught up with the log. Each later change is an event.
    CaughtUp(Snapshot),
    Signal(Pending),
    /// The client has missed events. This is the last item of the stream.
    Missed,
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The calls that ring for the user, oldest first.
    pub ringing: Vec<CallId>,
    /// The call that the device is in.
    pub current: Option<CallId>,
}

/// Returns the time after which either a delivered signal has reached the device, or the device's connection is known
/// to be broken. The server drops a socket that does not answer a ping in time. An event stream breaks if TCP gets no
/// acknowledgement, but a proxy between client and server can hide this.
pub(in crate::domain) fn delivery_timeout(socket: &Socket) -> Duration {
    MIN_DELIVERY_TIMEOUT.max(socket.socket_ping_interval + socket.socket_pong_timeout)
}

impl CallEvent {
    /// Returns the event for a change. If the change is not about a call, or only reports that signals wait, returns
    /// None.
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
    /// Streams the call events of the viewer's device. The stream begins with the calls that ring now, the snapshot,
    /// and the signals that wait for this device. Signals come in the order in which they were sent, each once. The
    /// next subscription delivers the signals of about the last minute again, because the server does not know whether
    /// they have arrived. The stream ends only after `Missed`.
    pub fn events(&self, viewer: Viewer) -> impl Stream<Item = CallEvent> + Send + use<> {
        let core = self.core.clone();
        stream! {
            let mut log = core.base.log.stream(viewer.user, Interest::Calls(viewer.session), None);
            let mut ringing_calls = HashSet::new();
            let mut delivery = SignalDelivery::new(core.clone(), viewer);
            loop {
                let item = tokio::select! {
                    biased;
                    item = log.next() => item,
                    () = sleep_until(delivery.confirm_at), if delivery.is_open() => {
                        delivery.confirm().await;
                        continue;
                    }
                };
                match item {
                    // The stream already follows the tail, so changes during this query are delivered as later events.
                    Some(Item::CaughtUp(_)) => {
                        let snapshot = retry(&core, move |core| async move { Calls { core: &core }.snapshot(viewer).await }).await;
                        ringing_calls.extend(snapshot.ringing.iter().copied());
                        for &call in &snapshot.ringing {
                            yield CallEvent::Ringing(call);
                        }
                        yield CallEvent::CaughtUp(snapshot);
                        delivery.may_have_more = true;
                    }
                    Some(Item::Event(Event { change: Change::CallRinging { user, call }, .. })) => {
                        let is_ringing = retry(&core, move |core| async move { Calls { core: &core }.is_ringing(call, user).await }).await;
                        if is_ringing && ringing_calls.insert(call) {
                            yield CallEvent::Ringing(call);
                        }
                    }
                    Some(Item::Event(Event { change: Change::CallSignalled { .. }, .. })) => delivery.may_have_more = true,
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
                while delivery.may_have_more {
                    for signal in delivery.page().await {
                        yield CallEvent::Signal(signal);
                    }
                }
            }
        }
    }

    /// Returns those of the pairs in which the call still rings for the user.
    pub async fn still_ringing(&self, pairs: &[(CallId, UserId)]) -> Result<Vec<(CallId, UserId)>> {
        let connection = self.core.base.connection().await?;
        Ok(calls::still_ringing(&connection, pairs).await?)
    }

    async fn is_ringing(&self, call: CallId, user: UserId) -> Result<bool> {
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
        Ok(call_signals::pending(&mut *self.core.base.connection().await?, viewer.session, after, age, PAGE_SIZE)
            .await?)
    }

    async fn delete_signals(&self, viewer: Viewer, upto: i64) -> Result<()> {
        Ok(call_signals::delete_upto(&mut *self.core.base.connection().await?, viewer.session, upto).await?)
    }
}

/// The delivery of signals to a device by one subscription. A delivered signal is deleted when it has arrived.
struct SignalDelivery {
    core: Arc<CallsCore>,
    viewer: Viewer,
    /// Whether signals that were not read yet may be waiting.
    may_have_more: bool,
    /// `seq` of the last signal that was delivered.
    delivered: i64,
    /// `seq` of the last signal that had been delivered at the previous call of `confirm`.
    confirmed: i64,
    /// `seq` of the last signal that was deleted.
    deleted: i64,
    /// Time of the next call of `confirm`.
    confirm_at: Instant,
}

impl SignalDelivery {
    fn new(core: Arc<CallsCore>, viewer: Viewer) -> Self {
        let confirm_at = Instant::now() + core.delivery_timeout;
        Self { core, viewer, may_have_more: false, delivered: 0, confirmed: 0, deleted: 0, confirm_at }
    }

    /// Whether any delivered signal is not deleted yet.
    fn is_open(&self) -> bool {
        self.delivered > self.deleted
    }

    /// Reads the next page of waiting signals, at most `PAGE_SIZE`.
    async fn page(&mut self) -> Vec<Pending> {
        if !self.is_open() {
            self.confirm_at = Instant::now() + self.core.delivery_timeout;
        }
        let (viewer, delivered) = (self.viewer, self.delivered);
        let read = move |core: Arc<CallsCore>| async move { Calls { core: &core }.signals(viewer, delivered).await };
        let signals = retry(&self.core, read).await;
        self.may_have_more = i64::try_from(signals.len()) == Ok(PAGE_SIZE);
        self.delivered = signals.last().map_or(self.delivered, |last| last.seq);
        signals
    }

    /// Deletes the signals that were delivered before the previous call of `confirm`, because they have arrived by now.
    async fn confirm(&mut self) {
        if self.confirmed > self.deleted {
            let (viewer, confirmed) = (self.viewer, self.confirmed);
            let delete = move |core: Arc<CallsCore>| async move {
                Calls { core: &core }.delete_signals(viewer, confirmed).await
            };
            retry(&self.core, delete).await;
            self.deleted = self.confirmed;
        }
        self.confirmed = self.delivered;
        self.confirm_at = Instant::now() + self.core.delivery_timeout;
    }
}

/// Retries the work until it succeeds, so that no ring and no signal is lost while Postgres is unavailable.
async fn retry<T, F>(core: &Arc<CallsCore>, work: impl Fn(Arc<CallsCore>) -> F + Send) -> T
where
    T: Send + 'static,
    F: Future<Output = Result<T>> + Send + 'static,
{
    task::retry("reading the call events of a device failed", || work(core.clone())).await
}
