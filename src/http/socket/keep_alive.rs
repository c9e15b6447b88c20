//! The timers of a connection: pings, and the end of anonymous sockets that run no operation.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Socket as Settings;

pub(super) struct KeepAlive {
    /// Time of the next ping.
    ping_at: Instant,
    /// Time by which a message must arrive. None if no ping waits for its pong.
    pong_by: Option<Instant>,
    /// Time at which a socket without a signed-in user is closed, unless it runs an operation. None for a signed-in
    /// user.
    idle_at: Option<Instant>,
}

impl KeepAlive {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { ping_at: Instant::now() + settings.socket_ping_interval, pong_by: None, idle_at: None }
    }

    /// Returns the time of the next action if no message arrives.
    pub(super) fn next_deadline(&self) -> Instant {
        [self.pong_by, self.idle_at].into_iter().flatten().fold(self.ping_at, Instant::min)
    }

    /// Stops the wait for a pong, because every message shows that the client is still connected.
    pub(super) fn message_arrived(&mut self) {
        self.pong_by = None;
    }

    /// Restarts the time after which an anonymous socket without operations is closed. `timeout` is None for a
    /// signed-in user.
    pub(super) fn restart_idle_timer(&mut self, timeout: Option<Duration>) {
        self.idle_at = timeout.map(|timeout| Instant::now() + timeout);
    }

    /// Whether the client has failed to answer the last ping in time.
    pub(super) fn pong_is_overdue(&self, now: Instant) -> bool {
        self.pong_by.is_some_and(|pong_by| pong_by <= now)
    }

    pub(super) fn idle_timer_has_expired(&self, now: Instant) -> bool {
        self.idle_at.is_some_and(|idle_at| idle_at <= now)
    }

    /// Returns whether a ping is due. If so, starts the wait for its pong and schedules the next ping.
    pub(super) fn start_due_ping(&mut self, now: Instant, settings: &Settings) -> bool {
        let due = self.ping_at <= now;
        if due {
            self.ping_at = now + settings.socket_ping_interval;
            self.pong_by.get_or_insert(now + settings.socket_pong_timeout);
        }
        due
    }
}
