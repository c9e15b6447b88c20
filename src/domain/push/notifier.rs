//! Plans pushes: a consumer of the log that stores a delivery for each device that gets a push about an event.
//!
//! The deliveries are stored in the transaction that advances the consumer, so a crash neither loses nor repeats them.
//! The nodes send the deliveries later, and check again whether each of them is still needed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;
use tracing::warn;

use super::core::PushCore;
use crate::config::LogSettings;
use crate::error::{Error, Result};
use crate::ids::{CallId, MessageId, UserId};
use crate::log::{Audience, Batch, Category, Change, Consumer, Event};
use crate::store::Connection;
use crate::store::push::dismissals::{self, Changed};
use crate::store::push::planning;
use crate::store::push::rings::{self, Ended};

/// Name of the consumer in Postgres and in the metrics.
const NAME: &str = "push";
/// Categories of the events that the consumer follows.
const CATEGORIES: [Category; 4] = [Category::NewMessages, Category::MessageUpdates, Category::Calls, Category::Inboxes];

pub(in crate::domain) struct PushNotifier {
    consumer: Consumer,
    core: Arc<PushCore>,
}

/// The events of a batch, by what has to be planned.
#[derive(Default)]
struct Work {
    messages: Vec<MessageId>,
    changed: Changed,
    rings: Vec<(CallId, UserId)>,
    ended: Ended,
}

impl PushNotifier {
    pub(in crate::domain) async fn open(core: &Arc<PushCore>, settings: &LogSettings) -> Result<Self> {
        let base = &core.base;
        let consumer = Consumer::open(&base.database, &base.metrics, &base.random, settings, NAME, &CATEGORIES).await?;
        Ok(Self { consumer, core: Arc::clone(core) })
    }

    /// Plans pushes until the task is cancelled. Notifies `wake` after the commit of a transaction that has planned
    /// some.
    pub(in crate::domain) async fn run(self, wake: Arc<Notify>) {
        let Self { consumer, core } = self;
        let head = core.base.log.positions();
        let has_planned = Arc::new(AtomicBool::new(false));
        let planned = Arc::clone(&has_planned);
        // Events up to this seq are not handled. 0 before the first gap.
        let mut skipped_up_to = 0;
        let work = async move |conn: &mut Connection, batch: Batch| {
            if batch.has_missed_events {
                skipped_up_to = *core.base.log.positions().borrow();
                warn!(up_to = skipped_up_to, "pushes about past events are skipped, because some events were dropped");
            }
            let work = Work::of(batch.events.iter().filter(|event| event.seq > skipped_up_to));
            if plan(&core, conn, &work).await? {
                planned.store(true, Ordering::Relaxed);
            }
            Ok::<_, Error>(false)
        };
        let committed = || {
            if has_planned.swap(false, Ordering::Relaxed) {
                wake.notify_one();
            }
        };
        consumer.run_then(head, work, committed).await;
    }
}

impl Work {
    fn of<'a>(events: impl Iterator<Item = &'a Event>) -> Self {
        let mut work = Self::default();
        for event in events {
            work.add(event.change);
        }
        work.changed.memberships.sort_unstable();
        work.changed.memberships.dedup();
        work
    }

    fn add(&mut self, change: Change) {
        match change {
            Change::MessageAdded { message, .. } => self.messages.push(message),
            Change::MessageUpdated { message, .. } => self.changed.updated.push(message),
            Change::MessageRemoved { user, message } => self.changed.removed.push((user, message)),
            // A user with read receipts off gets MembershipUpdated when they have read messages.
            Change::ReceiptAdvanced { conversation, user }
            | Change::ReadAdvanced { conversation, user }
            | Change::MembershipUpdated { user, conversation }
            | Change::ConversationRemoved { user, conversation } => {
                self.changed.memberships.push((user, conversation));
            }
            Change::CallRinging { user, call } => self.rings.push((call, user)),
            Change::CallAnswered { participant, .. } | Change::CallLeft { participant, .. } => {
                self.ended.participants.push(participant);
            }
            Change::CallEnded { to: Audience::Conversation(_), call } => self.ended.calls.push((call, None)),
            Change::CallEnded { to: Audience::User(user), call } => self.ended.calls.push((call, Some(user))),
            _ => {}
        }
    }
}

/// Plans the pushes. Returns whether there may be new deliveries.
async fn plan(core: &PushCore, conn: &mut Connection, work: &Work) -> Result<bool> {
    let mut planned = false;
    if !work.messages.is_empty() {
        let mut devices = planning::candidates(conn, &work.messages).await?;
        devices.retain(|device| !core.is_seen(device.conversation_id, device.user_id, device.session_id));
        planning::insert(conn, &devices).await?;
        planned |= !devices.is_empty();
    }
    if !work.rings.is_empty() {
        let mut devices = rings::callees(conn, &work.rings).await?;
        devices.retain(|device| !core.live.is_session_visible(device.session_id));
        if !devices.is_empty() {
            rings::insert(conn, &devices).await?;
            planned = true;
        }
    }
    if !work.changed.is_empty() {
        planned |= dismissals::plan(conn, &work.changed).await? > 0;
    }
    if !work.ended.is_empty() {
        planned |= rings::end(conn, &work.ended).await? > 0;
    }
    Ok(planned)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::ids::{CallParticipantId, ConversationId};

    #[test]
    fn each_event_is_planned_by_its_kind() {
        let (user, conversation) = (UserId(Uuid::from_u128(1)), ConversationId(Uuid::from_u128(2)));
        let (message, call) = (MessageId(Uuid::from_u128(3)), CallId(Uuid::from_u128(4)));
        let participant = CallParticipantId(Uuid::from_u128(5));
        let changes = [
            Change::MessageAdded { conversation, message },
            // Only the sender sees this message, so nobody is notified.
            Change::MessageAddedForSender { user, conversation, message },
            Change::MessageUpdated { conversation, message },
            Change::MessageRemoved { user, message },
            Change::ReceiptAdvanced { conversation, user },
            Change::ReadAdvanced { conversation, user },
            Change::MembershipUpdated { user, conversation },
            Change::ConversationRemoved { user, conversation },
            Change::ConversationUpdated { conversation },
            Change::CallRinging { user, call },
            Change::CallAnswered { conversation, participant },
            Change::CallEnded { to: Audience::Conversation(conversation), call },
            Change::CallEnded { to: Audience::User(user), call },
        ];
        let events: Vec<_> = (1..).zip(changes).map(|(seq, change)| Event { seq, change }).collect();
        let work = Work::of(events.iter());
        assert_eq!(work.messages, [message]);
        assert_eq!(work.changed.updated, [message]);
        assert_eq!(work.changed.removed, [(user, message)]);
        assert_eq!(work.changed.memberships, [(user, conversation)]);
        assert_eq!(work.rings, [(call, user)]);
        assert_eq!(work.ended.participants, [participant]);
        assert_eq!(work.ended.calls, [(call, None), (call, Some(user))]);
    }
}
