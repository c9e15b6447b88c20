//! One connection that speaks HTTP, from its first byte to its end or its upgrade.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};

use super::activity::{Activity, HttpStream};
use super::service::Service;
use super::{ClientStream, ConnectionPermit, Connections};
use crate::config::{ConnectionSettings, HTTP2_MAX_STREAMS, HTTP2_PING_TIMEOUT};
use crate::http::drain::Drain;

/// Maximum bytes of each buffer that hyper has for an HTTP/1 connection, unless MAX_HEADER_BYTES is larger. hyper reads
/// or writes at most this many bytes at once.
const BUFFER: usize = 64 * 1024;

/// Maximum bytes that hyper holds of each response on an HTTP/2 connection. With hyper's default of 400 KiB, a client
/// with many unread responses could make the server hold much memory.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;

/// First bytes of every HTTP/2 connection (RFC 9113, section 3.4). No HTTP/1 request begins with these bytes.
const PREFACE: &[u8] = b"PRI";

/// First pause before a connection that has sent only a part of PREFACE is read again. The pause doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// hyper's settings for HTTP/1 and for HTTP/2.
pub(super) struct Builders {
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
}

impl Builders {
    pub(super) fn new(settings: &ConnectionSettings) -> Self {
        let max_header_bytes = usize::try_from(settings.max_header_bytes).unwrap_or(usize::MAX);
        let mut http1 = http1::Builder::new();
        // hyper's own timeout for headers is off, because `Activity` has timeouts for every state of a connection.
        http1.header_read_timeout(None).max_header_size(max_header_bytes).max_buf_size(BUFFER.max(max_header_bytes));
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(settings.http2_ping_interval)
            .keep_alive_timeout(HTTP2_PING_TIMEOUT)
            .max_send_buf_size(HTTP2_SEND_BUFFER)
            .max_concurrent_streams(HTTP2_MAX_STREAMS)
            .max_header_list_size(settings.max_header_bytes);
        Self { http1, http2 }
    }
}

/// A connection of hyper, over HTTP/1 or HTTP/2.
trait Connection: Future<Output = hyper::Result<()>> {
    /// Makes the connection accept no further requests and end when the requests in flight are answered.
    fn finish(self: Pin<&mut Self>);
}

impl Connection for http1::UpgradeableConnection<TokioIo<HttpStream>, Service> {
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Connection for http2::Connection<TokioIo<HttpStream>, Service, TokioExecutor> {
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Serves the connection until it ends or is upgraded, the client sends or reads nothing for too long, or the drain
/// times out.
pub(super) async fn serve(
    builders: Arc<Builders>,
    router: Router,
    connections: Connections,
    (tcp, peer, permit): (TcpStream, SocketAddr, ConnectionPermit),
    drain: Drain,
) {
    let settings = connections.settings();
    let (header_timeout, idle_timeout) = (settings.request_header_timeout, settings.keep_alive_timeout);
    let metrics = connections.0.metrics.clone();
    let deadline = Instant::now() + header_timeout;
    let version = tokio::select! {
        biased;
        version = timeout(header_timeout, is_http2(&tcp)) => version,
        () = drain.closing() => return,
    };
    let http2 = match version {
        Ok(Ok(http2)) => http2,
        // The client has disconnected.
        Ok(Err(_)) => return,
        Err(_) => return metrics.timed_out(),
    };
    let activity = Arc::new(Activity::new(deadline, header_timeout, idle_timeout, connections.0.write_timeout));
    let io = TokioIo::new(ClientStream::new(tcp, permit, Arc::clone(&activity)));
    let service = Service { router, connections, peer, activity: Arc::clone(&activity) };
    let timed_out = if http2 {
        drive(builders.http2.serve_connection(io, service), &activity, &drain).await
    } else {
        drive(builders.http1.serve_connection(io, service).with_upgrades(), &activity, &drain).await
    };
    if timed_out {
        metrics.timed_out();
    }
}

/// Waits for the first bytes and returns whether they begin an HTTP/2 connection. The bytes stay unread.
async fn is_http2(tcp: &TcpStream) -> io::Result<bool> {
    let mut pause = FIRST_PAUSE;
    loop {
        let mut first = [0; PREFACE.len()];
        let read = tcp.peek(&mut first).await?;
        if read == PREFACE.len() || read == 0 || !PREFACE.starts_with(&first[..read]) {
            return Ok(first == PREFACE);
        }
        // `peek` leaves the bytes unread, so without a pause the connection would be ready again at once.
        sleep(pause).await;
        pause *= 2;
    }
}

/// Runs the connection to its end. Returns true if it ends because the client sent or read nothing for too long.
async fn drive(connection: impl Connection, activity: &Activity, drain: &Drain) -> bool {
    let mut connection = pin!(connection);
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut closing = pin!(drain.closing());
    let mut abandoned = pin!(drain.abandoned());
    let mut finishing = false;
    poll_fn(|cx| {
        if !finishing && closing.as_mut().poll(cx).is_ready() {
            finishing = true;
            connection.as_mut().finish();
            activity.close();
        }
        if let Poll::Ready(done) = connection.as_mut().poll(cx) {
            if let Err(error) = done {
                tracing::trace!(%error, "a connection ended with an error");
            }
            return Poll::Ready(false);
        }
        if abandoned.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        poll_timeout(activity, timer.as_mut(), cx).map(|()| true)
    })
    .await
}

/// Ready when the client has sent or read nothing for too long.
fn poll_timeout(activity: &Activity, mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    // The waker is registered before the deadline is read, so that no change of the deadline is missed.
    activity.waiting.register(cx.waker());
    loop {
        let Some(deadline) = activity.next_deadline() else { return Poll::Pending };
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        if activity.has_timed_out(Instant::now()) {
            return Poll::Ready(());
        }
    }
}
