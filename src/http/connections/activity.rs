//! State of an HTTP connection, and the deadline for the next step of its client.
//!
//! hyper's own timeout for headers is not enough. It has one duration for the headers of a request and for the idle
//! time before them, it does not exist for HTTP/2, and hyper-util starts it only once the version of HTTP is known, so
//! that a connection that sends nothing stays open.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::Version;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::stream::{ClientStream, Observer};

/// Time for which a connection without a request stays open after the node began to close its connections. Long enough
/// for a request whose headers are on their way.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection that speaks HTTP.
pub(in crate::http) type HttpStream = ClientStream<Arc<Activity>>;

/// Shared by the byte stream of a connection, its service and the task that drives it.
pub(in crate::http) struct Activity {
    state: Mutex<State>,
    /// Whether the next byte that is read begins the headers of a request.
    between_requests: AtomicBool,
    /// The task that waits for the deadline.
    pub(super) waiting: AtomicWaker,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// How long a client may leave a piece of an answer unread.
    write_timeout: Duration,
}

struct State {
    requests: usize,
    /// Number of requests so far, which is the key of the latest one.
    begun: u64,
    /// Requests whose answer waits for the client, with the time since when. hyper has a piece of the answer, and asks
    /// for the next one when the client has read enough.
    unread: HashMap<u64, Instant>,
    /// Time at which `unread` is checked again. It does not change for each piece, so that the task is seldom woken.
    check_at: Option<Instant>,
    /// Time at which the connection is closed unless a request begins before. None while requests are in flight.
    deadline: Option<Instant>,
    closing: bool,
}

impl Activity {
    /// A new connection, whose first headers must be complete at `deadline`.
    pub(super) fn new(
        deadline: Instant,
        header_timeout: Duration,
        idle_timeout: Duration,
        write_timeout: Duration,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                requests: 0,
                begun: 0,
                unread: HashMap::new(),
                check_at: None,
                deadline: Some(deadline),
                closing: false,
            }),
            between_requests: AtomicBool::new(false),
            waiting: AtomicWaker::new(),
            header_timeout,
            idle_timeout,
            write_timeout,
        }
    }

    /// Time of the next call of `has_timed_out`.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.deadline.into_iter().chain(state.check_at).min()
    }

    /// Whether the client has sent or read nothing for too long.
    pub(super) fn has_timed_out(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.check_at = state.unread.values().min().map(|&since| since + self.write_timeout);
        state.deadline.into_iter().chain(state.check_at).any(|deadline| deadline <= now)
    }

    /// The client has sent something.
    fn bytes_read(&self) {
        if self.between_requests.load(Ordering::Relaxed) && self.between_requests.swap(false, Ordering::Relaxed) {
            let mut state = self.state.lock();
            if state.requests == 0 && !state.closing {
                state.deadline = Some(Instant::now() + self.header_timeout);
            }
        }
    }

    /// The node shuts down. A connection without a request ends soon.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closing = true;
        if state.requests == 0 {
            let soon = Instant::now() + CLOSING_TIMEOUT;
            state.deadline = Some(state.deadline.map_or(soon, |deadline| deadline.min(soon)));
        }
    }
}

impl Observer for Arc<Activity> {
    fn bytes_read(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            Activity::bytes_read(self);
        }
    }

    /// The task that drives the connection has the timeouts.
    fn poll_stalled(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }
}

/// A request in flight, from its headers to the end of its answer.
pub(super) struct InFlight {
    activity: Arc<Activity>,
    key: u64,
    http2: bool,
}

impl InFlight {
    pub(super) fn begin(activity: &Arc<Activity>, version: Version) -> Self {
        activity.between_requests.store(false, Ordering::Relaxed);
        let mut state = activity.state.lock();
        state.requests += 1;
        state.begun += 1;
        let key = state.begun;
        state.deadline = None;
        drop(state);
        Self { activity: Arc::clone(activity), key, http2: version == Version::HTTP_2 }
    }

    /// hyper has the head or a piece of the answer, and asks for more once the client has read enough.
    pub(super) fn piece_sent(&self) {
        let now = Instant::now();
        let mut state = self.activity.state.lock();
        state.unread.insert(self.key, now);
        if state.check_at.is_none() {
            state.check_at = Some(now + self.activity.write_timeout);
            drop(state);
            if self.http2 {
                // The answer is written by a task of its own.
                self.activity.waiting.wake();
            }
        }
    }

    /// hyper asks for more. An answer that has nothing more to send yet does not wait for its client.
    pub(super) fn piece_requested(&self) {
        self.activity.state.lock().unread.remove(&self.key);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.activity.state.lock();
        state.requests -= 1;
        state.unread.remove(&self.key);
        if state.requests > 0 {
            return;
        }
        let time = if state.closing { CLOSING_TIMEOUT } else { self.activity.idle_timeout };
        state.deadline = Some(Instant::now() + time);
        drop(state);
        if self.http2 {
            // Pings and other frames come between requests, and the answer was written by a task of its own.
            self.activity.waiting.wake();
        } else {
            self.activity.between_requests.store(true, Ordering::Relaxed);
        }
    }
}
