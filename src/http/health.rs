//! Health checks for orchestrators and load balancers.

use axum::extract::State;
use axum::http::StatusCode;

use super::Server;

/// Always succeeds. Any response shows that the process is alive.
pub(super) async fn live() -> &'static str {
    "live\n"
}

/// Returns 200 if the node is ready: it is not draining, its background tasks run, and Postgres answers. Otherwise
/// returns 503.
pub(super) async fn ready(State(server): State<Server>) -> (StatusCode, &'static str) {
    if server.drain.has_begun() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if server.app.is_ready().await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: no connection to Postgres, or a part has failed\n")
    }
}
