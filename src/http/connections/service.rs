//! The service of a connection. It passes requests to the router, and counts the requests in flight.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use hyper::body::{Frame, Incoming, SizeHint};
use tower_service::Service as _;

use super::activity::{Activity, InFlight};
use super::{Connections, ForwardedPermit};
use crate::http::refusal;

/// Maximum bytes of a response that hyper gets at once. A client must read about this many bytes within
/// SOCKET_WRITE_TIMEOUT, which is possible even over a slow connection.
const PIECE: usize = 64 * 1024;

pub(super) struct Service {
    pub(super) router: Router,
    pub(super) connections: Connections,
    pub(super) peer: SocketAddr,
    pub(super) activity: Arc<Activity>,
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let in_flight = InFlight::begin(&self.activity, request.version());
        let forwarded = match self.connections.admit_forwarded(request.headers(), self.peer) {
            Ok(permit) => permit,
            Err(refusal) => {
                let response = refusal::answer(refusal, self.connections.settings());
                let answer = response.map(|body| Answer::new(body, in_flight, None));
                return ready(Ok(answer)).boxed();
            }
        };
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        if let Some(forwarded) = &forwarded {
            request.extensions_mut().insert(forwarded.clone());
        }
        // A router is always ready, so `poll_ready` is not called. Its clone shares the routes.
        let answer = self.router.clone().call(request);
        async move {
            let response = answer.await?;
            Ok(response.map(|body| Answer::new(body, in_flight, forwarded)))
        }
        .boxed()
    }
}

/// The body of a response. The request is in flight until the body is dropped.
pub(super) struct Answer {
    body: Body,
    /// The remaining bytes of a frame that was larger than PIECE.
    rest: Bytes,
    in_flight: InFlight,
    _forwarded: Option<ForwardedPermit>,
}

impl Answer {
    fn new(body: Body, in_flight: InFlight, forwarded: Option<ForwardedPermit>) -> Self {
        // Over HTTP/2, hyper does not ask for the first chunk before the client has room for it.
        in_flight.piece_sent();
        Self { body, rest: Bytes::new(), in_flight, _forwarded: forwarded }
    }

    /// Cuts a frame to at most PIECE bytes, and stores the remaining bytes.
    fn split(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(mut data) => {
                self.rest = data.split_off(data.len().min(PIECE));
                Frame::data(data)
            }
            Err(trailers) => trailers,
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.in_flight.piece_requested();
        let frame = if self.rest.is_empty() {
            ready!(Pin::new(&mut self.body).poll_frame(cx))
        } else {
            Some(Ok(Frame::data(std::mem::take(&mut self.rest))))
        };
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map(|frame| self.split(frame));
        self.in_flight.piece_sent();
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
