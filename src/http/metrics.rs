//! The page of metrics for Prometheus, and the counters of operations and refused requests.

use async_graphql::parser::types::OperationType;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Server;
use crate::graphql::ErrorCode;
use crate::metrics::{OperationKind, Transport};

/// Marks an HTTP response that refuses a request before it counts as an operation.
#[derive(Clone, Copy)]
pub(super) struct Refused(pub(super) ErrorCode);

pub(super) async fn text(State(server): State<Server>) -> Response {
    let text = server.app.metrics().text();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

pub(super) async fn count_refusal(State(server): State<Server>, response: Response) -> Response {
    if let Some(Refused(code)) = response.extensions().get() {
        server.app.metrics().error(code.as_str());
    }
    response
}

impl Server {
    pub(super) fn count_operation(&self, kind: OperationType, transport: Transport) {
        let kind = match kind {
            OperationType::Query => OperationKind::Query,
            OperationType::Mutation => OperationKind::Mutation,
            OperationType::Subscription => OperationKind::Subscription,
        };
        self.app.metrics().operation(kind, transport);
    }
}
