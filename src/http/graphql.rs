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

use super::response::Body;
use super::{Server, cost, socket};
use crate::graphql::{Batches, Caller, Error, ErrorCode, Loaders};

const RESPONSE_JSON: &str = "application/graphql-response+json";
const JSON: &str = "application/json";

/// One operation as a client sends it, in a body or over a socket.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Operation {
    query: String,
    #[serde(default, rename = "operationName")]
    name: Option<String>,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
}

/// The same in a query string, where the variables are JSON inside.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetOperation {
    query: String,
    operation_name: Option<String>,
    variables: Option<String>,
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
        let loaders = Loaders::new(server.app.clone(), batches.clone());
        let request = self.request.data(caller).data(loaders);
        let schema = server.schema.clone();
        tokio::spawn(async move { Body::new(batches.drive(schema.execute(request)).await) })
    }

    /// Runs a subscription, as long as the stream is polled.
    pub(super) fn subscribe(self, server: &Server, caller: Caller) -> impl Stream<Item = Body> + Send + use<> {
        let batches = Batches::default();
        let loaders = Loaders::new(server.app.clone(), batches.clone());
        let request = self.request.data(caller).data(loaders);
        batches.drive_stream(server.schema.execute_stream(request)).map(Body::new)
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
    let Ok(Query(get)) = operation else {
        return refuse(&headers, StatusCode::BAD_REQUEST, "The query string needs a `query`.");
    };
    let variables = match get.variables.as_deref().filter(|text| !text.is_empty()).map(serde_json::from_str) {
        Some(Err(_)) => return refuse(&headers, StatusCode::BAD_REQUEST, "`variables` must be a JSON object."),
        Some(Ok(variables)) => variables,
        None => None,
    };
    let parsed = match (Operation { query: get.query, name: get.operation_name, variables }).parse() {
        Ok(parsed) => parsed,
        Err(body) => return answer(&headers, StatusCode::BAD_REQUEST, &body),
    };
    if parsed.kind != OperationType::Query {
        let mut response = refuse(&headers, StatusCode::METHOD_NOT_ALLOWED, "Only queries go by GET.");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    execute(&server, &headers, peer, parsed).await
}

pub(super) async fn post(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if !is_json(&headers) {
        return refuse(&headers, StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body must be application/json.");
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refuse(&headers, rejection.status(), "The body is too large or broke off."),
    };
    let operation: Operation = match serde_json::from_slice(&body) {
        Ok(operation) => operation,
        Err(error) => {
            return refuse(&headers, StatusCode::BAD_REQUEST, &format!("The body is no GraphQL request: {error}."));
        }
    };
    match operation.parse() {
        Ok(parsed) => execute(&server, &headers, peer, parsed).await,
        Err(body) => answer(&headers, StatusCode::BAD_REQUEST, &body),
    }
}

async fn execute(server: &Server, headers: &HeaderMap, peer: SocketAddr, parsed: Parsed) -> Response {
    if parsed.kind == OperationType::Subscription {
        return refuse(headers, StatusCode::BAD_REQUEST, "Subscriptions go over a WebSocket at this address.");
    }
    let caller = match server.caller(headers, peer).await {
        Ok(caller) => caller,
        Err(error) => return answer(headers, StatusCode::SERVICE_UNAVAILABLE, &Body::refused(error)),
    };
    let body = parsed.execute(server, caller).await.unwrap_or_else(|_| Body::crashed());
    let status = if body.data.is_some() { StatusCode::OK } else { StatusCode::BAD_REQUEST };
    answer(headers, status, &body)
}

fn refuse(headers: &HeaderMap, status: StatusCode, message: &str) -> Response {
    let code = if status == StatusCode::BAD_REQUEST { ErrorCode::GraphqlParseFailed } else { ErrorCode::BadUserInput };
    answer(headers, status, &Body::refused(Error::new(code, message)))
}

fn answer(headers: &HeaderMap, status: StatusCode, body: &Body) -> Response {
    let accepts = |media: &str| {
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|text| text.contains(media))
    };
    let media = if accepts(RESPONSE_JSON) { RESPONSE_JSON } else { JSON };
    match serde_json::to_vec(body) {
        Ok(json) => (status, [(header::CONTENT_TYPE, format!("{media}; charset=utf-8"))], json).into_response(),
        Err(error) => {
            tracing::error!(%error, "a response that has no JSON form");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| media.trim().eq_ignore_ascii_case(JSON))
}
