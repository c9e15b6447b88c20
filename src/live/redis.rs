//! The exchange over Redis Pub/Sub: a channel for everybody, and one for each node.

use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::{self, Client};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::exchange::{Exchange, Incoming, NodeId, Publication, To, channel};
use crate::error::{Error, Result};
use crate::random::Random;

/// How long a publication waits for a connection; what is not told is asked for.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);
/// A node publishes one thing after the other.
const PUBLISHING_CONNECTIONS: u32 = 1;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

pub struct RedisExchange {
    pool: bb8::Pool<RedisConnectionManager>,
    client: Client,
    prefix: String,
    random: Random,
}

impl RedisExchange {
    /// Fails where Redis cannot be reached now; later absences are ridden out.
    pub async fn connect(url: &str, prefix: &str, random: Random) -> Result<Self> {
        let pool = bb8::Pool::builder()
            .max_size(PUBLISHING_CONNECTIONS)
            .connection_timeout(CONNECTION_WAIT)
            // One that Redis has closed does not know it.
            .test_on_check_out(true)
            .build(RedisConnectionManager::new(url)?)
            .await?;
        let client = Client::open(url)?;
        client.get_multiplexed_async_connection().await?;
        Ok(Self { pool, client, prefix: prefix.to_owned(), random })
    }

    /// The braces make what is live its own shard key under Redis Cluster.
    fn channel(&self, to: To) -> String {
        let prefix = &self.prefix;
        match to {
            To::Everybody => format!("{{{prefix}:live}}:all"),
            To::Node(NodeId(node)) => format!("{{{prefix}:live}}:node:{node:016x}"),
        }
    }
}

impl Exchange for RedisExchange {
    fn publish<'a>(&'a self, to: To, publication: &'a Publication) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let payload = serde_json::to_vec(publication).map_err(|error| Error::Corrupt(error.to_string()))?;
            let mut connection = self.pool.get().await.map_err(|error| Error::RedisConnection(error.to_string()))?;
            redis::cmd("PUBLISH").arg(self.channel(to)).arg(payload).query_async::<()>(&mut *connection).await?;
            Ok(())
        })
    }

    fn subscribe(&self, node: NodeId, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        let (sender, incoming) = channel();
        let channels = [self.channel(To::Everybody), self.channel(To::Node(node))];
        let (client, random) = (self.client.clone(), self.random.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let mut backoff = FIRST_BACKOFF;
            while !sender.is_closed() {
                match listen(&client, &channels, &sender, &mut backoff).await {
                    Ok(()) => info!("Redis closed the subscription to what is live; subscribing again"),
                    Err(error) => warn!(%error, "no subscription to what is live; trying again"),
                }
                tokio::time::sleep(random.jittered(backoff)).await;
                backoff = (backoff * 2).min(LAST_BACKOFF);
            }
        }));
        incoming
    }
}

/// Passes on what is published until the connection ends.
async fn listen(
    client: &Client,
    channels: &[String],
    sender: &mpsc::Sender<Incoming>,
    backoff: &mut Duration,
) -> Result<()> {
    let mut pubsub = client.get_async_pubsub().await?;
    pubsub.subscribe(channels).await?;
    debug!(?channels, "subscribed to what is live");
    *backoff = FIRST_BACKOFF;
    if sender.send(Incoming::Connected).await.is_err() {
        return Ok(());
    }
    let mut messages = pubsub.into_on_message();
    while let Some(message) = messages.next().await {
        match serde_json::from_slice(message.get_payload_bytes()) {
            Ok(publication) => {
                if sender.send(Incoming::Published(publication)).await.is_err() {
                    break;
                }
            }
            // Of another version: its number is missing, and so it is asked for.
            Err(error) => warn!(%error, "word of what is live that cannot be understood"),
        }
    }
    Ok(())
}
