//! The broker over Redis Pub/Sub: one channel for the lane.

use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::{self, Client, aio::PubSub};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::broker::{Broker, Incoming, Publication, channel};
use crate::error::{Error, Result};
use crate::random::Random;

/// How long a publication waits for a connection; the tails' look at Postgres is quicker than more.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);
const PUBLISHING_CONNECTIONS: u32 = 4;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

pub struct RedisBroker {
    pool: bb8::Pool<RedisConnectionManager>,
    client: Client,
    channel: String,
    random: Random,
}

impl RedisBroker {
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
        // The braces make the lane its own shard key under Redis Cluster.
        Ok(Self { pool, client, channel: format!("{{{prefix}:lane:0}}:events"), random })
    }
}

impl Broker for RedisBroker {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, Result<()>> {
        Box::pin(async move {
            let payload = serde_json::to_vec(publication).map_err(|error| Error::Corrupt(error.to_string()))?;
            let mut connection = self.pool.get().await.map_err(|error| Error::RedisConnection(error.to_string()))?;
            redis::cmd("PUBLISH").arg(&self.channel).arg(payload).query_async::<()>(&mut *connection).await?;
            Ok(())
        })
    }

    fn subscribe(&self, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        let (sender, incoming) = channel();
        let (client, channel, random) = (self.client.clone(), self.channel.clone(), self.random.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            let mut backoff = FIRST_BACKOFF;
            while !sender.is_closed() {
                match listen(&client, &channel, &sender, &mut backoff).await {
                    Ok(()) => info!("Redis closed the subscription; subscribing again"),
                    Err(error) => warn!(%error, "no subscription to Redis; trying again"),
                }
                tokio::time::sleep(random.jittered(backoff)).await;
                backoff = (backoff * 2).min(LAST_BACKOFF);
            }
        }));
        incoming
    }
}

/// Passes on what is published until the connection ends.
async fn listen(client: &Client, channel: &str, sender: &mpsc::Sender<Incoming>, backoff: &mut Duration) -> Result<()> {
    let mut pubsub: PubSub = client.get_async_pubsub().await?;
    pubsub.subscribe(channel).await?;
    debug!(channel, "subscribed to Redis");
    *backoff = FIRST_BACKOFF;
    // What was published while nobody listened is in Postgres.
    if sender.send(Incoming::Gap).await.is_err() {
        return Ok(());
    }
    let mut messages = pubsub.into_on_message();
    while let Some(message) = messages.next().await {
        let next = match serde_json::from_slice(message.get_payload_bytes()) {
            Ok(publication) => Incoming::Published(publication),
            Err(error) => {
                warn!(%error, "a publication that cannot be understood");
                Incoming::Gap
            }
        };
        if sender.send(next).await.is_err() {
            break;
        }
    }
    Ok(())
}
