//! Every setting, read once from flags, the environment and `.env`.

mod calls;
mod connections;
mod docs;
mod files;
mod limits;
mod media;
mod process;
mod rates;
mod registration;
mod rendering;
mod s3;
mod web;
mod webrtc;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::address::TrustedProxies;
pub use calls::CallSettings;
pub use connections::ConnectionSettings;
pub use docs::{env_example, settings_table, start_error};
pub use files::Files;
pub use limits::limits_table;
pub use media::{MAX_EXAMINATION, Media};
pub use process::{LogFormat, Process};
pub use rates::{Allowance, Rates};
pub use registration::{Registration, RegistrationMode};
pub use rendering::Rendering;
pub use s3::S3Settings;
pub use web::Web;
pub use webrtc::{LiveKit, Webrtc};

/// The settings of a server. Each has a flag, and an environment variable of the same name in capitals.
#[derive(Clone, Debug, clap::Args)]
pub struct Config {
    #[command(flatten)]
    pub places: Places,
    #[command(flatten)]
    pub process: Process,
    #[command(flatten)]
    pub postgres: Postgres,
    #[command(flatten)]
    pub s3: S3Settings,
    #[command(flatten)]
    pub auth: Auth,
    #[command(flatten)]
    pub registration: Registration,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub rates: Rates,
    #[command(flatten)]
    pub operations: Operations,
    #[command(flatten)]
    pub rendering: Rendering,
    #[command(flatten)]
    pub writing: Writing,
    #[command(flatten)]
    pub log: LogSettings,
    #[command(flatten)]
    pub live: LiveSettings,
    #[command(flatten)]
    pub calls: CallSettings,
    #[command(flatten)]
    pub webrtc: Webrtc,
    #[command(flatten)]
    pub housekeeping: Housekeeping,
    #[command(flatten)]
    pub files: Files,
    #[command(flatten)]
    pub media: Media,
    #[command(flatten)]
    pub connections: ConnectionSettings,
    #[command(flatten)]
    pub socket: Socket,
    #[command(flatten)]
    pub web: Web,
}

/// Where the server listens, and what it stores things in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Places")]
pub struct Places {
    /// Address and port to listen on
    #[arg(long, env, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    pub listen_addr: SocketAddr,
    /// Directory of the private Postgres, of files without S3_ENDPOINT, and of keys and passwords made at first start
    #[arg(long, env, default_value = ".parlance", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Postgres 14 or newer, as postgres://user:password@host:port/name; without it a private one is started in the data directory
    #[arg(long, env, hide_env_values = true, value_name = "URL", value_parser = postgres_url)]
    pub database_url: Option<String>,
    /// Redis 6 or newer, as redis://host:port; without it this must be the only node
    #[arg(long, env, hide_env_values = true, value_name = "URL", value_parser = redis_url)]
    pub redis_url: Option<String>,
    /// Prefix of every Redis channel, so that several Parlances can share one Redis
    #[arg(long, env, default_value = "parlance", value_name = "NAME")]
    pub redis_prefix: String,
    /// Networks and addresses of the proxies in front of the server, separated by commas, such as 10.0.0.0/8; loopback and private are words for those networks. A client's address is read from X-Forwarded-For, or else from Forwarded, where such a proxy connects
    #[arg(long, env, default_value = "none", value_name = "NETWORK,…")]
    pub trusted_proxies: TrustedProxies,
    /// Run missing migrations at start; always done for the private Postgres
    #[arg(long, env, default_value = "false", value_name = "true|false", action = clap::ArgAction::Set)]
    pub migrate_on_start: bool,
}

/// How this node uses Postgres.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Postgres")]
pub struct Postgres {
    /// Connections this node opens to Postgres at most
    #[arg(long, env, default_value = "16", value_name = "1..1000", value_parser = within::<u32>(1..=1000))]
    pub database_pool_size: u32,
    /// Seconds a statement may take, its waiting for locks included, before Postgres ends it
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub database_statement_timeout: Duration,
    /// Seconds a transaction may stand idle before Postgres ends it: a node that stops in one holds up every other
    #[arg(long, env, default_value = "10", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub database_idle_timeout: Duration,
}

/// Passwords and tokens.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Accounts")]
pub struct Auth {
    /// PEM file with the Ed25519 private key (PKCS #8) that signs access tokens; without it one is made and kept in the data directory
    #[arg(long, env, value_name = "FILE", conflicts_with = "jwt_secret")]
    pub jwt_private_key_file: Option<PathBuf>,
    /// Secret of 32 bytes or more: signs access tokens with HS256 in place of a key
    #[arg(long, env, hide_env_values = true, value_name = "SECRET", value_parser = jwt_secret)]
    pub jwt_secret: Option<String>,
    /// Seconds an access token is good for
    #[arg(long, env, default_value = "900", value_name = "SECONDS", value_parser = seconds(10..=86_400))]
    pub access_token_ttl: Duration,
    /// Seconds a refresh token is good for, and so a session that is not used
    #[arg(long, env, default_value = "604800", value_name = "SECONDS", value_parser = seconds(60..=31_536_000))]
    pub refresh_token_ttl: Duration,
    /// Memory of one Argon2id hash in KiB; OWASP's floor for 2 passes is 19456
    #[arg(long, env, default_value = "65536", value_name = "KIB", value_parser = within::<u32>(19_456..=1_048_576))]
    pub password_memory_kib: u32,
    /// Passes of one Argon2id hash
    #[arg(long, env, default_value = "3", value_name = "2..20", value_parser = within::<u32>(2..=20))]
    pub password_passes: u32,
    /// Passwords hashed at once: bounds the memory and the processors that logins take
    #[arg(long, env, default_value = "2", value_name = "1..64", value_parser = within::<usize>(1..=64))]
    pub password_threads: usize,
    /// Passwords that may wait for a thread; a further one gets UNAVAILABLE
    #[arg(long, env, default_value = "200", value_name = "0..10000", value_parser = within::<usize>(0..=10_000))]
    pub password_queue: usize,
    /// Passwords from one address that may wait for a thread; a further one gets RATE_LIMITED
    #[arg(long, env, default_value = "60", value_name = "0..10000", value_parser = within::<usize>(0..=10_000))]
    pub password_queue_share: usize,
}

/// What clients may ask for.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Unicode scalar values in a message's body
    #[arg(long, env, default_value = "8000", value_name = "1..100000", value_parser = within::<usize>(1..=100_000))]
    pub max_message_length: usize,
    /// Participants of a group, its owner included
    #[arg(long, env, default_value = "1000", value_name = "2..100000", value_parser = within::<usize>(2..=100_000))]
    pub max_group_size: usize,
    /// Former bodies kept of one edited message: the first one and the newest ones; those between are deleted
    #[arg(long, env, default_value = "50", value_name = "2..10000", value_parser = within::<i32>(2..=10_000))]
    pub max_kept_edits: i32,
    /// Bytes in the body of an HTTP request; a larger one gets 413
    #[arg(long, env, default_value = "1048576", value_name = "BYTES", value_parser = within::<usize>(1024..=67_108_864))]
    pub max_request_bytes: usize,
    /// Seconds the body of an HTTP request may stand still while it is read
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub request_read_timeout: Duration,
}

/// What one operation may cost. What goes beyond gets OPERATION_TOO_COMPLEX before any work is done.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Operations")]
pub struct Operations {
    /// Names, numbers, strings and marks in a document; the query that explorers begin with has about 400
    #[arg(long, env, default_value = "5000", value_name = "100..100000", value_parser = within::<usize>(100..=100_000))]
    pub operation_max_tokens: usize,
    /// Brackets open at once, and selections within selections with the fragments spread out: what the server recurses into
    #[arg(long, env, default_value = "64", value_name = "16..100", value_parser = within::<usize>(16..=100))]
    pub operation_max_nesting: usize,
    /// Fields within fields; the query that explorers begin with has 14
    #[arg(long, env, default_value = "20", value_name = "1..100", value_parser = within::<usize>(1..=100))]
    pub operation_max_depth: usize,
    /// Aliases in a document with its fragments spread out
    #[arg(long, env, default_value = "100", value_name = "0..10000", value_parser = within::<u64>(0..=10_000))]
    pub operation_max_aliases: u64,
    /// Directives in a document with its fragments spread out
    #[arg(long, env, default_value = "100", value_name = "0..10000", value_parser = within::<u64>(0..=10_000))]
    pub operation_max_directives: u64,
    /// Fields of a document with its fragments spread out, those of a connection times the size of its page
    #[arg(long, env, default_value = "25000", value_name = "100..1000000", value_parser = within::<u64>(100..=1_000_000))]
    pub operation_max_complexity: u64,
    /// Operations in one HTTP request that is a list of them; a longer one gets 413
    #[arg(long, env, default_value = "10", value_name = "1..1000", value_parser = within::<usize>(1..=1000))]
    pub operation_max_batch: usize,
    /// Bytes of the texts in one answer, such as bodies of messages; a field beyond it gets OPERATION_TOO_COMPLEX
    #[arg(long, env, default_value = "8388608", value_name = "BYTES", value_parser = within::<u64>(1_048_576..=1_073_741_824))]
    pub operation_max_answer_bytes: u64,
    /// Seconds a query or mutation may take; a query is then stopped, a mutation finished without telling its client
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub operation_timeout: Duration,
    /// Threads for large requests and costly operations; without it as many as the machine has processors, and two at least
    #[arg(long, env, value_name = "1..256", value_parser = within::<usize>(1..=256))]
    pub operation_threads: Option<usize>,
    /// Large requests and costly operations that may wait for a thread; a further one gets UNAVAILABLE
    #[arg(long, env, default_value = "1000", value_name = "0..100000", value_parser = within::<usize>(0..=100_000))]
    pub operation_queue: usize,
    /// Large requests and costly operations from one address that may wait; a further one gets RATE_LIMITED
    #[arg(long, env, default_value = "100", value_name = "0..100000", value_parser = within::<usize>(0..=100_000))]
    pub operation_queue_share: usize,
    /// Answer what types and fields there are; the explorer and code generators ask for it
    #[arg(long, env, default_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub introspection: bool,
    /// Name similar fields in the error about an unknown one
    #[arg(long, env, default_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub suggestions: bool,
    /// JSON file of registered documents, as @graphql-codegen, Relay or Apollo write it; no others are run then
    #[arg(long, env, value_name = "FILE")]
    pub persisted_manifest: Option<PathBuf>,
    /// Bytes for documents kept parsed and validated, also for clients that send only a hash; the least used make room
    #[arg(long, env, default_value = "67108864", value_name = "BYTES", value_parser = within::<u64>(0..=4_294_967_296))]
    pub document_cache_bytes: u64,
}

/// The writers of messages and receipts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Writing")]
pub struct Writing {
    /// Messages and receipts committed together at most, where so many are waiting
    #[arg(long, env, default_value = "200", value_name = "1..5000", value_parser = within::<usize>(1..=5000))]
    pub write_batch: usize,
    /// Messages and receipts that may wait at each writer; beyond them UNAVAILABLE is answered
    #[arg(long, env, default_value = "10000", value_name = "1..1000000", value_parser = within::<usize>(1..=1_000_000))]
    pub write_queue: usize,
    /// Writers that commit side by side, with a connection to Postgres each; all of them wait for the head of the log
    #[arg(long, env, default_value = "1", value_name = "1..16", value_parser = within::<usize>(1..=16))]
    pub writers: usize,
    /// Milliseconds between two looks at Postgres for scheduled messages; those that a node knows of are sent on time
    #[arg(long, env, default_value = "500", value_name = "MS", value_parser = milliseconds(10..=60_000))]
    pub schedule_poll_interval: Duration,
}

/// The event log and its streams.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Event log")]
pub struct LogSettings {
    /// Milliseconds the tail waits for a missing event before it reads it from Postgres
    #[arg(long, env, default_value = "50", value_name = "MS", value_parser = milliseconds(1..=10_000))]
    pub tail_hole_wait: Duration,
    /// Milliseconds between two looks at Postgres for events that no publication told of
    #[arg(long, env, default_value = "1000", value_name = "MS", value_parser = milliseconds(50..=60_000))]
    pub tail_poll_interval: Duration,
    /// Recent events a node keeps in memory, for streams that join a little behind
    #[arg(long, env, default_value = "4096", value_name = "EVENTS", value_parser = within::<usize>(16..=1_000_000))]
    pub tail_memory: usize,
    /// Events a stream may lag behind before it drops its queue and reads the log instead
    #[arg(long, env, default_value = "256", value_name = "EVENTS", value_parser = within::<usize>(1..=100_000))]
    pub stream_queue: usize,
    /// Events read from Postgres at once while a stream catches up
    #[arg(long, env, default_value = "500", value_name = "EVENTS", value_parser = within::<i64>(1..=10_000))]
    pub catch_up_page: i64,
}

/// What does not outlive the moment. The same on every node.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Typing and presence")]
pub struct LiveSettings {
    /// Seconds after which typing lapses unless the client says again that it goes on
    #[arg(long, env, default_value = "8", value_name = "SECONDS", value_parser = seconds(1..=300))]
    pub typing_timeout: Duration,
    /// Seconds from a user's last connection closing to OFFLINE, so that a reconnect is none
    #[arg(long, env, default_value = "10", value_name = "SECONDS", value_parser = seconds(0..=300))]
    pub presence_grace: Duration,
    /// Seconds of silence after which a node is taken for dead, a quarter more at most; its users are OFFLINE then
    #[arg(long, env, default_value = "20", value_name = "SECONDS", value_parser = seconds(1..=300))]
    pub presence_node_ttl: Duration,
}

/// What is deleted when it is old, by one node at a time.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Housekeeping")]
pub struct Housekeeping {
    /// Days that events are kept, and so that a client may be away and still get all that it missed; the same on every node
    #[arg(long, env, default_value = "7", value_name = "DAYS", value_parser = within::<i32>(1..=365))]
    pub event_retention: i32,
    /// Days that a session is kept after it has expired, for whoever looks into a break-in
    #[arg(long, env, default_value = "30", value_name = "DAYS", value_parser = within::<i32>(0..=3650))]
    pub session_retention: i32,
    /// Seconds between two looks for what is to be deleted, and for days that the event log lacks a partition for
    #[arg(long, env, default_value = "3600", value_name = "SECONDS", value_parser = seconds(1..=86_400))]
    pub housekeeping_interval: Duration,
}

/// Connections that stay open: the WebSocket sessions, and the event streams over HTTP where it says so.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "WebSocket")]
pub struct Socket {
    /// Seconds a client has to send connection_init before it is closed with 4408
    #[arg(long, env, default_value = "3", value_name = "SECONDS", value_parser = seconds(1..=60))]
    pub socket_init_timeout: Duration,
    /// Seconds between two pings of the server, or signs of life where the protocol has no ping; event streams too
    #[arg(long, env, default_value = "25", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub socket_ping_interval: Duration,
    /// Seconds a client has to answer a ping before it is dropped
    #[arg(long, env, default_value = "10", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub socket_pong_timeout: Duration,
    /// Operations that may run on one socket at once; one more gets RATE_LIMITED
    #[arg(long, env, default_value = "100", value_name = "1..10000", value_parser = within::<usize>(1..=10_000))]
    pub socket_max_operations: usize,
    /// Operations that may start on one socket each second, saved up for one second; one more gets RATE_LIMITED. Four times as many messages of any kind may come; one more closes the socket with 1013
    #[arg(long, env, default_value = "50", value_name = "1..100000", value_parser = within::<u32>(1..=100_000))]
    pub socket_operations_per_second: u32,
    /// Sockets and event streams that one user may have open on this node; one more is closed with 4410, or gets 429
    #[arg(long, env, default_value = "100", value_name = "1..100000", value_parser = within::<usize>(1..=100_000))]
    pub socket_max_per_user: usize,
    /// Bytes in one message from a client; a larger one closes the socket with 1009
    #[arg(long, env, default_value = "262144", value_name = "BYTES", value_parser = within::<usize>(1024..=16_777_216))]
    pub socket_max_message_bytes: usize,
    /// Seconds that a client may leave a frame of a socket or a piece of an answer unread before its connection is closed
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub socket_write_timeout: Duration,
}

fn within<T>(range: std::ops::RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + std::fmt::Display + Clone + Send + Sync,
{
    move |text| match text.parse() {
        Ok(value) if range.contains(&value) => Ok(value),
        _ => Err(format!("allowed are whole numbers from {} to {}", range.start(), range.end())),
    }
}

fn seconds(range: std::ops::RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let parse = within(range);
    move |text| parse(text).map(Duration::from_secs)
}

fn milliseconds(range: std::ops::RangeInclusive<u64>) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    let parse = within(range);
    move |text| parse(text).map(Duration::from_millis)
}

fn postgres_url(text: &str) -> Result<String, String> {
    let parses = text.parse::<tokio_postgres::Config>().is_ok();
    let allowed = "allowed is an address such as postgres://user:password@host:5432/name";
    if parses && text.contains("://") { Ok(text.to_owned()) } else { Err(allowed.to_owned()) }
}

fn redis_url(text: &str) -> Result<String, String> {
    use bb8_redis::redis::IntoConnectionInfo as _;
    if text.starts_with("redis://") && text.into_connection_info().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("allowed is an address such as redis://host:6379".to_owned())
    }
}

/// RFC 7518, section 3.2: an HS256 key has at least the 256 bits of the hash.
fn jwt_secret(text: &str) -> Result<String, String> {
    const MIN_BYTES: usize = 32;
    if (MIN_BYTES..).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(format!("allowed are {MIN_BYTES} bytes or more"))
    }
}
