//! Redis Pub/Sub, which carries the messages of the log and of live state between nodes.

mod connection;

use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::{self, Client};
use futures_util::StreamExt as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

pub use connection::client;

use crate::error::{Error, Result};
use crate::random::Random;

/// Maximum time that a message waits for a connection. After this time, publishing fails. Other nodes recover missed
/// messages: they read events from Postgres and request missing live state.
const CONNECTION_WAIT: Duration = Duration::from_secs(1);
/// Backoff before the first retry of a subscription. The backoff doubles with each retry, up to `LAST_BACKOFF`, so that
/// all nodes together do not overload a Redis that has just restarted.
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// Publishes messages through a pool of connections. Each subscription has a separate connection.
pub struct PubSub {
    pool: bb8::Pool<RedisConnectionManager>,
    client: Client,
    random: Random,
}

/// An item that a subscription receives.
#[derive(Debug)]
pub enum Received<T> {
    /// The subscription is established, for the first time or again. Messages that were published before may be lost.
    Subscribed,
    Published(T),
    /// A message that cannot be decoded, perhaps because a node of another version published it.
    Malformed,
}

impl PubSub {
    /// Connects to Redis. `connections` is the maximum number of messages in flight. Fails if Redis is unavailable now.
    /// If Redis becomes unavailable later, subscriptions are retried.
    pub async fn connect(url: &str, connections: u32, random: Random) -> Result<Self> {
        let client = client(url)?;
        let manager = RedisConnectionManager::new(client.get_connection_info().clone())?;
        let pool = bb8::Pool::builder()
            .max_size(connections)
            .connection_timeout(CONNECTION_WAIT)
            // Each connection is tested before use, because the pool does not notice when Redis closes an idle
            // connection.
            .test_on_check_out(true)
            .build(manager)
            .await?;
        connection::check(&client, url).await?;
        Ok(Self { pool, client, random })
    }

    pub async fn publish(&self, channel: &str, message: &impl Serialize) -> Result<()> {
        let payload = serde_json::to_vec(message).map_err(|error| Error::Corrupt(error.to_string()))?;
        let mut connection = self.pool.get().await.map_err(|error| Error::RedisConnection(error.to_string()))?;
        redis::cmd("PUBLISH").arg(channel).arg(payload).query_async::<()>(&mut *connection).await?;
        Ok(())
    }

    /// Starts a task that subscribes to the channels. It sends each item for which `translate` returns a value to
    /// `sender`. The task ends when `stop` is cancelled or the receiver is dropped.
    pub fn subscribe<T, I>(
        &self,
        channels: Vec<String>,
        translate: fn(Received<T>) -> Option<I>,
        sender: mpsc::Sender<I>,
        stop: CancellationToken,
    ) where
        T: DeserializeOwned + Send + 'static,
        I: Send + 'static,
    {
        let random = self.random.clone();
        let subscription =
            Subscription { client: self.client.clone(), channels, translate, sender, stop: stop.clone() };
        tokio::spawn(stop.run_until_cancelled_owned(subscription.run(random)));
    }
}

struct Subscription<T, I> {
    client: Client,
    channels: Vec<String>,
    translate: fn(Received<T>) -> Option<I>,
    sender: mpsc::Sender<I>,
    stop: CancellationToken,
}

impl<T: DeserializeOwned, I> Subscription<T, I> {
    async fn run(self, random: Random) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            let ended = self.listen(&mut backoff).await;
            // The node stops: the receiver was dropped, or the runtime has ended the connection to Redis during this poll.
            if self.sender.is_closed() || self.stop.is_cancelled() {
                return;
            }
            match ended {
                Ok(()) => info!(channels = ?self.channels, "Redis closed a subscription; subscribing again"),
                Err(error) => warn!(%error, channels = ?self.channels, "subscribing to Redis failed; trying again"),
            }
            tokio::time::sleep(random.jittered(backoff)).await;
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    /// Subscribes, and forwards messages until the connection ends or the receiver is dropped.
    async fn listen(&self, backoff: &mut Duration) -> Result<()> {
        let mut pubsub = self.client.get_async_pubsub().await?;
        pubsub.subscribe(&self.channels).await?;
        debug!(channels = ?self.channels, "subscribed to Redis");
        *backoff = FIRST_BACKOFF;
        let mut received = Received::Subscribed;
        let mut messages = pubsub.into_on_message();
        loop {
            if let Some(incoming) = (self.translate)(received)
                && self.sender.send(incoming).await.is_err()
            {
                return Ok(());
            }
            let Some(message) = messages.next().await else { return Ok(()) };
            received = match serde_json::from_slice(message.get_payload_bytes()) {
                Ok(message) => Received::Published(message),
                Err(error) => {
                    warn!(%error, channels = ?self.channels, "a publication cannot be decoded");
                    Received::Malformed
                }
            };
        }
    }
}
