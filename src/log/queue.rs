//! The queue of a stream: bounded, and empty without a byte of its own, because most streams are idle most of the time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use super::event::Event;

/// Places that an empty queue keeps.
const KEPT: usize = 16;

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Of the one who reads.
    reader: AtomicWaker,
}

#[derive(Default)]
struct State {
    events: VecDeque<Event>,
    /// Nothing more is put in.
    ended: bool,
}

/// Ends the queue when it is dropped; what is in it can still be read.
pub(super) struct Sender {
    shared: Arc<Shared>,
    limit: usize,
}

pub(super) struct Receiver {
    shared: Arc<Shared>,
}

/// There is no room for one more.
pub(super) struct Full;

/// Of `limit` events at most.
pub(super) fn bounded(limit: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared::default());
    (Sender { shared: Arc::clone(&shared), limit }, Receiver { shared })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    pub(super) fn send(&self, event: Event) -> Result<(), Full> {
        let mut state = self.shared.lock();
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
        self.shared.lock().ended = true;
        self.shared.reader.wake();
    }
}

impl Receiver {
    /// None at the end.
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.next() {
            Poll::Pending => {}
            ready @ Poll::Ready(_) => return ready,
        }
        self.shared.reader.register(cx.waker());
        // One may have come just before.
        self.next()
    }

    fn next(&self) -> Poll<Option<Event>> {
        let mut state = self.shared.lock();
        match state.events.pop_front() {
            Some(event) => {
                if state.events.is_empty() && state.events.capacity() > KEPT {
                    state.events = VecDeque::new();
                }
                Poll::Ready(Some(event))
            }
            None if state.ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}
