//! The exchange over Redis Pub/Sub: one channel for all nodes, and one for each node.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::exchange::{Exchange, Incoming, NodeId, NodeMessage, Target, channel};
use crate::error::Result;
use crate::random::Random;
use crate::redis::{PubSub, Received};

/// Number of connections for publishing. One is enough, because a node publishes one message at a time.
const PUBLISHING_CONNECTIONS: u32 = 1;

pub struct RedisExchange {
    redis: PubSub,
    prefix: String,
}

impl RedisExchange {
    /// Connects to Redis. Fails if Redis is unavailable. If Redis becomes unavailable later, the subscription is
    /// retried.
    pub async fn connect(url: &str, prefix: &str, random: Random) -> Result<Self> {
        let redis = PubSub::connect(url, PUBLISHING_CONNECTIONS, random).await?;
        Ok(Self { redis, prefix: prefix.to_owned() })
    }

    /// Returns the name of the channel. The braces mark a hash tag, by which Redis Cluster assigns all these channels
    /// to one shard.
    fn channel(&self, to: Target) -> String {
        let prefix = &self.prefix;
        match to {
            Target::AllNodes => format!("{{{prefix}:live}}:all"),
            Target::Node(NodeId(node)) => format!("{{{prefix}:live}}:node:{node:016x}"),
        }
    }
}

impl Exchange for RedisExchange {
    fn publish<'a>(&'a self, to: Target, message: &'a NodeMessage) -> BoxFuture<'a, Result<()>> {
        async move { self.redis.publish(&self.channel(to), message).await }.boxed()
    }

    fn subscribe(&self, node: NodeId, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        let (sender, incoming) = channel();
        let channels = vec![self.channel(Target::AllNodes), self.channel(Target::Node(node))];
        self.redis.subscribe(channels, translate, sender, stop);
        incoming
    }
}

fn translate(received: Received<NodeMessage>) -> Option<Incoming> {
    match received {
        Received::Subscribed => Some(Incoming::Connected),
        Received::Published(message) => Some(Incoming::Message(message)),
        // The next message shows that a number is missing, and then this node asks for all facts.
        Received::Malformed => None,
    }
}
