//! Faults under load: nodes, Redis and Postgres die, stop or restart while clients send messages. Every acknowledged
//! message is stored, and every listener receives it once, in the same order. `make soak` runs the same tests for
//! longer.

mod clients;

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use diesel_async::SimpleAsyncConnection as _;
use parlance::clock::Clock;
use parlance::log::RedisBroker;
use parlance::random::Random;
use tokio::time::{Instant, sleep, sleep_until};

use clients::Clients;

use crate::support::{
    Api, FaultyBroker, HeldLog, Node, NodeBuilder, NodeProcess, OwnPostgres, PATIENCE, Redis, TestDatabase, redis_url,
    scale, url_of_node, within,
};

/// Builds two nodes in this process.
async fn nodes(build: impl AsyncFn(usize) -> Node) -> [Node; 2] {
    [build(0).await, build(1).await]
}

async fn start_clients(nodes: &[Node; 2]) -> Clients {
    Clients::start(nodes.iter().map(Api::from).collect(), scale().clients).await
}

async fn broker(url: &str, prefix: &str) -> RedisBroker {
    RedisBroker::connect(url, prefix, Random::system()).await.unwrap()
}

async fn over(redis: &Redis, database: &TestDatabase) -> NodeBuilder {
    Node::build().broker(Arc::new(broker(&redis.url(), &database.name).await))
}

#[tokio::test]
async fn no_message_is_lost_when_redis_is_killed_and_restarted() {
    let database = TestDatabase::new().await;
    let mut redis = Redis::start().await;
    // The tail does not poll during the test. Nodes get events over Redis, or read the log when Redis is available
    // again.
    let build = async |_| over(&redis, &database).await.flag("--tail-poll-interval=60000").start_on(&database).await;
    let nodes = nodes(build).await;
    let mut clients = start_clients(&nodes).await;
    for _ in 0..scale().rounds {
        redis.kill().await;
        clients.more_acknowledged().await;
        redis.restart().await;
        clients.all_delivered().await;
    }
    clients.finish(&database.url).await;
}

/// At first Redis keeps its connections open but does not answer. Later Redis is killed.
#[tokio::test]
async fn messages_are_delivered_while_redis_is_unavailable() {
    let database = TestDatabase::new().await;
    let mut redis = Redis::start().await;
    let build = async |_| over(&redis, &database).await.flag("--tail-poll-interval=100").start_on(&database).await;
    let nodes = nodes(build).await;
    let mut clients = start_clients(&nodes).await;
    redis.pause();
    send_and_deliver_for(scale().redis_pause, &mut clients).await;
    redis.resume();
    send_and_deliver_for(Duration::ZERO, &mut clients).await;
    redis.kill().await;
    send_and_deliver_for(scale().redis_pause, &mut clients).await;
    redis.restart().await;
    send_and_deliver_for(Duration::ZERO, &mut clients).await;
    clients.finish(&database.url).await;
}

/// Checks that messages are acknowledged and delivered, repeatedly until `duration` has passed.
async fn send_and_deliver_for(duration: Duration, clients: &mut Clients) {
    let end = Instant::now() + duration;
    loop {
        clients.more_acknowledged().await;
        clients.all_delivered().await;
        if Instant::now() >= end {
            return;
        }
    }
}

/// Postgres crashes, is unavailable for a while, and recovers at its next start.
#[tokio::test]
async fn no_acknowledged_message_is_lost_when_postgres_crashes() {
    let postgres = OwnPostgres::start().await;
    let prefix = TestDatabase::unused_name();
    let build = async |_| Node::build().redis(&prefix).await.start_at(postgres.url()).await;
    let nodes = nodes(build).await;
    let mut clients = start_clients(&nodes).await;
    let options = postgres.options();
    for _ in 0..scale().rounds {
        postgres.crash().await;
        sleep(scale().postgres_pause).await;
        postgres.restart(&options).await;
        clients.more_acknowledged().await;
        clients.all_delivered().await;
    }
    assert!(clients.retries() > 0, "no sender had to retry");
    clients.finish(postgres.url()).await;
    drop(nodes);
    postgres.stop().await;
}

/// All connections are cut repeatedly, at random moments of their statements and transactions.
#[tokio::test]
async fn no_acknowledged_message_is_lost_when_all_postgres_connections_are_cut() {
    let database = TestDatabase::new().await;
    let build = async |_| Node::build().redis(&database.name).await.start_on(&database).await;
    let nodes = nodes(build).await;
    let mut clients = start_clients(&nodes).await;
    let mut connection = database.connection().await;
    let end = Instant::now() + scale().cutting;
    while Instant::now() < end {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        connection.batch_execute(cut).await.unwrap();
        sleep(Duration::from_millis(40)).await;
    }
    clients.more_acknowledged().await;
    clients.all_delivered().await;
    assert!(clients.retries() > 0, "no sender had to retry");
    clients.finish(&database.url).await;
}

/// The connection of the writer is cut after it has inserted messages and before it commits them.
#[tokio::test]
async fn a_message_is_stored_once_when_a_connection_is_cut_in_its_transaction() {
    let database = TestDatabase::new().await;
    let build = async |n| Node::build().redis(&database.name).await.start_at(&url_of_node(&database, n)).await;
    let nodes = nodes(build).await;
    let mut clients = start_clients(&nodes).await;
    let mut connection = database.connection().await;
    for _ in 0..scale().rounds {
        let before = clients.retries();
        let log = HeldLog::new(&database).await;
        let writer = log.waiting().await;
        connection.batch_execute(&format!("SELECT pg_terminate_backend({})", writer.pid)).await.unwrap();
        log.release().await;
        clients.more_acknowledged().await;
        clients.all_delivered().await;
        assert!(clients.retries() > before, "no sender had to retry");
    }
    clients.finish(&database.url).await;
}

#[tokio::test]
async fn lost_doubled_and_reordered_publications_are_delivered_once_in_order() {
    const SEED: u64 = 1;
    const FAULTS: usize = 10;
    let database = TestDatabase::new().await;
    let inner = Arc::new(broker(&redis_url(), &database.name).await);
    let faulty = Arc::new(FaultyBroker::new(inner, SEED));
    let build = async |_| {
        // If the last publication is lost, no later publication reveals the gap. Only polling finds the event.
        Node::build().broker(faulty.clone()).flag("--tail-poll-interval=200").start_on(&database).await
    };
    let nodes = nodes(build).await;
    let mut clients = start_clients(&nodes).await;
    let enough = async {
        while faulty.faults() < FAULTS * scale().rounds {
            clients.more_acknowledged().await;
        }
    };
    within(4 * PATIENCE, "enough faults of each kind", enough).await;
    clients.all_delivered().await;
    clients.finish(&database.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_clients_can_reconnect_at_once_without_missing_messages() {
    let database = TestDatabase::new().await;
    let build = async |_| {
        let patient = Node::build().flag("--socket-init-timeout=60");
        patient.redis(&database.name).await.start_on(&database).await
    };
    let nodes = nodes(build).await;
    let mut clients = Clients::start(nodes.iter().map(Api::from).collect(), scale().crowd).await;
    for _ in 0..scale().rounds {
        clients.reconnect_all().await;
        clients.all_delivered().await;
    }
    clients.more_acknowledged().await;
    clients.finish(&database.url).await;
}

#[tokio::test]
async fn nodes_work_with_clocks_five_minutes_apart() {
    let database = TestDatabase::new().await;
    let build = async |n| {
        let wrong = TimeDelta::seconds(if n == 0 { -150 } else { 150 });
        Node::build().clock(Clock::off_by(wrong)).redis(&database.name).await.start_on(&database).await
    };
    let nodes = nodes(build).await;
    let (behind, ahead) = (nodes[0].app.clock().now(), nodes[1].app.clock().now());
    assert!(ahead - behind >= TimeDelta::minutes(5));
    let mut clients = start_clients(&nodes).await;
    for _ in 0..scale().rounds {
        clients.more_acknowledged().await;
        clients.reconnect_all().await;
        clients.all_delivered().await;
    }
    clients.finish(&database.url).await;
}

async fn processes(database: &TestDatabase) -> ([NodeProcess; 2], Clients) {
    let nodes = [NodeProcess::start(database, 0).await, NodeProcess::start(database, 1).await];
    let clients = Clients::start(nodes.iter().map(NodeProcess::api).collect(), scale().clients).await;
    (nodes, clients)
}

/// The node is killed with an open transaction and with connected clients.
#[tokio::test]
async fn no_acknowledged_message_is_lost_when_a_node_is_killed() {
    let database = TestDatabase::new().await;
    let (mut nodes, mut clients) = processes(&database).await;
    for _ in 0..scale().rounds {
        let before = clients.retries();
        let log = HeldLog::new(&database).await;
        let node = log.waiting().await.node();
        nodes[node].kill().await;
        log.release().await;
        clients.more_acknowledged().await;
        clients.all_delivered().await;
        assert!(clients.retries() > before, "no sender had to retry");
        nodes[node].restart().await;
        clients.more_acknowledged().await;
    }
    clients.all_delivered().await;
    clients.finish(&database.url).await;
}

/// The paused node holds the lock of the log. Postgres ends its transaction, and the other node continues.
#[tokio::test]
async fn other_nodes_continue_when_a_paused_node_holds_the_log_lock() {
    let database = TestDatabase::new().await;
    let (nodes, mut clients) = processes(&database).await;
    for _ in 0..scale().rounds {
        let before = clients.retries();
        let log = HeldLog::new(&database).await;
        let node = log.waiting().await.node();
        nodes[node].pause();
        let end = Instant::now() + scale().node_pause;
        log.release().await;
        clients.more_acknowledged().await;
        sleep_until(end).await;
        nodes[node].resume();
        clients.more_acknowledged().await;
        clients.all_delivered().await;
        assert!(clients.retries() > before, "no sender had to retry");
    }
    clients.finish(&database.url).await;
}
