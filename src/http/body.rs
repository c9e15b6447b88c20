//! Reads request bodies and limits their size, the time that they take, and the memory of all unfinished bodies.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::{Instant, timeout_at};

use super::Server;
use super::connections::{OutOfMemory, Reservation};

/// The whole body of a request.
pub(super) struct WholeBody(pub(super) Bytes);

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The body has more than MAX_REQUEST_BYTES.
    TooLarge,
    /// No bytes arrived for REQUEST_READ_TIMEOUT, or the body took longer than REQUEST_BODY_TIMEOUT.
    TimedOut,
    /// The memory limit for unfinished bodies is reached, either of the node or of the client's address.
    OutOfMemory,
    /// The connection ended before the body was complete.
    BrokenOff,
}

impl BodyError {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::OutOfMemory => StatusCode::SERVICE_UNAVAILABLE,
            Self::BrokenOff => StatusCode::BAD_REQUEST,
        }
    }
}

impl IntoResponse for BodyError {
    fn into_response(self) -> Response {
        self.status().into_response()
    }
}

impl From<OutOfMemory> for BodyError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl FromRequest<Server> for WholeBody {
    type Rejection = BodyError;

    async fn from_request(request: Request, server: &Server) -> Result<Self, BodyError> {
        let peer = request.extensions().get().map(|&ConnectInfo::<SocketAddr>(peer)| peer);
        let network = peer.and_then(|peer| {
            let connections = &server.connections;
            connections.network(connections.client_address(request.headers(), peer))
        });
        let reservation = server.connections.unfinished().reservation(network);
        read(server, request.into_body(), reservation).await.map(Self)
    }
}

async fn read(server: &Server, mut body: Body, mut reservation: Reservation) -> Result<Bytes, BodyError> {
    let limits = &server.config.limits;
    let max = limits.max_request_bytes;
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLarge);
    }
    let end = Instant::now() + server.connections.settings().request_body_timeout;
    let mut whole = Vec::new();
    loop {
        let pause = Instant::now() + limits.request_read_timeout;
        let frame = timeout_at(end.min(pause), poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
        let data = match frame.await.map_err(|_| BodyError::TimedOut)? {
            None => return Ok(whole.into()),
            Some(Err(_)) => return Err(BodyError::BrokenOff),
            // Trailers are ignored.
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
        };
        if whole.len() + data.len() > max {
            return Err(BodyError::TooLarge);
        }
        if body.is_end_stream() && whole.is_empty() {
            return Ok(data);
        }
        reservation.grow_to(whole.len() + data.len())?;
        whole.extend_from_slice(&data);
    }
}
