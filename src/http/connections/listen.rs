//! The loop that accepts connections.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::Connections;
use super::drive::{self, Builders};
use super::log_throttle::LogThrottle;
use crate::http::drain::Drain;
use crate::metrics::Refusal;

/// Pause after an error that would repeat until something else changes, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// Accepts connections and serves each connection in its own task.
pub(in crate::http) struct Listener {
    tcp: TcpListener,
    router: Router,
    connections: Connections,
    drain: Drain,
    /// Maximum time for a client to acknowledge sent bytes.
    ack_timeout: Duration,
    builders: Arc<Builders>,
    tasks: TaskTracker,
    errors: LogThrottle,
    refusals: LogThrottle,
}

impl Listener {
    pub(in crate::http) fn new(
        tcp: TcpListener,
        router: Router,
        connections: Connections,
        drain: Drain,
        ack_timeout: Duration,
    ) -> Self {
        let builders = Arc::new(Builders::new(connections.settings()));
        let (tasks, errors, refusals) = (TaskTracker::new(), LogThrottle::default(), LogThrottle::default());
        Self { tcp, router, connections, drain, ack_timeout, builders, tasks, errors, refusals }
    }

    /// Accepts connections until the drain closes the node, and then waits for the accepted connections to end.
    pub(in crate::http) async fn run(mut self) {
        let mut closing = pin!(self.drain.closing());
        let mut abandoned = pin!(self.drain.abandoned());
        loop {
            tokio::select! {
                accepted = self.tcp.accept() => match accepted {
                    Ok((tcp, peer)) => self.serve(tcp, peer),
                    Err(error) => self.pause_after(&error).await,
                },
                () = &mut closing => break,
                () = &mut abandoned => return,
            }
        }
        drop(self.tcp);
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn serve(&mut self, tcp: TcpStream, peer: SocketAddr) {
        let permit = match self.connections.admit(peer) {
            Ok(permit) => permit,
            Err(refusal) => return self.refuse(&tcp, refusal),
        };
        // An event must not wait until the client has acknowledged the previous event. If the option cannot be set, the
        // connection is only slower.
        let _ = tcp.set_nodelay(true);
        limit_ack_time(&tcp, self.ack_timeout);
        let (builders, router) = (Arc::clone(&self.builders), self.router.clone());
        let (connections, drain) = (self.connections.clone(), self.drain.clone());
        self.tasks.spawn(drive::serve(builders, router, connections, (tcp, peer, permit), drain));
    }

    /// Sends an error response without waiting for the client's request. The caller then closes the connection.
    fn refuse(&mut self, tcp: &TcpStream, refusal: Refusal) {
        self.connections.refused(refusal);
        if let Some(connections) = self.refusals.due() {
            tracing::warn!(connections, limit = refusal.setting(), "connections were refused");
        }
        let status = match refusal {
            Refusal::Total => "503 Service Unavailable",
            Refusal::Address | Refusal::Anonymous => "429 Too Many Requests",
        };
        let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n");
        // The send buffer of a new connection has room. A client that has disconnected needs no response.
        let _ = tcp.try_write(answer.as_bytes());
    }

    /// Pauses after an error of `accept` that would otherwise repeat at once. Does not pause if only the client of this
    /// connection has disconnected, because the next connection can be accepted.
    async fn pause_after(&mut self, error: &io::Error) {
        if matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
        ) {
            return;
        }
        self.connections.0.metrics.accept_failed();
        if let Some(times) = self.errors.due() {
            tracing::error!(%error, times, "connections cannot be accepted");
        }
        tokio::time::sleep(ERROR_PAUSE).await;
    }
}

/// Makes the system break the connection when sent bytes stay unacknowledged for longer than `ack_timeout`. The client
/// has then disappeared, for example because a phone has lost its network. The server pings WebSockets, but an event
/// stream would otherwise stay open for 15 minutes. A client that reads nothing in that time is disconnected as well.
#[cfg(target_os = "linux")]
fn limit_ack_time(stream: &TcpStream, ack_timeout: Duration) {
    // If the option cannot be set, the longer timeout of the system applies.
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(ack_timeout));
}

/// Does nothing, because only Linux has the option. Other systems have their own, longer timeouts.
#[cfg(not(target_os = "linux"))]
const fn limit_ack_time(_: &TcpStream, _: Duration) {}
