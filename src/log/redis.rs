//! The broker over Redis Pub/Sub. It uses one channel for the only lane of the log.

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::broker::{Broker, Incoming, Publication, channel};
use crate::error::Result;
use crate::random::Random;
use crate::redis::{PubSub, Received};

const PUBLISHING_CONNECTIONS: u32 = 4;

pub struct RedisBroker {
    redis: PubSub,
    channel: String,
}

impl RedisBroker {
    /// Connects to Redis. Fails if Redis is unavailable now. If Redis becomes unavailable later, the subscription is
    /// retried.
    pub async fn connect(url: &str, prefix: &str, random: Random) -> Result<Self> {
        let redis = PubSub::connect(url, PUBLISHING_CONNECTIONS, random).await?;
        // The braces are a hash tag, by which Redis Cluster assigns the channel to a shard.
        Ok(Self { redis, channel: format!("{{{prefix}:lane:0}}:events") })
    }
}

impl Broker for RedisBroker {
    fn publish<'a>(&'a self, publication: &'a Publication) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.redis.publish(&self.channel, publication))
    }

    fn subscribe(&self, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        let (sender, incoming) = channel();
        self.redis.subscribe(vec![self.channel.clone()], translate, sender, stop);
        incoming
    }
}

/// Converts what Redis delivered to an item for the tail. Converts a new subscription and a publication that cannot be
/// decoded to a gap, after which the tail reads the missing events from Postgres.
#[expect(clippy::unnecessary_wraps, reason = "other translators return None for some items")]
fn translate(received: Received<Publication>) -> Option<Incoming> {
    Some(match received {
        Received::Published(publication) => Incoming::Published(publication),
        Received::Subscribed | Received::Malformed => Incoming::Gap,
    })
}
