//! State of an HTTP connection, and the deadline for the next step of its client.
//!
//! hyper's own timeout for headers is not enough. It has one duration for the headers of a request and for the idle
//! time before the headers. It does not exist for HTTP/2. hyper-util starts it only when the version of HTTP is known,
//! so that a connection that sends nothing stays open.

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
/// for the arrival of a request that the client has already sent.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(1);

/// The byte stream of a connection that speaks HTTP.
pub(in crate::http) type HttpStream = ClientStream<Arc<Activity>>;

/// The state of an HTTP connection. Its byte stream, its service and the task that drives it share this state.
pub(in crate::http) struct Activity {
    state: Mutex<State>,
    /// Over HTTP/1: whether the next byte that is read begins the headers of a request.
    between_requests: AtomicBool,
    /// Wakes the task that waits for `next_deadline`.
    pub(super) waiting: AtomicWaker,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// Maximum time for which a client may leave a chunk of a response unread.
    write_timeout: Duration,
}

struct State {
    requests: usize,
    /// Number of requests so far, which is the key of the latest request.
    begun: u64,
    /// Requests whose response waits for the client, with the time at which the wait began. hyper has a chunk of the
    /// response, and asks for the next chunk when the client has read enough.
    unread: HashMap<u64, Instant>,
    /// Time at which `unread` is checked again. It is not updated for each chunk, so that the task is rarely woken.
    check_at: Option<Instant>,
    /// Time at which the connection is closed unless a request begins earlier. None while requests are in flight.
    deadline: Option<Instant>,
    closing: bool,
}

impl Activity {
    /// Returns the state of a new connection, whose first headers must be complete at `deadline`.
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

    /// Returns the time at which `has_timed_out` must be called next. Returns None if no deadline is set.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.deadline.into_iter().chain(state.check_at).min()
    }

    /// Returns whether a deadline has passed: that of the next request, or that of reading a response.
    pub(super) fn has_timed_out(&self, now: Instant) -> bool {
        let mut state = self.state.lock();
        state.check_at = state.unread.values().min().map(|&since| since + self.write_timeout);
        state.deadline.into_iter().chain(state.check_at).any(|deadline| deadline <= now)
    }

    /// Records that the client has sent bytes. If they begin the headers of a request, the timeout for headers starts.
    fn bytes_read(&self) {
        if self.between_requests.load(Ordering::Relaxed) && self.between_requests.swap(false, Ordering::Relaxed) {
            let mut state = self.state.lock();
            if state.requests == 0 && !state.closing {
                state.deadline = Some(Instant::now() + self.header_timeout);
            }
        }
    }

    /// Records that the node shuts down, so that a connection without a request ends soon.
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

    /// Never ready, because the task that drives the connection has the timeouts.
    fn poll_stalled(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }
}

/// A request in flight, from its headers to the end of its response.
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

    /// Records that hyper has the head or a chunk of the response. hyper asks for more when the client has read enough.
    pub(super) fn piece_sent(&self) {
        let now = Instant::now();
        let mut state = self.activity.state.lock();
        state.unread.insert(self.key, now);
        if state.check_at.is_none() {
            state.check_at = Some(now + self.activity.write_timeout);
            drop(state);
            if self.http2 {
                // Over HTTP/2 a separate task writes the response, so the task that waits for the deadline must be
                // woken.
                self.activity.waiting.wake();
            }
        }
    }

    /// Records that hyper asks for the next chunk. The response no longer waits for its client, even if it has no next
    /// chunk yet.
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
            // Over HTTP/2, pings and other frames also arrive between requests, so received bytes do not show that a
            // request begins. A separate task wrote the response, so the task that waits for the deadline must be
            // woken.
            self.activity.waiting.wake();
        } else {
            self.activity.between_requests.store(true, Ordering::Relaxed);
        }
    }
}
