//! What a device hears of calls: rings, answers and ends from the log, and the signals that wait for it.

use std::collections::HashSet;
use std::time::Duration;

use async_stream::stream;
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, sleep_until};

use super::calls::Calls;
use super::error::Result;
use super::{App, Viewer};
use crate::apart;
use crate::config::Socket;
use crate::ids::{CallId, CallParticipantId, UserId};
use crate::log::{Change, Event, Interest, Item};
use crate::store::call_signals::{self, Pending};
use crate::store::calls;

/// The least time between two looks through signals that were handed over, however soon a dead socket is noticed.
const HANDED_OVER: Duration = Duration::from_secs(10);

/// No ring and no signal is lost because Postgres is away.
macro_rules! patiently {
    (|$app:ident| $work:expr) => {
        apart::patiently!("a device cannot hear of its calls", {
            let $app = $app.clone();
            async move { $work.await }
        })
    };
}

#[derive(Clone, Debug)]
pub enum CallEvent {
    Ringing(CallId),
    Answered(CallParticipantId),
    Left(CallParticipantId),
    Ended(CallId),
    Signal(Pending),
    /// Some were missed, and nothing follows.
    Missed,
}

/// How often signals are looked through that were handed over: those of the look before have reached the device, or its
/// connection is known to be broken, for a socket that does not answer a ping in time is dropped.
pub(super) fn handed_over(socket: &Socket) -> Duration {
    HANDED_OVER.max(socket.socket_ping_interval + socket.socket_pong_timeout)
}

impl CallEvent {
    /// None for what is of no call, and for the word that signals are waiting.
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
    /// First what rings for the viewer now and the signals that wait for this device, then what comes. Each signal
    /// once, in the order in which they were sent; those of the last minute or so come again on the next subscription,
    /// because nothing tells whether they had arrived. It is over only where some were missed.
    pub fn events(&self, viewer: Viewer) -> impl Stream<Item = CallEvent> + Send + use<> {
        let app = self.app.clone();
        stream! {
            let mut log = app.log().follow(viewer.user, Interest::Calls(viewer.session), None);
            let mut rung = HashSet::new();
            let mut handover = Handover::new(app.clone(), viewer);
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
                    // From here on nothing is missed: what there is comes first.
                    Some(Item::CaughtUp(_)) => {
                        for call in patiently!(|app| app.calls().ringing_for(viewer.user)) {
                            if rung.insert(call) {
                                yield CallEvent::Ringing(call);
                            }
                        }
                        for signal in handover.next().await {
                            yield CallEvent::Signal(signal);
                        }
                    }
                    Some(Item::Event(Event { change: Change::CallRinging { user, call }, .. })) => {
                        if patiently!(|app| still_rings(&app, user, call)) && rung.insert(call) {
                            yield CallEvent::Ringing(call);
                        }
                    }
                    Some(Item::Event(Event { change: Change::CallSignalled { .. }, .. })) => {
                        for signal in handover.next().await {
                            yield CallEvent::Signal(signal);
                        }
                    }
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
            }
        }
    }

    /// Those of the calls that ring for the user beside them now.
    pub async fn still_ringing(&self, pairs: &[(CallId, UserId)]) -> Result<Vec<(CallId, UserId)>> {
        let connection = self.app.connection().await?;
        Ok(calls::still_ringing(&connection, pairs).await?)
    }

    async fn ringing_for(&self, user: UserId) -> Result<Vec<CallId>> {
        Ok(calls::ringing_for(&mut *self.app.connection().await?, user).await?)
    }

    async fn signals(&self, viewer: Viewer, after: i64) -> Result<Vec<Pending>> {
        let age = self.app.parts.calls.call_signal_ttl.as_secs_f64();
        Ok(call_signals::pending(&mut *self.app.connection().await?, viewer.session, after, age).await?)
    }

    async fn forget_signals(&self, viewer: Viewer, upto: i64) -> Result<()> {
        Ok(call_signals::delete_upto(&mut *self.app.connection().await?, viewer.session, upto).await?)
    }
}

/// The signals that one subscription hands over to its device.
struct Handover {
    app: App,
    viewer: Viewer,
    /// The last one that was handed over; the last one at the look before; the last one that is deleted.
    given: i64,
    arrived: i64,
    deleted: i64,
    look_at: Instant,
}

impl Handover {
    fn new(app: App, viewer: Viewer) -> Self {
        let look_at = Instant::now() + app.parts.handed_over;
        Self { app, viewer, given: 0, arrived: 0, deleted: 0, look_at }
    }

    /// Whether some were handed over that are not deleted.
    fn is_open(&self) -> bool {
        self.given > self.deleted
    }

    /// Those that are waiting.
    async fn next(&mut self) -> Vec<Pending> {
        if !self.is_open() {
            self.look_at = Instant::now() + self.app.parts.handed_over;
        }
        let Self { app, viewer, given, .. } = self;
        let (viewer, given) = (*viewer, *given);
        let signals = patiently!(|app| app.calls().signals(viewer, given));
        self.given = signals.last().map_or(self.given, |last| last.seq);
        signals
    }

    /// Deletes those that have arrived.
    async fn look(&mut self) {
        if self.arrived > self.deleted {
            let Self { app, viewer, arrived, .. } = self;
            let (viewer, arrived) = (*viewer, *arrived);
            patiently!(|app| app.calls().forget_signals(viewer, arrived));
            self.deleted = self.arrived;
        }
        self.arrived = self.given;
        self.look_at = Instant::now() + self.app.parts.handed_over;
    }
}

async fn still_rings(app: &App, user: UserId, call: CallId) -> Result<bool> {
    Ok(!app.calls().still_ringing(&[(call, user)]).await?.is_empty())
}
