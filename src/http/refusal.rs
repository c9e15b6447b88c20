//! The response to a client that has too many connections, requests or sockets at once.

use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::metrics::Refused;
use super::response::Body;
use crate::config::ConnectionSettings;
use crate::graphql::{Error, ErrorCode};
use crate::metrics::Refusal;

/// Time after which the client may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) fn answer(refusal: Refusal, settings: &ConnectionSettings) -> Response {
    let message = match refusal {
        Refusal::Total => {
            format!("This node accepts at most {} connections at the same time.", settings.max_connections)
        }
        Refusal::Address => {
            format!(
                "An address may have at most {} connections at the same time. Close others first.",
                settings.max_connections_per_address
            )
        }
        Refusal::Anonymous => {
            let max = settings.socket_max_anonymous_per_address;
            format!(
                "An address may have at most {max} sockets on which no user has signed in. Send \
                 the access token as `Authorization: Bearer …` in the payload of `connection_init`."
            )
        }
    };
    let body = Body::refused(Error::limited(refusal.setting(), RETRY_AFTER, message));
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::RETRY_AFTER, retry_after())];
    let mut response = (StatusCode::TOO_MANY_REQUESTS, headers, body.to_json()).into_response();
    response.extensions_mut().insert(Refused(ErrorCode::RateLimited));
    response
}

fn retry_after() -> String {
    RETRY_AFTER.as_secs().to_string()
}
