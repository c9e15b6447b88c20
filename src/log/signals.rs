//! Signals that wake the background tasks of this node when an event concerns their work.

use std::sync::Arc;

use tokio::sync::{Notify, broadcast};

use super::event::{Change, Event};
use crate::ids::UserId;
use crate::store::messaging::messages::Message;

/// Maximum number of updated users by which a receiver may lag behind. A receiver that lags further behind misses
/// users.
const UPDATED_USERS: usize = 1024;

/// Signals of this node. Cheap to clone. Each `Notify` (`expiring_messages`, `calls`) wakes one task.
#[derive(Clone)]
pub struct Signals {
    expiring_messages: Arc<Notify>,
    calls: Arc<Notify>,
    updated_users: broadcast::Sender<UserId>,
}

impl Default for Signals {
    fn default() -> Self {
        Self {
            expiring_messages: Arc::default(),
            calls: Arc::default(),
            updated_users: broadcast::Sender::new(UPDATED_USERS),
        }
    }
}

impl Signals {
    /// Waits until a call rings or is answered, on any node.
    pub async fn call_started(&self) {
        self.calls.notified().await;
    }

    /// Waits until any node stores a new message that expires.
    pub async fn expiring_message(&self) {
        self.expiring_messages.notified().await;
    }

    /// Returns a receiver of the users whose profile, privacy settings, contacts or blocks change from now on, on any
    /// node.
    pub fn updated_users(&self) -> broadcast::Receiver<UserId> {
        self.updated_users.subscribe()
    }

    pub(super) fn observe(&self, event: &Event) {
        match event.change {
            Change::UserUpdated { user } => self.notify_updated(user),
            Change::ContactsChanged { user, other } => {
                self.notify_updated(user);
                self.notify_updated(other);
            }
            Change::CallRinging { .. } | Change::CallAnswered { .. } => self.calls.notify_one(),
            _ => {}
        }
    }

    pub(super) fn observe_message(&self, message: &Message) {
        if message.expires_at.is_some() {
            self.expiring_messages.notify_one();
        }
    }

    fn notify_updated(&self, user: UserId) {
        // Sending fails only without a receiver.
        let _ = self.updated_users.send(user);
    }
}
