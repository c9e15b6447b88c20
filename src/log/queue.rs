//! The bounded queue of a stream. A new queue allocates nothing and an empty queue keeps little memory, because most
//! streams are idle most of the time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::event::Event;

/// Maximum capacity, in events, that a queue keeps when it becomes empty. A buffer with a larger capacity is freed.
const KEPT_CAPACITY: usize = 16;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Waker of the task that polls the receiver.
    reader: AtomicWaker,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    /// Whether the sender was dropped, so that no further event arrives.
    ended: bool,
}

/// The sending end of a queue. Dropping the sender ends the queue, but the queued events can still be received.
pub(super) struct Sender {
    shared: Arc<Shared>,
    limit: usize,
}

pub(super) struct Receiver {
    shared: Arc<Shared>,
}

/// The error if the queue already contains its maximum number of events.
pub(super) struct Full;

/// Creates a queue of at most `limit` events.
pub(super) fn bounded(limit: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared::default());
    (Sender { shared: Arc::clone(&shared), limit }, Receiver { shared })
}

impl Sender {
    pub(super) fn send(&self, event: Event) -> Result<(), Full> {
        let mut state = self.shared.state.lock();
        if state.events.len() == self.limit {
            return Err(Full);
        }
        state.events.push_back(event);
        drop(state);
        self.shared.reader.wake();
        Ok(())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.reader.wake();
    }
}

impl Receiver {
    /// Polls for the next event. Returns None if the queue is empty and the sender was dropped.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.next() {
            Poll::Pending => {}
            ready @ Poll::Ready(_) => return ready,
        }
        self.shared.reader.register(cx.waker());
        // An event might have arrived just before the waker was registered.
        self.next()
    }

    fn next(&self) -> Poll<Option<Event>> {
        let mut state = self.shared.state.lock();
        match state.events.pop_front() {
            Some(event) => {
                if state.events.is_empty() && state.events.capacity() > KEPT_CAPACITY {
                    state.events = VecDeque::new();
                }
                Poll::Ready(Some(event))
            }
            None if state.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
