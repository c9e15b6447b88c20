//! Serves the server's own S3 to clients with a signed URL. Its files have the origin of the server, so headers forbid
//! browsers to execute the files.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleError;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_RANGES, AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use s3s::HttpError;
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::{conditional, cors};
use crate::config::Config;
use crate::embedded::s3::S3;

/// Maximum duration of a request. Without this limit, a client that sends a byte now and then could hold a file open
/// indefinitely.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(30);

const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
const REFUSAL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                       <Error><Code>AccessDenied</Code><Message>The request is not signed.</Message></Error>\n";

/// Returns the routes of the bucket. Their paths are not rewritten, because signatures cover the paths. Responses are
/// not compressed. MAX_REQUEST_BYTES does not apply, because the signature determines the length of a body.
pub(super) fn router(s3: &S3, config: &Config) -> Router {
    let service = HandleError::new(s3.service(), failed);
    let bucket = s3.bucket();
    let cors = cors(&config.web).allow_methods([Method::GET, Method::HEAD, Method::PUT]).expose_headers([
        ETAG,
        ACCEPT_RANGES,
        CONTENT_RANGE,
        CONTENT_DISPOSITION,
        CHECKSUM,
    ]);
    // Unlike `route_layer`, `layer` would also apply to paths that have no route.
    Router::new()
        .route_service(&format!("/{bucket}"), service.clone())
        .route_service(&format!("/{bucket}/"), service.clone())
        .route_service(&format!("/{bucket}/{{*key}}"), service)
        .route_layer(from_fn(conditional::answer))
        .route_layer(from_fn(signed_only))
        .route_layer(RequestBodyTimeoutLayer::new(config.limits.request_read_timeout))
        .route_layer(cors)
}

/// Refuses unsigned requests and forms before their bodies are read. s3s would first read a form into memory.
async fn signed_only(mut request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let signed = request.headers().contains_key(AUTHORIZATION) || query.contains("X-Amz-Signature=");
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let form = request.method() == Method::POST && content_type.to_ascii_lowercase().starts_with(b"multipart/");
    // The timeout layer hides that a request has no body, and s3s would then require the body's length.
    if !request.headers().contains_key(CONTENT_LENGTH) && !request.headers().contains_key(TRANSFER_ENCODING) {
        *request.body_mut() = Body::empty();
    }
    let mut response = if signed && !form {
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await;
        answer.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response())
    } else {
        (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/xml")], REFUSAL).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    response
}

async fn failed(error: HttpError) -> StatusCode {
    tracing::error!(?error, "a request to the server's own S3 failed");
    StatusCode::INTERNAL_SERVER_ERROR
}
