//! The HTTP interface of the server: GraphQL over HTTP and WebSocket, the start page, the explorers, health checks,
//! metrics, the public keys, and logins at issuers.

mod accept;
mod admission;
mod auth;
mod body;
mod budget;
mod caller;
mod conditional;
mod connection_limit;
mod connections;
mod cost;
mod documents;
mod drain;
mod events;
mod execution;
mod explorer;
mod fair_queue;
mod files;
mod forwarded;
mod graphql;
mod health;
mod home;
mod lifetime;
mod metrics;
mod operation;
mod paced;
mod personal;
mod plan_request;
mod refusal;
mod render;
mod rendered;
mod requested;
mod response;
mod socket;
mod subscription;
mod threads;
mod time_slice;
mod too_complex;
mod unsubscribe;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderName, HeaderValue, Method};
use axum::middleware::{from_fn_with_state, map_response_with_state};
use axum::routing::get;
use axum::{Json, Router, extract::State};
use jsonwebtoken::jwk::JwkSet;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate as _, SizeAbove};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;

use crate::config::{Config, Web};
use crate::domain::App;
use crate::embedded::s3::S3;
use crate::graphql::{Error, ErrorCode, Schemas};
use crate::ids::UserId;
use budget::SubscriptionBudget;
use connection_limit::{ConnectionLimit, Permit};
use connections::{Connections, Listener};
use cost::Costs;
use documents::Documents;
use drain::Drain;
use render::Plans;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use socket::fuzzing;
use threads::Threads;

/// Last part of DRAIN_TIMEOUT, in which sockets that are still busy are closed with code 1012. A quarter of
/// DRAIN_TIMEOUT if that is shorter.
const EXPIRY_GRACE: Duration = Duration::from_secs(2);
/// Time after EXPIRY_GRACE for the last steps of the node, before the process ends. An eighth of DRAIN_TIMEOUT if that
/// is shorter.
const CLOSING_GRACE: Duration = Duration::from_millis(500);

/// Minimum size in bytes of a response that is compressed. A smaller response fits into one packet without compression.
const MIN_COMPRESSED_BYTES: u64 = 1024;

/// State that all handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

/// The fields of `Server`. Public only because `Server` dereferences to it.
#[doc(hidden)]
pub struct Inner {
    app: App,
    schemas: Schemas,
    plans: Arc<Plans>,
    documents: Arc<Documents>,
    costs: Costs,
    threads: Threads,
    connection_limit: ConnectionLimit<UserId>,
    connections: Connections,
    subscription_budget: SubscriptionBudget,
    config: Config,
    drain: Drain,
    /// The server's own S3. None if S3_ENDPOINT names another S3, or if files are not available.
    s3: Option<S3>,
}

impl Deref for Server {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Server {
    /// Creates the state. Fails if the file of PERSISTED_MANIFEST cannot be read or is invalid.
    pub fn new(app: App, config: Config, s3: Option<S3>) -> std::io::Result<Self> {
        for code in ErrorCode::ALL {
            app.metrics().expect_errors(code.as_str());
        }
        let schemas = Schemas::new(&app, &config.operations);
        Ok(Self(Arc::new(Inner {
            plans: Arc::new(Plans::new(schemas.executable().clone(), &app, &config)),
            schemas,
            documents: Arc::new(Documents::open(&config.operations)?),
            costs: Costs::new(config.operations.clone()),
            threads: Threads::new(),
            connection_limit: ConnectionLimit::default(),
            connections: Connections::new(&config, app.metrics()),
            subscription_budget: SubscriptionBudget::new(config.rendering.subscription_budget),
            drain: Drain::default(),
            config,
            app,
            s3,
        })))
    }

    /// Counts a connection of the user until the permit is dropped. Returns RATE_LIMITED if the user already has
    /// SOCKET_MAX_PER_USER connections.
    fn admit(&self, user: UserId) -> Result<Permit<UserId>, Error> {
        let max = self.config.socket.socket_max_per_user;
        self.connection_limit.try_acquire(user, max).ok_or_else(|| {
            let message =
                format!("A user may have at most {max} connections to this node at the same time. Close others.");
            Error::limited("SOCKET_MAX_PER_USER", Duration::from_secs(30), message)
        })
    }
}

/// Serves requests until `stop` is cancelled, and then drains: reports that the node is not ready, accepts no new
/// sockets, finishes the requests in flight, and closes the sockets with code 1012. Returns at the latest DRAIN_DELAY
/// plus DRAIN_TIMEOUT after `stop`.
pub async fn serve(server: Server, listener: TcpListener, stop: CancellationToken) -> std::io::Result<()> {
    let drain = server.drain.clone();
    let (delay, timeout) = (server.config.process.drain_delay, server.config.process.drain_timeout);
    let settings = &server.config.socket;
    let ack_timeout = settings.socket_ping_interval + settings.socket_pong_timeout;
    let _abandons = drain.abandon_on_drop();
    let connections = server.connections.clone();
    let listener = Listener::new(listener, router(server), connections, drain.clone(), ack_timeout);
    let mut serving = tokio::spawn(listener.run());
    tokio::select! {
        ended = &mut serving => return ended.map_err(std::io::Error::other),
        () = stop.cancelled() => drain.begin(),
    }
    tracing::info!("draining");
    tokio::time::sleep(delay).await;
    drain.close();
    let finished = async {
        drain.sockets_closed().await;
        (&mut serving).await
    };
    let (expiry, closing) = (EXPIRY_GRACE.min(timeout / 4), CLOSING_GRACE.min(timeout / 8));
    if let Ok(ended) = tokio::time::timeout(timeout.saturating_sub(expiry + closing), finished).await {
        return ended.map_err(std::io::Error::other);
    }
    tracing::warn!(?timeout, "requests were still in flight when the drain timed out");
    drain.expire();
    // This wait gives the sockets time to send their close frames.
    let _ = tokio::time::timeout(expiry, drain.sockets_closed()).await;
    Ok(())
}

fn router(server: Server) -> Router {
    // Streams are not compressed, because their events would wait in the compressor.
    let compressed = DefaultPredicate::new()
        .and(SizeAbove::new(MIN_COMPRESSED_BYTES))
        .and(NotForContentType::const_new("multipart/mixed"));
    let count_refusal = map_response_with_state(server.clone(), metrics::count_refusal);
    let limit_requests = from_fn_with_state(server.clone(), admission::limit_requests);
    let explorers = if server.config.web.explorers { explorer::router() } else { Router::new() };
    let pages = explorers.merge(home::router(&server.config)).merge(auth::router()).merge(unsubscribe::router());
    let pages = pages.layer(limit_requests.clone());
    let router =
        if server.config.process.metrics { Router::new().route("/metrics", get(metrics::text)) } else { Router::new() };
    let files = server.s3.as_ref().map(|s3| files::router(s3, &server.config)).unwrap_or_default();
    router
        .route("/graphql", get(graphql::get_or_upgrade).post(graphql::post).layer(limit_requests).layer(count_refusal))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/.well-known/jwks.json", get(public_keys))
        .layer(CompressionLayer::new().compress_when(compressed))
        // The files of the explorers are not compressed: they have several megabytes, and their compression would keep
        // the threads of the runtime busy.
        .merge(pages)
        .layer(cors(&server.config.web))
        .layer(header(REFERRER_POLICY, "no-referrer"))
        .layer(header(X_CONTENT_TYPE_OPTIONS, "nosniff"))
        // This layer logs no failures: a 503 while draining is not a failure, and other failures are logged where they
        // occur.
        .layer(TraceLayer::new_for_http().on_failure(()))
        .with_state(server)
        .merge(files)
}

/// Returns a layer that sets a header on every response that does not have this header.
fn header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// Returns the CORS layer. It allows all request headers, because browsers do not add the header with the access token
/// by themselves.
fn cors(web: &Web) -> CorsLayer {
    const PREFLIGHT_MAX_AGE: Duration = Duration::from_hours(2);
    let origins = if web.allows_any_origin() {
        AllowOrigin::any()
    } else {
        let web = web.clone();
        AllowOrigin::predicate(move |origin, _| origin.to_str().is_ok_and(|origin| web.allows(origin)))
    };
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Returns the public keys that verify access tokens, as a JWK set (RFC 7517).
async fn public_keys(State(server): State<Server>) -> Json<JwkSet> {
    Json(server.app.tokens().public_keys().clone())
}
