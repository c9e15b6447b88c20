//! The server's surface: GraphQL over HTTP and WebSocket, the explorer, health, and the public keys.

mod accept;
mod caller;
mod cost;
mod drain;
mod explorer;
mod graphql;
mod health;
mod response;
mod socket;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, Method, header};
use axum::routing::get;
use axum::{Json, Router, extract::State};
use jsonwebtoken::jwk::JwkSet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{Any, CorsLayer};
use tower_http::trace::TraceLayer;

use crate::config::Config;
use crate::domain::App;
use crate::graphql::{Loaders, Schema, schema};
use drain::Drain;

/// The end of the drain's timeout, in which sockets that are still busy close with their code.
const EXPIRY_GRACE: Duration = Duration::from_secs(2);

/// What every handler works with. Cheap to clone.
#[derive(Clone)]
struct Server {
    app: App,
    schema: Schema,
    stream_loaders: Loaders,
    config: Arc<Config>,
    drain: Drain,
}

/// Answers requests until `stop` is cancelled, and then drains: turns not ready, takes no new sockets, finishes
/// what is in flight, closes the sockets with 1012, and returns within the drain's delay and timeout.
pub async fn serve(app: App, config: Config, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    let drain = Drain::default();
    let schema = schema(app.clone());
    let stream_loaders = Loaders::of_streams(app.clone());
    let server = Server { app, schema, stream_loaders, config: Arc::new(config), drain: drain.clone() };
    let (delay, timeout) = (server.config.places.drain_delay, server.config.places.drain_timeout);
    let service = router(server).into_make_service_with_connect_info::<SocketAddr>();
    let closing = drain.clone();
    let mut serving = tokio::spawn(
        axum::serve(listener, service).with_graceful_shutdown(async move { closing.closing().await }).into_future(),
    );
    tokio::select! {
        ended = &mut serving => return ended.map_err(std::io::Error::other)?,
        () = stop.cancelled() => drain.begin(),
    }
    tracing::info!("draining");
    tokio::time::sleep(delay).await;
    drain.close();
    let finished = async {
        drain.sockets_closed().await;
        (&mut serving).await
    };
    if let Ok(ended) = tokio::time::timeout(timeout.saturating_sub(EXPIRY_GRACE), finished).await {
        return ended.map_err(std::io::Error::other)?;
    }
    tracing::warn!(?timeout, "requests were still in flight when the drain's time was up");
    drain.expire();
    // Long enough for the sockets to say so.
    let _ = tokio::time::timeout(EXPIRY_GRACE, drain.sockets_closed()).await;
    serving.abort();
    Ok(())
}

fn router(server: Server) -> Router {
    Router::new()
        .route("/graphql", get(graphql::get_or_upgrade).post(graphql::post))
        .route("/graphiql", get(explorer::page))
        .route("/graphiql/{*path}", get(explorer::asset))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/.well-known/jwks.json", get(public_keys))
        .layer(DefaultBodyLimit::max(server.config.limits.max_request_bytes))
        .layer(cors())
        // A 503 while draining is no failure; what is one is logged where it happens.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(server)
}

/// Tokens travel in a header that no browser adds by itself, so that any origin may ask.
fn cors() -> CorsLayer {
    let requests = [
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        HeaderName::from_static("apollo-require-preflight"),
        HeaderName::from_static("x-apollo-operation-name"),
        HeaderName::from_static("x-apollo-operation-id"),
        HeaderName::from_static("apollographql-client-name"),
        HeaderName::from_static("apollographql-client-version"),
    ];
    CorsLayer::new().allow_origin(Any).allow_methods([Method::GET, Method::POST]).allow_headers(requests)
}

/// The keys that access tokens can be verified with, as RFC 7517 has them.
async fn public_keys(State(server): State<Server>) -> Json<JwkSet> {
    Json(server.app.tokens().public_keys().clone())
}
