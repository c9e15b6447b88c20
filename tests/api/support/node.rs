//! A server that runs in the test process, on its own port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser;
use futures_util::{StreamExt as _, stream};
use parlance::clock::Clock;
use parlance::config::{Config, S3Settings};
use parlance::domain::{App, Cluster};
use parlance::embedded::s3::S3;
use parlance::http::Server;
use parlance::limiter::Limiter;
use parlance::live::{Exchange, MemoryExchange, RedisExchange};
use parlance::log::{Broker, MemoryBroker, RedisBroker};
use parlance::random::Random;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::brokers::redis_url;
use super::client::{User, http_client};
use super::database::{TestDatabase, unique};
use super::notices::Notices;
use super::{PASSWORD, PATIENCE, eventually};

/// Key with which all nodes of a test sign access tokens, so that each node accepts the tokens of the other nodes.
pub const JWT_SECRET: &str = "a secret for tests that is long enough";

pub struct Node {
    pub address: SocketAddr,
    pub app: App,
    pub http: reqwest::Client,
    /// Settings of the S3 that the node uses: its embedded S3, or the S3 that was passed to `NodeBuilder::s3`.
    pub s3: S3Settings,
    pub database_url: String,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
    _tail: DropGuard,
    data_dir: Option<TempDir>,
    /// Directory of the embedded S3 of the node.
    files: TempDir,
    notices: Option<Notices>,
    // This must be the last field. Fields are dropped in order, and the fields before it may still use the database.
    database: Option<TestDatabase>,
}

pub struct NodeBuilder {
    broker: Arc<dyn Broker>,
    exchange: Arc<dyn Exchange>,
    /// URL of the Redis through which nodes share the counts of rate limits, and the prefix of the keys.
    limits: Option<(String, String)>,
    clock: Clock,
    flags: Vec<String>,
    real_hashes: bool,
    receives_notices: bool,
    quiet: bool,
    data_dir: Option<TempDir>,
    s3: Option<S3Settings>,
}

#[derive(Parser)]
#[command(args_override_self = true)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

impl Node {
    /// Starts a node with default settings and its own database.
    pub async fn start() -> Self {
        Self::build().start_alone().await
    }

    pub fn build() -> NodeBuilder {
        NodeBuilder {
            broker: Arc::new(MemoryBroker::default()),
            exchange: Arc::new(MemoryExchange::default()),
            limits: None,
            clock: Clock::system(),
            // Rate limits are off, because all users of a test share one address. Tests of rate limits turn them on. A
            // loaded machine may pause a test between the upgrade of a socket and its `connection_init`.
            flags: vec!["--rate-limits=off".to_owned(), "--socket-init-timeout=60".to_owned()],
            real_hashes: false,
            receives_notices: false,
            quiet: false,
            data_dir: None,
            s3: None,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Returns the e-mails and SMS that the node has sent. Panics without `NodeBuilder::receive_notices`.
    pub fn notices(&self) -> &Notices {
        self.notices.as_ref().unwrap()
    }

    /// Parses settings from command-line flags.
    pub fn config(flags: &[String]) -> Config {
        Flags::try_parse_from(["parlance".to_owned()].iter().chain(flags)).unwrap().config
    }

    /// Parses S3 settings from command-line flags.
    pub fn s3_settings(flags: &[String]) -> S3Settings {
        Self::config(flags).s3
    }

    /// Deletes a file from the embedded S3 of the node, as if a crash had lost the file.
    pub fn lose_file(&self, name: &str) {
        std::fs::remove_file(self.files.path().join(name)).unwrap();
    }

    /// Returns the paths of all files and directories of the embedded S3 of the node, sorted.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![self.files.path().to_owned()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
                found.push(entry.path().strip_prefix(self.files.path()).unwrap().to_str().unwrap().to_owned());
                if entry.file_type().unwrap().is_dir() {
                    directories.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }

    /// Reads the value of a series from `/metrics`. Panics if the value is not an integer.
    pub async fn metric(&self, series: &str) -> u64 {
        let text = self.http.get(self.url("/metrics")).send().await.unwrap().text().await.unwrap();
        let value = |line: &str| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(value).unwrap_or_else(|| panic!("no {series} in {text}"))
    }

    /// Waits until the user's first subscription on this node receives the events of the conversation. A pong shows
    /// only that the node has read the subscription: the stream starts later, at the then head of the log.
    pub async fn subscription_is_live(&self, user: &User, conversation: &str) {
        let (user, conversation) = (user.id.parse().unwrap(), conversation.parse().unwrap());
        eventually("the subscription is live", async || self.app.log().is_listener(user, conversation)).await;
    }

    /// Registers an account whose username starts with `name`.
    pub async fn register(&self, name: &str) -> User {
        User::register(self, &format!("{name}_{}", &unique()[..8]), PASSWORD).await
    }

    /// Registers users with generated names. Registers a few at a time, because each takes a hash of a password.
    pub async fn register_many(&self, count: usize) -> Vec<User> {
        stream::iter(0..count).map(|_| self.register("user")).buffered(4).collect().await
    }

    /// Returns the path of the key that the node has generated. Panics without `NodeBuilder::own_key`.
    pub fn key_path(&self) -> PathBuf {
        self.data_dir.as_ref().unwrap().path().join("access-token-key.pem")
    }

    /// Stops the node without a drain, as if its process were killed.
    pub fn kill(self) {
        self.served.abort();
    }

    /// Starts the drain.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub async fn stopped(self) {
        tokio::time::timeout(PATIENCE, self.served).await.unwrap().unwrap().unwrap();
    }
}

impl NodeBuilder {
    pub fn broker(mut self, broker: Arc<dyn Broker>) -> Self {
        self.broker = broker;
        self
    }

    pub fn exchange(mut self, exchange: Arc<dyn Exchange>) -> Self {
        self.exchange = exchange;
        self
    }

    /// Uses the Redis of `make test` for the broker, the exchange and rate limits, with this prefix.
    pub async fn redis(self, prefix: &str) -> Self {
        let broker = RedisBroker::connect(&redis_url(), prefix, Random::system()).await.unwrap();
        let exchange = RedisExchange::connect(&redis_url(), prefix, Random::system()).await.unwrap();
        self.broker(Arc::new(broker)).exchange(Arc::new(exchange)).limits_over(&redis_url(), prefix)
    }

    /// Shares the counts of rate limits through the Redis at `url`, with this prefix.
    pub fn limits_over(mut self, url: &str, prefix: &str) -> Self {
        self.limits = Some((url.to_owned(), prefix.to_owned()));
        self
    }

    /// Turns on rate limits and limits by address.
    pub fn limited(self) -> Self {
        self.flag("--rate-limits=on")
    }

    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Uses this S3 instead of the embedded S3 of the node.
    pub fn s3(mut self, settings: &S3Settings) -> Self {
        self.s3 = Some(settings.clone());
        self
    }

    /// Hashes passwords with the cost of the settings instead of the reduced cost of the tests.
    pub fn real_hashes(mut self) -> Self {
        self.real_hashes = true;
        self
    }

    /// Receives the e-mails and SMS that the node sends. Without this call, the node prints them in its log.
    pub fn receive_notices(mut self) -> Self {
        self.receives_notices = true;
        self
    }

    /// Starts a node that does not poll Postgres during a test, so that only statements of the test count. Its
    /// housekeeping has run once when the node is returned.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        // The interval of the polls for calls depends on the timeouts of calls.
        let calls = ["--call-ring-timeout=600", "--call-absence-timeout=600"];
        let polls = ["--tail-poll-interval=60000", "--schedule-poll-interval=60000", "--consumer-interval=60000"];
        self.flags(&polls).flags(&calls)
    }

    /// Turns on limits by address, without the rate limits that tests would exceed.
    pub fn keep_shares(self) -> Self {
        let rates = ["registrations", "requests", "operations", "cost"].map(|rate| format!("--rate-{rate}=off"));
        rates
            .iter()
            .fold(self.limited(), |node, flag| node.flag(flag))
            .flag("--password-tries-per-account=1000")
            .flag("--password-tries-per-address=10000")
    }

    /// Adds a command-line flag, such as `--max-group-size=5`.
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    pub fn flags(self, flags: &[&str]) -> Self {
        flags.iter().fold(self, |node, flag| node.flag(flag))
    }

    /// Signs access tokens with the key in this file.
    pub fn key(self, path: &Path) -> Self {
        self.flag(&format!("--jwt-private-key-file={}", path.display()))
    }

    /// Signs access tokens with a key that the node generates.
    pub fn own_key(mut self) -> Self {
        self.data_dir = Some(tempfile::tempdir().unwrap());
        self
    }

    pub async fn start_alone(self) -> Node {
        let database = TestDatabase::new().await;
        let mut node = self.start_on(&database).await;
        node.database = Some(database);
        node
    }

    pub async fn start_on(self, database: &TestDatabase) -> Node {
        self.start_at(&database.url).await
    }

    /// Starts the node on the database at `database_url`.
    pub async fn start_at(self, database_url: &str) -> Node {
        let notices = if self.receives_notices { Some(Notices::start().await) } else { None };
        let flags: Vec<_> = self.flags.iter().cloned().chain(notices.iter().flat_map(Notices::flags)).collect();
        let mut config = Node::config(&flags);
        match &self.data_dir {
            Some(directory) => config.places.data_dir = directory.path().to_owned(),
            None if config.auth.jwt_private_key_file.is_some() => {}
            None => config.auth.jwt_secret = Some(JWT_SECRET.to_owned()),
        }
        // Hashes are cheaper than the settings allow, because tests sign in hundreds of times and few tests depend on
        // the cost.
        if !self.real_hashes {
            config.auth.password_memory_kib = 64;
            config.auth.password_passes = 1;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let files = tempfile::tempdir().unwrap();
        config.s3 = self.s3.unwrap_or(config.s3);
        let own = config.s3.s3_endpoint.is_none();
        let s3 = own.then(|| S3::open(files.path(), &config.s3, address, &Random::system()).unwrap());
        if let Some(s3) = &s3 {
            config.s3 = s3.settings(&config.s3);
        }
        let s3_settings = config.s3.clone();
        let tail = CancellationToken::new();
        let limiter = match &self.limits {
            Some((url, prefix)) => Limiter::shared(&config.rates, url, prefix, tail.clone()).unwrap(),
            None => Limiter::local(&config.rates),
        };
        let cluster = Cluster { broker: self.broker, exchange: self.exchange, limiter };
        let app = App::open(&config, database_url, cluster, self.clock, Random::system(), tail.clone());
        let app = app.await.unwrap();
        let server = Server::new(app.clone(), config, s3).unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(parlance::http::serve(server, listener, stop.clone()));
        let http = http_client().build().unwrap();
        let node = Node {
            address,
            app,
            http,
            s3: s3_settings,
            database_url: database_url.to_owned(),
            stop,
            served: running,
            _tail: tail.drop_guard(),
            data_dir: self.data_dir,
            files,
            notices,
            database: None,
        };
        if self.quiet {
            const COMPLETED: &str = "parlance_housekeeping_runs_total{result=\"completed\"}";
            eventually("housekeeping has run", async || node.metric(COMPLETED).await > 0).await;
        }
        node
    }
}
