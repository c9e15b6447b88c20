//! What orchestrators and load balancers ask.

use axum::extract::State;
use axum::http::StatusCode;

use super::Server;

/// The process answers.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// It can do its work: it is not draining, and Postgres is there.
pub(super) async fn ready(State(server): State<Server>) -> (StatusCode, &'static str) {
    if server.drain.has_begun() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if server.app.is_ready().await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: no connection to Postgres, or a part has failed\n")
    }
}
