//! Watches of live state. A watch is notified of the subjects that have changed, and its owner then reads their current
//! state. A slow owner can miss intermediate states, but never the current state.

use std::collections::{BTreeMap, HashMap};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::Live;
use crate::ids::{ConversationId, UserId};

/// A topic that a watch can subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    Presence(UserId),
    Typing(ConversationId),
    Room(ConversationId),
    /// The live state in a user's inbox: typing of other users in the user's conversations, and the user's own
    /// presence.
    Inbox(UserId),
}

/// The part of the live state that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    Presence(UserId),
    Typing(ConversationId, UserId),
    Room(ConversationId, UserId),
}

/// Number of a change, which is unique on this node. 0 stands for the initial state of a watch.
pub type Stamp = u64;

#[derive(Default)]
struct Mailbox {
    changed: Mutex<BTreeMap<Subject, Stamp>>,
    waker: AtomicWaker,
}

impl Mailbox {
    fn push(&self, subject: Subject, stamp: Stamp) {
        self.changed.lock().insert(subject, stamp);
        self.waker.wake();
    }

    fn pop(&self) -> Option<(Subject, Stamp)> {
        self.changed.lock().pop_first()
    }
}

#[derive(Default)]
pub(super) struct Watchers {
    topics: HashMap<Topic, Vec<Arc<Mailbox>>>,
}

impl Watchers {
    pub(super) fn notify(&self, topic: Topic, subject: Subject, stamp: Stamp) {
        for mailbox in self.topics.get(&topic).into_iter().flatten() {
            mailbox.push(subject, stamp);
        }
    }

    fn remove(&mut self, topic: Topic, mailbox: &Arc<Mailbox>) {
        if let Some(mailboxes) = self.topics.get_mut(&topic) {
            mailboxes.retain(|other| !Arc::ptr_eq(other, mailbox));
            if mailboxes.is_empty() {
                self.topics.remove(&topic);
            }
        }
    }
}

/// A watch of one or more topics, which ends when it is dropped. The initial state of presence and typing counts as a
/// change. The initial state of rooms and inboxes does not count as a change.
pub struct Watch {
    live: Live,
    topics: Vec<Topic>,
    mailbox: Arc<Mailbox>,
}

impl Live {
    pub fn watch(&self, topics: Vec<Topic>) -> Watch {
        let mailbox = Arc::new(Mailbox::default());
        let mut state = self.lock();
        for &topic in &topics {
            state.watchers.topics.entry(topic).or_default().push(Arc::clone(&mailbox));
            match topic {
                Topic::Presence(user) => mailbox.push(Subject::Presence(user), 0),
                Topic::Typing(conversation) => {
                    for user in state.typing_in(conversation) {
                        mailbox.push(Subject::Typing(conversation, user), 0);
                    }
                }
                Topic::Room(_) | Topic::Inbox(_) => {}
            }
        }
        drop(state);
        Watch { live: self.clone(), topics, mailbox }
    }
}

impl Watch {
    /// Polls for a subject that has changed since the subject was last returned.
    pub fn poll_changed(&mut self, cx: &mut Context<'_>) -> Poll<(Subject, Stamp)> {
        if let Some(changed) = self.mailbox.pop() {
            return Poll::Ready(changed);
        }
        self.mailbox.waker.register(cx.waker());
        self.mailbox.pop().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits for a change. Returns all subjects that have changed since the last call.
    pub async fn changed(&mut self) -> Vec<Subject> {
        let (first, _) = poll_fn(|cx| self.poll_changed(cx)).await;
        let mut subjects = vec![first];
        while let Some((subject, _)) = self.mailbox.pop() {
            subjects.push(subject);
        }
        subjects
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.live.lock();
        for &topic in &self.topics {
            state.watchers.remove(topic, &self.mailbox);
        }
    }
}
