//! The server's own S3, for whoever has a signed URL. What it answers comes from the server's own origin, so that
//! browsers are told to run none of it.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleError;
use axum::extract::Request;
use axum::http::header::{
    AUTHORIZATION, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, TRANSFER_ENCODING,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse as _, Response};
use s3s::HttpError;
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::cors;
use crate::config::Config;
use crate::embedded::s3::S3;

/// For a whole request, however steadily its body comes: whoever sends a byte now and then holds a file open.
const REQUEST_TIME: Duration = Duration::from_mins(30);

const CHECKSUM: HeaderName = HeaderName::from_static("x-amz-checksum-sha256");
const REFUSAL: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                       <Error><Code>AccessDenied</Code><Message>The request is not signed.</Message></Error>\n";

/// The bucket's paths, untouched, for a signature covers them. The rest of the server limits what bodies may have,
/// and compresses answers; here the signature says how long a body is.
pub(super) fn router(s3: &S3, config: &Config) -> Router {
    let service = HandleError::new(s3.service(), failed);
    let bucket = s3.bucket();
    let cors = cors(&config.web).allow_methods([Method::GET, Method::HEAD, Method::PUT]).expose_headers([
        ETAG,
        CONTENT_DISPOSITION,
        CHECKSUM,
    ]);
    // Layers of the routes alone: others would be of every path that is not there, too.
    Router::new()
        .route_service(&format!("/{bucket}"), service.clone())
        .route_service(&format!("/{bucket}/"), service.clone())
        .route_service(&format!("/{bucket}/{{*key}}"), service)
        .route_layer(from_fn(signed_only))
        .route_layer(RequestBodyTimeoutLayer::new(config.limits.request_read_timeout))
        .route_layer(cors)
}

/// Refuses what nobody signed before any of it is read. s3s reads a form into memory first.
async fn signed_only(mut request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let signed = request.headers().contains_key(AUTHORIZATION) || query.contains("X-Amz-Signature=");
    let content_type = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let form = request.method() == Method::POST && content_type.to_ascii_lowercase().starts_with(b"multipart/");
    // The timeout hides that there is none, and s3s would ask for its length.
    if !request.headers().contains_key(CONTENT_LENGTH) && !request.headers().contains_key(TRANSFER_ENCODING) {
        *request.body_mut() = Body::empty();
    }
    let mut response = if signed && !form {
        let answer = tokio::time::timeout(REQUEST_TIME, next.run(request)).await;
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
    tracing::error!(?error, "the server's own S3");
    StatusCode::INTERNAL_SERVER_ERROR
}
