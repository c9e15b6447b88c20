//! Presence of many users, and recovery of lost publications between nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use parlance::live::{Exchange, Incoming, MemoryExchange, NodeId, NodeMessage, Target};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Listener, Nodes, Way, set_presence};
use crate::support::{Node, Socket, User, eventually};

/// A user who connects causes one publication. A user who reconnects within PRESENCE_GRACE causes no publication.
#[tokio::test]
async fn presence_is_published_once_per_user_whose_presence_changed() {
    const USERS: usize = 200;
    let Nodes { one, two, database: _database, .. } = Way::Redis.nodes([2, 300, 20]).await;
    let watcher = two.register("watcher").await;
    let users = one.register_many(USERS).await;
    let published = async |node: &Node| node.metric("parlance_live_published_total{kind=\"presence\"}").await;
    let mut watching = Listener::presence(&watcher, &users.iter().take(100).collect::<Vec<_>>()).await;
    for _ in 0..100 {
        assert_eq!(watching.status().await, "OFFLINE");
    }
    let before = [published(&one).await, published(&two).await];
    let sockets = sockets_of(&users).await;
    for _ in 0..100 {
        assert_eq!(watching.status().await, "ONLINE");
    }
    assert_eq!(published(&one).await - before[0], USERS as u64);
    drop(sockets);
    let back = sockets_of(&users).await;
    assert_eq!(published(&one).await - before[0], USERS as u64, "a reconnect was published");
    drop(back);
    // The other node publishes once per user that the user is connected to it.
    let _moved = sockets_of(&users.iter().map(|user| user.on(&two)).collect::<Vec<_>>()).await;
    assert_eq!(published(&two).await - before[1], USERS as u64);
    // The next event of the subscriber is this change, so no other change was delivered.
    set_presence(&users[0].on(&two), "AWAY").await.data();
    assert_eq!(watching.status().await, "AWAY");
}

async fn sockets_of(users: &[User]) -> Vec<Socket> {
    join_all(users.iter().map(User::socket)).await
}

/// An exchange that drops all publications while `deaf` is set.
struct DeafExchange {
    inner: MemoryExchange,
    deaf: AtomicBool,
}

impl Exchange for DeafExchange {
    fn publish<'a>(&'a self, to: Target, message: &'a NodeMessage) -> BoxFuture<'a, parlance::error::Result<()>> {
        if self.deaf.load(Ordering::SeqCst) {
            return Box::pin(async { Ok(()) });
        }
        self.inner.publish(to, message)
    }

    fn subscribe(&self, node: NodeId, stop: CancellationToken) -> mpsc::Receiver<Incoming> {
        self.inner.subscribe(node, stop)
    }
}

/// While all publications are lost, a node also misses its own heartbeats, and so does not treat other nodes as dead.
/// Afterwards each node requests the changes that it missed.
#[tokio::test]
async fn nodes_recover_publications_that_were_lost() {
    let exchange = Arc::new(DeafExchange { inner: MemoryExchange::default(), deaf: AtomicBool::new(false) });
    let way = Way::Memory(Arc::default(), Arc::clone(&exchange) as _);
    let Nodes { one, two, database: _database, .. } = way.nodes([2, 0, 1]).await;
    let (ada, bob, cem) = (one.register("ada").await, one.register("bob").await, two.register("cem").await);
    let conversation = ada.create_group("Deaf", &[&bob, &cem]).await;
    let bobs = bob.socket().await;
    let mut of_ada = Listener::presence(&cem, &[&ada]).await;
    let mut of_bob = Listener::presence(&cem, &[&bob]).await;
    assert_eq!(of_ada.status().await, "OFFLINE");
    of_bob.expect_online().await;
    let mut room = Listener::room(&cem, &conversation).await;
    room.snapshot().await;
    exchange.deaf.store(true, Ordering::SeqCst);
    let _adas = Listener::room(&ada, &conversation).await;
    // Waits longer than PRESENCE_NODE_TTL.
    sleep(Duration::from_secs(2)).await;
    of_bob.expect_no_event().await;
    of_ada.expect_no_event().await;
    drop(bobs);
    eventually("one socket is left", async || one.metric("parlance_sockets_open").await == 1).await;
    exchange.deaf.store(false, Ordering::SeqCst);
    assert_eq!(of_ada.status().await, "ONLINE");
    assert_eq!(of_bob.status().await, "OFFLINE");
    room.expect_change("RoomEntered", &ada).await;
}
