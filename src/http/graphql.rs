//! GraphQL over HTTP: queries by GET, everything else by POST.

use std::net::SocketAddr;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{Request, Variables};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::task::JoinHandle;

use super::accept::Media;
use super::response::Body;
use super::{Server, cost, socket};
use crate::graphql::{Batches, Caller, Error, ErrorCode, Loaders};

/// One operation as a client sends it, in a body or over a socket.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Operation {
    query: String,
    #[serde(default, rename = "operationName")]
    name: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    /// None is known so far; what is sent must be an object all the same.
    #[expect(dead_code, reason = "read to be checked")]
    #[serde(default)]
    extensions: Option<Map<String, Value>>,
}

/// The same in a query string, where the variables are JSON inside.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetOperation {
    query: String,
    operation_name: Option<String>,
    variables: Option<String>,
    extensions: Option<String>,
}

/// An operation that parses, and of which kind it is.
pub(super) struct Parsed {
    request: Request,
    pub(super) kind: OperationType,
}

impl Operation {
    pub(super) fn parse(self) -> Result<Parsed, Body> {
        cost::check_text(&self.query).map_err(Body::refused)?;
        let document = parse_query(&self.query).map_err(|error| Body::unparsed(error.into()))?;
        cost::check(&document).map_err(Body::refused)?;
        // Some clients send an empty name for a document that has one operation.
        let name = self.name.filter(|name| !name.is_empty());
        let kind = kind(&document, name.as_deref()).ok_or_else(|| {
            let message = "operationName must name one of the document's operations.";
            Body::refused(Error::new(ErrorCode::GraphqlValidationFailed, message))
        })?;
        let variables = Variables::from_json(Value::Object(self.variables.unwrap_or_default()));
        let mut request = Request::new(self.query).variables(variables);
        request.operation_name = name;
        request.set_parsed_query(document);
        Ok(Parsed { request, kind })
    }
}

impl Parsed {
    /// Runs a query or mutation in a task of its own: a transaction is finished whether or not its client waits.
    pub(super) fn execute(self, server: &Server, caller: Caller) -> JoinHandle<Body> {
        let batches = Batches::default();
        let loaders = Loaders::of_request(server.app.clone(), batches.clone());
        let request = self.request.data(caller).data(loaders);
        let schema = server.schema.clone();
        tokio::spawn(async move { Body::new(batches.drive(schema.execute(request)).await) })
    }

    /// Runs a subscription, as long as the stream is polled.
    pub(super) fn subscribe(self, server: &Server, caller: Caller) -> impl Stream<Item = Body> + Send + use<> {
        let request = self.request.data(caller).data(server.stream_loaders.clone());
        server.schema.execute_stream(request).map(Body::new)
    }
}

fn kind(document: &ExecutableDocument, name: Option<&str>) -> Option<OperationType> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name)?,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next()?,
        (DocumentOperations::Single(_), Some(_)) | (DocumentOperations::Multiple(_), None) => return None,
    };
    Some(operation.node.ty)
}

pub(super) async fn get_or_upgrade(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    operation: Result<Query<GetOperation>, QueryRejection>,
) -> Response {
    if let Ok(upgrade) = upgrade {
        return socket::upgrade(server, upgrade, headers, peer);
    }
    let Some(media) = Media::negotiate(&headers) else { return not_acceptable() };
    let Ok(Query(get)) = operation else {
        return media.refuse(StatusCode::BAD_REQUEST, "The query string needs a `query`.");
    };
    let operation = match Operation::try_from(get) {
        Ok(operation) => operation,
        Err(message) => return media.refuse(StatusCode::BAD_REQUEST, message),
    };
    let parsed = match operation.parse() {
        Ok(parsed) => parsed,
        Err(body) => return media.answer_refused(&body),
    };
    if parsed.kind == OperationType::Mutation {
        let mut response = media.refuse(StatusCode::METHOD_NOT_ALLOWED, "Only queries go by GET.");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    execute(&server, &headers, media, peer, parsed).await
}

impl TryFrom<GetOperation> for Operation {
    type Error = &'static str;

    fn try_from(get: GetOperation) -> Result<Self, &'static str> {
        let object = |text: Option<String>| match text.filter(|text| !text.is_empty()) {
            Some(text) => serde_json::from_str::<Option<Map<String, Value>>>(&text),
            None => Ok(None),
        };
        let variables = object(get.variables).map_err(|_| "`variables` must be a JSON object.")?;
        let extensions = object(get.extensions).map_err(|_| "`extensions` must be a JSON object.")?;
        Ok(Self { query: get.query, name: get.operation_name, variables, extensions })
    }
}

pub(super) async fn post(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Some(media) = Media::negotiate(&headers) else { return not_acceptable() };
    if !is_json(&headers) {
        return media.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return media.refuse(rejection.status(), "The body is too large or broke off."),
    };
    let operation: Operation = match serde_json::from_slice(&body) {
        Ok(operation) => operation,
        Err(error) => {
            return media.refuse(StatusCode::BAD_REQUEST, &format!("The body is no GraphQL request: {error}."));
        }
    };
    match operation.parse() {
        Ok(parsed) => execute(&server, &headers, media, peer, parsed).await,
        Err(body) => media.answer_refused(&body),
    }
}

async fn execute(server: &Server, headers: &HeaderMap, media: Media, peer: SocketAddr, parsed: Parsed) -> Response {
    if parsed.kind == OperationType::Subscription {
        return media.refuse(StatusCode::BAD_REQUEST, "Subscriptions go over a WebSocket at this address.");
    }
    let caller = match server.caller(headers, peer).await {
        Ok(caller) => caller,
        Err(error) => return media.answer(StatusCode::SERVICE_UNAVAILABLE, &Body::refused(error)),
    };
    let body = parsed.execute(server, caller).await.unwrap_or_else(|_| Body::crashed());
    if body.data.is_some() { media.answer(StatusCode::OK, &body) } else { media.answer_refused(&body) }
}

impl Media {
    /// What is no GraphQL request at all.
    fn refuse(self, status: StatusCode, message: &str) -> Response {
        let code = match status {
            StatusCode::BAD_REQUEST => ErrorCode::GraphqlParseFailed,
            _ => ErrorCode::BadUserInput,
        };
        self.answer(status, &Body::refused(Error::new(code, message)))
    }

    /// A well-formed request whose operation never ran.
    fn answer_refused(self, body: &Body) -> Response {
        let status = match self {
            Self::Response => StatusCode::BAD_REQUEST,
            Self::Json => StatusCode::OK,
        };
        self.answer(status, body)
    }

    fn answer(self, status: StatusCode, body: &Body) -> Response {
        match serde_json::to_vec(body) {
            Ok(json) => (status, [(header::CONTENT_TYPE, self.content_type())], json).into_response(),
            Err(error) => {
                tracing::error!(%error, "a response that has no JSON form");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
    }
}

fn not_acceptable() -> Response {
    let takes = "This address answers with application/graphql-response+json or application/json.\n";
    (StatusCode::NOT_ACCEPTABLE, takes).into_response()
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json"))
}
