//! The server's surface: GraphQL over HTTP and WebSocket, the explorer, health, metrics, and the public keys.

mod accept;
mod caller;
mod connection_limit;
mod cost;
mod documents;
mod drain;
mod events;
mod explorer;
mod files;
mod graphql;
mod health;
mod lifetime;
mod metrics;
mod operation;
mod paced;
mod render;
mod response;
mod socket;
mod subscription;
mod threads;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, Method};
use axum::middleware::map_response_with_state;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router, extract::State};
use jsonwebtoken::jwk::JwkSet;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _, SizeAbove};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::timeout::RequestBodyTimeoutLayer;
use tower_http::trace::TraceLayer;

use crate::config::{Config, Web};
use crate::domain::App;
use crate::embedded::s3::S3;
use crate::graphql::{Error, ErrorCode, Loaders, Schemas};
use crate::ids::UserId;
use connection_limit::{ConnectionLimit, Permit};
use cost::Costs;
use documents::Documents;
use drain::Drain;
use render::Plans;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use socket::fuzzing;
use threads::Threads;

/// The end of the drain's timeout, in which sockets that are still busy close with their code.
const EXPIRY_GRACE: Duration = Duration::from_secs(2);

/// Bytes from which an answer is worth compressing: a smaller one goes in one packet all the same.
const COMPRESSED_FROM: u64 = 1024;

/// What every handler works with. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Parts>);

/// Only here so that `Server` can be dereferenced.
#[doc(hidden)]
pub struct Parts {
    app: App,
    schemas: Schemas,
    plans: Arc<Plans>,
    documents: Arc<Documents>,
    costs: Costs,
    threads: Threads,
    connection_limit: ConnectionLimit,
    config: Config,
    drain: Drain,
    /// The server's own, where it has one.
    s3: Option<S3>,
}

impl Deref for Server {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Server {
    /// Fails where the settings name a file that is no good.
    pub fn new(app: App, config: Config, s3: Option<S3>) -> std::io::Result<Self> {
        for code in ErrorCode::ALL {
            app.metrics().expect_errors(code.as_str());
        }
        let schemas = Schemas::new(&app, &config.operations);
        let loaders = Loaders::of_streams(app.clone());
        Ok(Self(Arc::new(Parts {
            plans: Arc::new(Plans::new(
                schemas.trusting().clone(),
                loaders,
                app.log().clone(),
                app.metrics().clone(),
                app.clock(),
            )),
            schemas,
            documents: Arc::new(Documents::open(&config.operations)?),
            costs: Costs::new(config.operations.clone()),
            threads: Threads::new(&config.operations),
            connection_limit: ConnectionLimit::default(),
            drain: Drain::default(),
            config,
            app,
            s3,
        })))
    }

    /// Counts a connection of the user's until it is dropped; RATE_LIMITED where there are too many.
    fn admit(&self, user: UserId) -> Result<Permit, Error> {
        let max = self.config.socket.socket_max_per_user;
        self.connection_limit.take(user, max).ok_or_else(|| {
            let message = format!("At most {max} connections of one user at once.");
            Error::limited("SOCKET_MAX_PER_USER", Duration::from_secs(30), message)
        })
    }
}

/// Answers requests until `stop` is cancelled, and then drains: turns not ready, takes no new sockets, finishes
/// what is in flight, closes the sockets with 1012, and returns within the drain's delay and timeout.
pub async fn serve(server: Server, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    let drain = server.drain.clone();
    let (delay, timeout) = (server.config.process.drain_delay, server.config.process.drain_timeout);
    let settings = &server.config.socket;
    let patience = settings.socket_ping_interval + settings.socket_pong_timeout;
    let listener = listener.tap_io(move |stream| {
        // An event must not wait until the client has confirmed the one before. Without it the connection is slower, and
        // right.
        let _ = stream.set_nodelay(true);
        give_up_after(stream, patience);
    });
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

/// The connection breaks once what was sent on it is unconfirmed for so long: the other side is gone without a word, as
/// a phone that has lost its network. A WebSocket is pinged, but an event stream would be there for another 15 minutes.
/// Who is there and reads nothing for so long is cut off as well, and asks for the rest of a file by a range.
#[cfg(target_os = "linux")]
fn give_up_after(stream: &TcpStream, patience: Duration) {
    // Where it cannot be set the system's own time holds.
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(patience));
}

/// The system's own time holds.
#[cfg(not(target_os = "linux"))]
const fn give_up_after(_: &TcpStream, _: Duration) {}

fn router(server: Server) -> Router {
    let limits = &server.config.limits;
    // What a stream sends must not wait for the compressor.
    let compressed = DefaultPredicate::new()
        .and(SizeAbove::new(COMPRESSED_FROM))
        .and(NotForContentType::const_new("multipart/mixed"));
    let count_refusal = map_response_with_state(server.clone(), metrics::count_refusal);
    let router =
        if server.config.process.metrics { Router::new().route("/metrics", get(metrics::text)) } else { Router::new() };
    let files = server.s3.as_ref().map(|s3| files::router(s3, &server.config)).unwrap_or_default();
    router
        .route("/graphql", get(graphql::get_or_upgrade).post(graphql::post).layer(count_refusal))
        .route("/graphiql", get(explorer::page))
        .route("/graphiql/{*path}", get(explorer::asset))
        .route("/playground", get(explorer::playground))
        .route("/playground/{*path}", get(explorer::playground_asset))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/.well-known/jwks.json", get(public_keys))
        .layer(DefaultBodyLimit::max(limits.max_request_bytes))
        .layer(RequestBodyTimeoutLayer::new(limits.request_read_timeout))
        .layer(CompressionLayer::new().compress_when(compressed))
        .layer(cors(&server.config.web))
        // A 503 while draining is no failure; what is one is logged where it happens.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(server)
        .merge(files)
}

/// Tokens travel in a header that no browser adds by itself, so that any other header may come along.
fn cors(web: &Web) -> CorsLayer {
    const REMEMBERED: Duration = Duration::from_hours(2);
    let origins = if web.allows_any_origin() {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(web.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(REMEMBERED)
}

/// The keys that access tokens can be verified with, as RFC 7517 has them.
async fn public_keys(State(server): State<Server>) -> Json<JwkSet> {
    Json(server.app.tokens().public_keys().clone())
}
