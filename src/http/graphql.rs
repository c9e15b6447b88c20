//! GraphQL over HTTP: queries by GET, everything else by POST, one operation or a list of them.

use std::net::SocketAddr;

use async_graphql::parser::types::OperationType;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use serde_json::{Map, Value};

use super::accept::{Accept, Media};
use super::body::{BodyError, WholeBody};
use super::caller::bearer;
use super::metrics::Refused;
use super::operation::{Operation, Parsed};
use super::requested::{Requested, read_body};
use super::response::Body;
use super::socket::{NoUpgrade, Upgrade};
use super::threads::SMALL_INPUT;
use super::too_complex::{MAX_PASSWORDS, too_many_passwords};
use super::{Server, events, paced, socket};
use crate::fair::Gone;
use crate::graphql::{Caller, Error, ErrorCode};
use crate::limiter::Key;
use crate::metrics::Transport;

/// Headers that a page of another origin can add only after a CORS preflight. The names are Apollo's convention.
const PREFLIGHTED: [&str; 2] = ["apollo-require-preflight", "x-apollo-operation-name"];

/// Value of `Retry-After` in seconds, if the error does not determine this time.
const RETRY_AFTER: u64 = 1;

pub(super) async fn get_or_upgrade(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<Upgrade, NoUpgrade>,
    parameters: Result<Query<Map<String, Value>>, QueryRejection>,
) -> Response {
    if let Ok(upgrade) = upgrade {
        return socket::upgrade(server, upgrade, headers, peer);
    }
    let accept = Accept::read(&headers);
    let media = accept.media_of_errors();
    let mut response = match get_operation(parameters) {
        _ if accept.is_none() => not_acceptable(),
        _ if !is_preflighted(&headers) => {
            let message =
                "A browser can send this request without a preflight. Add the header `apollo-require-preflight: true`.";
            media.refuse(StatusCode::BAD_REQUEST, ErrorCode::Forbidden, message)
        }
        Err(message) => media.refuse(StatusCode::BAD_REQUEST, ErrorCode::GraphqlParseFailed, &message),
        Ok(operation) => match operation.parse(&server, server.network(&headers, peer)).await {
            Ok(parsed) if parsed.kind == OperationType::Mutation => {
                let message = "Mutations must be sent with POST.";
                let response = media.refuse(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::BadUserInput, message);
                ([(header::ALLOW, "POST")], response).into_response()
            }
            Ok(parsed) => {
                let mut response = execute(&server, &headers, &accept, peer, parsed).await;
                if !headers.contains_key(header::AUTHORIZATION) && response.extensions().get::<NoErrors>().is_some() {
                    match server.config.web.public_max_age {
                        0 => {}
                        age => set_cache(&mut response, &format!("public, max-age={age}")),
                    }
                }
                response
            }
            Err(body) => accept.answer_refused(body),
        },
    };
    if !response.headers().contains_key(header::CACHE_CONTROL) {
        set_cache(&mut response, "no-store");
    }
    // A cache must not send a client the response of another user, or of a client with another `Accept`.
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept, authorization"));
    response
}

/// Marks a response without errors. If the request has no `Authorization`, the response is the same for all clients and
/// may be cached.
#[derive(Clone)]
struct NoErrors;

fn set_cache(response: &mut Response, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(header::CACHE_CONTROL, value);
    }
}

/// Reads an operation from a query string, in which `variables` and `extensions` are JSON.
fn get_operation(parameters: Result<Query<Map<String, Value>>, QueryRejection>) -> Result<Operation, String> {
    let Ok(Query(mut members)) = parameters else { return Err("The query string cannot be read.".to_owned()) };
    for name in ["variables", "extensions"] {
        let Some(Value::String(json)) = members.remove(name) else { continue };
        if json.is_empty() {
            continue;
        }
        let value = serde_json::from_str(&json).map_err(|_| format!("`{name}` must be a JSON object."))?;
        members.insert(name.to_owned(), value);
    }
    Operation::try_from(members).map_err(|error| format!("This is not a GraphQL request: {error}."))
}

/// Whether a page of another origin can send this request only after a CORS preflight (Fetch standard). A browser adds
/// Basic credentials by itself, but not a bearer token.
fn is_preflighted(headers: &HeaderMap) -> bool {
    PREFLIGHTED.into_iter().any(|name| headers.get(name).is_some_and(|value| !value.is_empty()))
        || bearer(headers).is_some()
        || is_json(headers)
}

pub(super) async fn post(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<WholeBody, BodyError>,
) -> Response {
    let accept = Accept::read(&headers);
    if accept.is_none() {
        return not_acceptable();
    }
    let media = accept.media_of_errors();
    if !is_json(&headers) {
        let message = "The body must be application/json in UTF-8.";
        return media.refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::BadUserInput, message);
    }
    let body = match body {
        Ok(WholeBody(body)) => body,
        Err(error) => return refuse_body(&server, media, error),
    };
    let max_batch = server.config.operations.operation_max_batch;
    let network = server.network(&headers, peer);
    let requested = if body.len() <= SMALL_INPUT {
        read_body(&body, max_batch)
    } else {
        let read = move || read_body(&body, max_batch).map(Requested::large);
        match server.threads.run(network.map(Key::Network), &Gone::default(), read).await {
            Ok(requested) => requested,
            Err(error) => return media.fail(error),
        }
    };
    match requested {
        Ok(Requested::One(operation)) => match operation.parse(&server, network).await {
            Ok(parsed) => execute(&server, &headers, &accept, peer, parsed).await,
            Err(body) => accept.answer_refused(body),
        },
        // A list of operations cannot get a stream as its response.
        Ok(Requested::Batch(_)) if accept.media.is_none() => not_acceptable(),
        Ok(Requested::Batch(operations)) => execute_batch(&server, &headers, media, peer, operations).await,
        Ok(Requested::TooMany) => {
            let message = format!("A request may have at most {max_batch} operations.");
            media.refuse(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::OperationTooComplex, &message)
        }
        Err(error) => {
            let message = format!("The body is not a GraphQL request: {error}.");
            media.refuse(StatusCode::BAD_REQUEST, ErrorCode::GraphqlParseFailed, &message)
        }
    }
}

fn refuse_body(server: &Server, media: Media, error: BodyError) -> Response {
    match error {
        BodyError::TooLarge => {
            let message = format!("A body may have at most {} bytes.", server.config.limits.max_request_bytes);
            media.refuse(error.status(), ErrorCode::OperationTooComplex, &message)
        }
        BodyError::TimedOut => media.refuse(error.status(), ErrorCode::BadUserInput, "The body arrived too slowly."),
        BodyError::BrokenOff => {
            media.refuse(error.status(), ErrorCode::BadUserInput, "The connection ended before the body was complete.")
        }
        BodyError::OutOfMemory => {
            let message = "The server has no memory for this body now. Try again in a moment.";
            media.fail(Error::new(ErrorCode::Unavailable, message))
        }
    }
}

async fn execute(server: &Server, headers: &HeaderMap, accept: &Accept, peer: SocketAddr, parsed: Parsed) -> Response {
    let stream = match (accept.media, accept.stream) {
        (_, Some(stream)) if parsed.kind == OperationType::Subscription => Some(stream),
        (Some(media), _) if parsed.kind == OperationType::Subscription => {
            let message = "Send subscriptions over a WebSocket to this address, or with `Accept: text/event-stream`.";
            return media.refuse(StatusCode::BAD_REQUEST, ErrorCode::BadUserInput, message);
        }
        (Some(_), _) => None,
        (None, stream) => stream,
    };
    let media = accept.media_of_errors();
    if let Some(stream) = stream {
        return match events::respond(server, headers, peer, stream, parsed).await {
            Ok(response) => response,
            Err(error) => media.fail(error),
        };
    }
    let caller = match server.caller(headers, peer).await {
        Ok(caller) => caller,
        Err(error) => return media.fail(error),
    };
    if let Err(error) = server.admit_operation(&caller, parsed.cost.work) {
        return media.fail(error);
    }
    server.count_operation(parsed.kind, Transport::Http);
    let body = parsed.execute(server, caller).await;
    if let Some(seconds) = body.retry_after() {
        return media.limited(body.into_json(), seconds);
    }
    if body.data.is_none() {
        return match body.refusal {
            Some(ErrorCode::InternalServerError) => media.answer(StatusCode::INTERNAL_SERVER_ERROR, body.into_json()),
            Some(ErrorCode::Unavailable) => media.answer(StatusCode::SERVICE_UNAVAILABLE, body.into_json()),
            _ => media.answer_refused(body),
        };
    }
    let no_errors = body.errors.is_empty();
    let mut response = media.answer(StatusCode::OK, body.into_json());
    if no_errors {
        response.extensions_mut().insert(NoErrors);
    }
    response
}

/// Runs the operations concurrently, and returns one response with their results in the order of the operations.
async fn execute_batch(
    server: &Server,
    headers: &HeaderMap,
    media: Media,
    peer: SocketAddr,
    operations: Vec<Operation>,
) -> Response {
    if operations.is_empty() {
        return media.refuse(
            StatusCode::BAD_REQUEST,
            ErrorCode::GraphqlParseFailed,
            "The list must have at least one operation.",
        );
    }
    let caller = match server.caller(headers, peer).await {
        Ok(caller) => caller,
        Err(error) => return media.fail(error),
    };
    let network = server.network(headers, peer);
    let mut parsed = join_all(operations.into_iter().map(|operation| operation.parse(server, network))).await;
    if parsed.iter().flatten().map(|operation| operation.cost.passwords).sum::<u64>() > MAX_PASSWORDS {
        for operation in &mut parsed {
            if operation.as_ref().is_ok_and(|operation| operation.cost.passwords > 0) {
                *operation = Err(Body::refused(too_many_passwords()).counted(server.app.metrics()));
            }
        }
    }
    let bodies = join_all(parsed.into_iter().map(|parsed| run_in_batch(server, parsed, caller.clone()))).await;
    let waits: Option<Vec<_>> = bodies.iter().map(Body::retry_after).collect();
    let bodies: Vec<_> = bodies.into_iter().map(Body::into_json).collect();
    let json = ["[", &bodies.join(","), "]"].concat();
    match waits.and_then(|waits| waits.into_iter().max()) {
        Some(seconds) => media.limited(json, seconds),
        None => media.answer(StatusCode::OK, json),
    }
}

async fn run_in_batch(server: &Server, parsed: Result<Parsed, Body>, caller: Caller) -> Body {
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(body) => return body,
    };
    let refused = |error: Error| Body::refused(error).counted(server.app.metrics());
    if parsed.kind == OperationType::Subscription {
        return refused(Error::new(ErrorCode::BadUserInput, "A list of operations cannot contain a subscription."));
    }
    if let Err(error) = server.admit_operation(&caller, parsed.cost.work) {
        return refused(error);
    }
    server.count_operation(parsed.kind, Transport::Http);
    parsed.execute(server, caller).await
}

impl Accept {
    fn is_none(&self) -> bool {
        self.media.is_none() && self.stream.is_none()
    }

    /// Returns the response for an operation that was refused before its execution. A client that accepts only streams
    /// gets the errors of an invalid document in a stream, as PROTOCOL.md of graphql-sse says.
    fn answer_refused(&self, body: Body) -> Response {
        match (self.media, self.stream) {
            (None, Some(stream)) if body.is_invalid() => events::refused(stream, &body),
            _ => self.media_of_errors().answer_refused(body),
        }
    }
}

impl Media {
    /// Returns the response for a request that is refused before it counts as an operation. The error is counted in the
    /// metrics.
    pub(super) fn refuse(self, status: StatusCode, code: ErrorCode, message: &str) -> Response {
        let mut response = self.answer(status, Body::refused(Error::new(code, message)).into_json());
        response.extensions_mut().insert(Refused(code));
        response
    }

    /// Returns the 429 response for a request that exceeds a rate. `json` has no data.
    fn limited(self, json: String, retry_after: u64) -> Response {
        let response = self.answer(StatusCode::TOO_MANY_REQUESTS, json);
        ([(header::RETRY_AFTER, retry_after)], response).into_response()
    }

    /// Returns the response for a request that failed before its operation was executed: 429 if a rate is exceeded,
    /// otherwise 503.
    pub(super) fn fail(self, error: Error) -> Response {
        let status = match error.code() {
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let retry_after = error.retry_after().unwrap_or(RETRY_AFTER);
        let refused = Refused(error.code());
        let mut response = self.answer(status, Body::refused(error).into_json());
        response.extensions_mut().insert(refused);
        ([(header::RETRY_AFTER, retry_after)], response).into_response()
    }

    /// Returns the response for a well-formed request whose operation was not executed.
    fn answer_refused(self, body: Body) -> Response {
        let status = match self {
            Self::Response => StatusCode::BAD_REQUEST,
            Self::Json => StatusCode::OK,
        };
        self.answer(status, body.into_json())
    }

    fn answer(self, status: StatusCode, json: String) -> Response {
        (status, [(header::CONTENT_TYPE, self.content_type())], paced::body(json.into_bytes())).into_response()
    }
}

fn not_acceptable() -> Response {
    let message = "This address answers with application/graphql-response+json or application/json, and subscriptions \
        with text/event-stream or multipart/mixed.\n";
    (StatusCode::NOT_ACCEPTABLE, message).into_response()
}

/// Whether the body is JSON. JSON is always UTF-8 (RFC 8259, section 8.1), so a body with another charset is refused.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) else { return false };
    let mut parts = value.split(';').map(str::trim);
    let json = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/json"));
    let charset = parts.find_map(|part| part.to_ascii_lowercase().strip_prefix("charset=").map(str::to_owned));
    json && charset.is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8"))
}
