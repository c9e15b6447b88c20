//! A baseline server: Parlance's schema, log and database, served by async-graphql-axum as its documentation shows.
//! Each subscriber has a separate execution and loader. The WebSocket buffers are axum's defaults, and the allocator is
//! the same as Parlance's.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use async_graphql::http::ALL_WEBSOCKET_PROTOCOLS;
use async_graphql::{Data, Executor, Request, Response as Answer};
use async_graphql_axum::{GraphQLProtocol, GraphQLRequest, GraphQLResponse, GraphQLWebSocket};
use axum::Router;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::get;
use clap::Parser;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use parlance::clock::Clock;
use parlance::config::Config;
use parlance::domain::{App, Cluster};
use parlance::graphql::{Batches, Caller, Identity, Schema, Schemas, StreamLoaders};
use parlance::limiter::Limiter;
use parlance::live::MemoryExchange;
use parlance::log::MemoryBroker;
use parlance::notices::Language;
use parlance::random::Random;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The command line of this baseline: the settings of a Parlance server.
#[derive(Debug, Parser)]
pub(super) struct Options {
    #[command(flatten)]
    config: Config,
}

#[derive(Clone)]
struct Stock {
    app: App,
    schema: Loading,
}

/// The schema with separate loaders for each execution. A load begins when the execution waits for nothing else, which
/// is faster than the delay of 1 ms that async-graphql has by default.
#[derive(Clone)]
struct Loading {
    schema: Schema,
    loaders: StreamLoaders,
}

impl Executor for Loading {
    async fn execute(&self, request: Request) -> Answer {
        let batches = Batches::default();
        let request = request.data(self.loaders.loaders(batches.clone()));
        batches.drive(self.schema.execute(request)).await
    }

    fn execute_stream(&self, request: Request, session: Option<Arc<Data>>) -> BoxStream<'static, Answer> {
        let batches = Batches::default();
        let request = request.data(self.loaders.loaders(batches.clone()));
        batches.drive_stream(Executor::execute_stream(&self.schema, request, session)).boxed()
    }
}

pub(super) async fn serve(options: Options) -> Result<()> {
    let config = options.config;
    let url = config.places.database_url.clone().context("DATABASE_URL is missing")?;
    parlance::store::migrate(&url).await?;
    let stop = CancellationToken::new();
    let cluster = Cluster {
        broker: Arc::new(MemoryBroker::default()),
        exchange: Arc::new(MemoryExchange::default()),
        limiter: Limiter::local(&config.rates),
    };
    let app = App::open(&config, &url, cluster, Clock::system(), Random::system(), stop).await?;
    // This schema executes documents without validation, as in the server.
    let schema = Schemas::new(&app, &config.operations).executable().clone();
    let stock = Stock { schema: Loading { schema, loaders: StreamLoaders::new(app.clone()) }, app };
    let router = Router::new().route("/graphql", get(subscribe).post(execute)).with_state(stock);
    let listener = TcpListener::bind(config.places.listen_addr).await?;
    println!("http://{}/graphql", listener.local_addr()?);
    tokio::select! {
        ended = async { axum::serve(listener, router).await } => Ok(ended?),
        ended = until_terminated() => ended,
    }
}

pub(super) async fn until_terminated() -> Result<()> {
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

async fn execute(State(stock): State<Stock>, headers: HeaderMap, request: GraphQLRequest) -> GraphQLResponse {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = stock.caller(authorization).await;
    stock.schema.execute(request.into_inner().data(caller)).await.into()
}

async fn subscribe(State(stock): State<Stock>, protocol: GraphQLProtocol, upgrade: WebSocketUpgrade) -> Response {
    upgrade.protocols(ALL_WEBSOCKET_PROTOCOLS).on_upgrade(move |socket| {
        GraphQLWebSocket::new(socket, stock.schema.clone(), protocol)
            .on_connection_init(async move |payload: Value| {
                let mut data = Data::default();
                data.insert(stock.caller(payload["Authorization"].as_str()).await);
                Ok(data)
            })
            .serve()
    })
}

impl Stock {
    async fn caller(&self, authorization: Option<&str>) -> Caller {
        let identity = match authorization.and_then(|value| value.strip_prefix("Bearer ")) {
            None => Identity::Anonymous,
            Some(token) => match self.app.sessions().authenticate(token).await {
                Ok(viewer) => Identity::SignedIn(viewer),
                Err(_) => Identity::Rejected("The access token is invalid."),
            },
        };
        Caller { identity, ip_address: None, network: None, language: Language::default() }
    }
}
