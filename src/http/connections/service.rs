//! The service of a connection. It passes requests to the router, and counts the requests in flight.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use hyper::body::{Frame, Incoming, SizeHint};
use tower_service::Service as _;

use super::activity::{Activity, InFlight};
use super::{Connections, Forwarded};
use crate::http::refusal;

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
                let answer = response.map(|body| Answer { body, _in_flight: in_flight, _forwarded: None });
                return ready(Ok(answer)).boxed();
            }
        };
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        if let Some(forwarded) = &forwarded {
            request.extensions_mut().insert(forwarded.clone());
        }
        // A router is always ready, and its clone is a reference.
        let answer = self.router.clone().call(request);
        async move {
            let response = answer.await?;
            Ok(response.map(|body| Answer { body, _in_flight: in_flight, _forwarded: forwarded }))
        }
        .boxed()
    }
}

/// The body of an answer. The request is in flight until it is dropped.
pub(super) struct Answer {
    body: Body,
    _in_flight: InFlight,
    _forwarded: Option<Forwarded>,
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
