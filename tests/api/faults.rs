//! Parts that go away and come back: what was acknowledged is there, and every listener hears it once.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use parlance::log::RedisBroker;
use parlance::random::Random;

use crate::support::{Node, TestDatabase};

/// A Redis of the test's own, to be killed.
struct Redis {
    port: u16,
    process: Child,
}

impl Redis {
    fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Self { port, process: Self::spawn(port) }
    }

    fn spawn(port: u16) -> Child {
        let arguments = ["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
        let process = Command::new("redis-server").args(arguments).stdout(Stdio::null()).spawn().unwrap();
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        process
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn restart(&mut self) {
        self.process = Self::spawn(self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test]
async fn redis_goes_away_and_comes_back() {
    let database = TestDatabase::new().await;
    let mut redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    // No look at Postgres by itself: what arrives comes over Redis, or because Redis is back.
    let build = async || {
        let broker = RedisBroker::connect(&url, &database.name, Random::system()).await.unwrap();
        Node::build().broker(Arc::new(broker)).flag("--tail-poll-interval=60000").start_on(&database).await
    };
    let (one, two) = (build().await, build().await);
    let ada = one.register("ada").await;
    let group = ada.create_group("Redis", &[]).await;
    let mut inbox = ada.on(&two).inbox().await;
    let mut number = 0;
    for _ in 0..3 {
        for _ in 0..2 {
            ada.send(&group, "over Redis").await;
            number += 1;
            assert_eq!(inbox.message().await["number"], number);
        }
        redis.kill();
        for _ in 0..3 {
            ada.send(&group, "without Redis").await;
        }
        redis.restart();
        for _ in 0..3 {
            number += 1;
            assert_eq!(inbox.message().await["number"], number);
        }
    }
}

#[tokio::test]
async fn without_redis_events_arrive_by_the_look_at_postgres() {
    let database = TestDatabase::new().await;
    let mut redis = Redis::start();
    let url = format!("redis://127.0.0.1:{}", redis.port);
    let broker = RedisBroker::connect(&url, &database.name, Random::system()).await.unwrap();
    let node = Node::build().broker(Arc::new(broker)).flag("--tail-poll-interval=100").start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("No Redis", &[]).await;
    let mut inbox = ada.inbox().await;
    redis.kill();
    for number in 1..=10 {
        ada.send(&group, "all the same").await;
        assert_eq!(inbox.message().await["number"], number);
    }
}

/// Every connection to Postgres is cut again and again, in the middle of whatever they do. A client that is told
/// UNAVAILABLE sends again with its clientId, as one would.
#[tokio::test]
async fn connections_to_postgres_are_cut() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--tail-poll-interval=100").start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Cut", &[]).await;
    let mut inbox = ada.inbox().await;
    let send = async |client_id: String| loop {
        let answer = ada.try_send(&group, "through it all", Some(&client_id)).await;
        if answer.body.get("errors").is_none() {
            return answer.data()["sendMessage"]["message"]["number"].as_i64().unwrap();
        }
        assert_eq!(answer.code(), "UNAVAILABLE", "{:#}", answer.body);
    };
    let sends = async {
        let mut numbers = Vec::new();
        for round in 0..10 {
            numbers.extend(join_all((0..20).map(|i| send(format!("{round}-{i}")))).await);
        }
        numbers
    };
    let cuts = async {
        let mut connection = database.connection().await;
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        loop {
            connection.batch_execute(cut).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        }
    };
    let mut numbers = tokio::select! {
        numbers = sends => numbers,
        () = cuts => unreachable!("it never ends"),
    };
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>(), "each clientId is one message");
    for number in 1..=200 {
        assert_eq!(inbox.message().await["number"], number);
    }
    assert_eq!(ada.send(&group, "after").await["number"], 201);
    assert_eq!(inbox.message().await["number"], 201);
}
