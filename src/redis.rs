//! Redis Pub/Sub: the way between nodes, of the log and of what is live.

use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::{self, Client};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::error::{Error, Result};
use crate::random::Random;

/// How long a publication waits for a connection. Nobody waits for longer: what is not told is asked for, or read from
/// Postgres.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);
/// Until a subscription that is gone is tried again: from the first to the last, doubled each time, so that all nodes
/// together do not hold up a Redis that comes back.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// Connections to publish with, and what it takes to subscribe.
pub struct PubSub {
    pool: bb8::Pool<RedisConnectionManager>,
    client: Client,
    random: Random,
}

/// What a subscription brings.
#[derive(Debug)]
pub enum Heard<T> {
    /// From here on it hears; what was published before may be lost.
    Subscribed,
    Published(T),
    /// Of another version, perhaps.
    Garbled,
}

impl PubSub {
    /// `connections` is how many publications can be under way at a time. Fails where Redis cannot be reached now; later
    /// absences are ridden out.
    pub async fn connect(url: &str, connections: u32, random: Random) -> Result<Self> {
        let pool = bb8::Pool::builder()
            .max_size(connections)
            .connection_timeout(CONNECTION_WAIT)
            // One that Redis has closed does not know it.
            .test_on_check_out(true)
            .build(RedisConnectionManager::new(url)?)
            .await?;
        let client = Client::open(url)?;
        client.get_multiplexed_async_connection().await?;
        Ok(Self { pool, client, random })
    }

    pub async fn publish(&self, channel: &str, publication: &impl Serialize) -> Result<()> {
        let payload = serde_json::to_vec(publication).map_err(|error| Error::Corrupt(error.to_string()))?;
        let mut connection = self.pool.get().await.map_err(|error| Error::RedisConnection(error.to_string()))?;
        redis::cmd("PUBLISH").arg(channel).arg(payload).query_async::<()>(&mut *connection).await?;
        Ok(())
    }

    /// Sends what `translate` makes of what is heard on the channels, until `stop` is cancelled or nobody receives any
    /// more.
    pub fn subscribe<T, I>(
        &self,
        channels: Vec<String>,
        translate: fn(Heard<T>) -> Option<I>,
        sender: mpsc::Sender<I>,
        stop: CancellationToken,
    ) where
        T: DeserializeOwned + Send + 'static,
        I: Send + 'static,
    {
        let random = self.random.clone();
        let subscription = Subscription { client: self.client.clone(), channels, translate, sender };
        tokio::spawn(stop.run_until_cancelled_owned(subscription.run(random)));
    }
}

struct Subscription<T, I> {
    client: Client,
    channels: Vec<String>,
    translate: fn(Heard<T>) -> Option<I>,
    sender: mpsc::Sender<I>,
}

impl<T: DeserializeOwned, I> Subscription<T, I> {
    async fn run(self, random: Random) {
        let mut backoff = FIRST_BACKOFF;
        while !self.sender.is_closed() {
            match self.listen(&mut backoff).await {
                Ok(()) => info!(channels = ?self.channels, "Redis closed a subscription; subscribing again"),
                Err(error) => warn!(%error, channels = ?self.channels, "no subscription to Redis; trying again"),
            }
            tokio::time::sleep(random.jittered(backoff)).await;
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    /// Passes on what is published until the connection ends, or nobody receives any more.
    async fn listen(&self, backoff: &mut Duration) -> Result<()> {
        let mut pubsub = self.client.get_async_pubsub().await?;
        pubsub.subscribe(&self.channels).await?;
        debug!(channels = ?self.channels, "subscribed to Redis");
        *backoff = FIRST_BACKOFF;
        let mut heard = Heard::Subscribed;
        let mut messages = pubsub.into_on_message();
        loop {
            if let Some(incoming) = (self.translate)(heard)
                && self.sender.send(incoming).await.is_err()
            {
                return Ok(());
            }
            let Some(message) = messages.next().await else { return Ok(()) };
            heard = match serde_json::from_slice(message.get_payload_bytes()) {
                Ok(publication) => Heard::Published(publication),
                Err(error) => {
                    warn!(%error, channels = ?self.channels, "a publication that cannot be understood");
                    Heard::Garbled
                }
            };
        }
    }
}
