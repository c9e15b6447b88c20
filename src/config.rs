//! The settings, which are read once from flags, the environment and `.env`.

mod calls;
mod connections;
mod docs;
mod files;
mod issuers;
mod limits;
mod media;
mod notices;
mod postgres_url;
mod process;
mod push;
mod rates;
mod redis_url;
mod registration;
mod rendering;
mod s3;
mod url_parameters;
mod web;
mod webauthn;
mod webrtc;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::address::Networks;
pub use calls::CallSettings;
pub use connections::{ConnectionSettings, HTTP2_MAX_STREAMS, HTTP2_PING_TIMEOUT};
pub use docs::{env_example, settings_table, start_error};
pub use files::{ATTACHMENT_GRACE, Files};
pub use issuers::{
    ISSUER_EXCHANGES, ISSUER_TIMEOUT, IssuerSettings, MAX_IDENTITIES, MAX_ISSUER_ANSWER, MAX_ISSUER_TOKEN,
};
pub use limits::limits_table;
pub use media::{MAX_EXAMINATION, MEDIA_MAX_FRAMES, MEDIA_MAX_WAVEFORM, MEDIA_TIMEOUT, Media};
pub use notices::{HookSecret, NOTICE_QUEUE, NOTICE_QUEUE_SHARE, NoticeSettings, SmsCountries, server_url};
pub use postgres_url::PostgresUrl;
pub use process::{LogFormat, Process};
pub use push::{
    ApnsKey, MAX_PUSH_ADDRESS, MAX_PUSH_SUBSCRIPTIONS, PUSH_CONCURRENCY, PUSH_CONCURRENCY_PER_HOST, PushContent,
    PushSettings, SEND_TIMEOUT,
};
pub use rates::{Allowance, CODE_LIFETIME, CODE_TRIES, CODES_PER_SLOT, PASSWORD_MAX_DELAY, Rates, SITE_ALLOWANCE};
pub use redis_url::RedisUrl;
pub use registration::{Registration, RegistrationMode};
pub use rendering::Rendering;
pub use s3::S3Settings;
pub use web::Web;
pub use webauthn::{
    LOGIN_CHALLENGE_LIFETIME, LOGIN_CHALLENGE_TRIES, LOGIN_CHALLENGES_PER_NETWORK, MAX_PASSKEYS,
    PASSKEY_CHALLENGE_LIFETIME, WebauthnSettings,
};
pub use webrtc::{LiveKit, Webrtc};

/// Maximum number of large requests and costly operations that wait for a thread. A further request or operation gets
/// UNAVAILABLE.
pub const OPERATION_QUEUE: usize = 1000;
/// Maximum number of large requests of one address, or of costly operations of one user, that wait for a thread. A
/// further request or operation gets RATE_LIMITED.
pub const OPERATION_QUEUE_SHARE: usize = 100;

/// The settings of a server. Each setting has a flag, and an environment variable of the same name in capitals. A
/// hidden flag without an environment variable is a constant that only tests change.
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
    pub webauthn: WebauthnSettings,
    #[command(flatten)]
    pub issuers: IssuerSettings,
    #[command(flatten)]
    pub notices: NoticeSettings,
    #[command(flatten)]
    pub push: PushSettings,
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

impl Config {
    /// Whether verification codes may be printed in the log. A server that only this machine can reach is for
    /// development, unless it is behind a proxy. The log of any other server could let its readers sign in to all
    /// accounts.
    pub fn logs_codes(&self) -> bool {
        let is_local = self.places.listen_addr.ip().to_canonical().is_loopback();
        self.notices.log_codes || is_local && self.places.trusted_proxies.is_none()
    }
}

/// The address of the server, and the services and directories that it uses.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Places")]
pub struct Places {
    /// Address and port to listen on
    #[arg(long, env, default_value = "127.0.0.1:8080", value_name = "IP:PORT")]
    pub listen_addr: SocketAddr,
    /// Directory of the private Postgres, of files if S3_ENDPOINT is not set, and of keys and passwords that the first start creates
    #[arg(long, env, default_value = ".parlance", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Postgres 14 or newer, as postgres://user:password@host:port/name. The parameters sslmode, sslrootcert, sslcert and sslkey have the meaning that libpq gives them, such as ?sslmode=verify-full. If not set, the server starts a private Postgres in the data directory
    #[arg(long, env, hide_env_values = true, value_name = "URL", value_parser = postgres_url)]
    pub database_url: Option<String>,
    /// Redis 6 or newer, as redis://host:port, or rediss://host:port for TLS. The parameters sslrootcert, sslcert and sslkey name the files of the CA and of the client certificate. If not set, this must be the only node
    #[arg(long, env, hide_env_values = true, value_name = "URL", value_parser = redis_url)]
    pub redis_url: Option<String>,
    /// Prefix of every Redis channel, so that several Parlances can share one Redis
    #[arg(long, env, default_value = "parlance", value_name = "NAME")]
    pub redis_prefix: String,
    /// Proxies in front of the server: networks and addresses, separated by commas, such as 10.0.0.0/8. The word loopback stands for the loopback networks, and private for the private networks. The server reads a client's address from X-Forwarded-For, or else from Forwarded, only if one of these proxies sends the request
    #[arg(long, env, default_value = "none", value_name = "NETWORK,…")]
    pub trusted_proxies: Networks,
    /// Run missing migrations at start. For the private Postgres, missing migrations are always run
    #[arg(long, env, default_value = "false", value_name = "true|false", action = clap::ArgAction::Set)]
    pub migrate_on_start: bool,
}

/// How this node uses Postgres.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Postgres")]
pub struct Postgres {
    /// Maximum number of connections of this node to Postgres
    #[arg(long, env, default_value = "16", value_name = "1..1000", value_parser = within::<u32>(1..=1000))]
    pub database_pool_size: u32,
    /// Maximum seconds that a statement may take, including its wait for locks. Postgres cancels a longer statement
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub database_statement_timeout: Duration,
    /// Maximum seconds that a transaction may be idle. Postgres ends a transaction that is idle for longer, because a node that stops in a transaction would block the other nodes
    #[arg(long, hide = true, default_value = "10", value_parser = seconds(1..=3600))]
    pub database_idle_timeout: Duration,
}

/// Settings of passwords and tokens.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Accounts")]
pub struct Auth {
    /// PEM file with the Ed25519 private key (PKCS #8) that signs access tokens. If not set, the server creates a key in the data directory
    #[arg(long, env, value_name = "FILE", conflicts_with = "jwt_secret")]
    pub jwt_private_key_file: Option<PathBuf>,
    /// Secret of at least 32 bytes, which signs access tokens with HS256 instead of the private key
    #[arg(long, env, hide_env_values = true, value_name = "SECRET", value_parser = jwt_secret)]
    pub jwt_secret: Option<String>,
    /// Lifetime of an access token in seconds
    #[arg(long, env, default_value = "900", value_name = "SECONDS", value_parser = seconds(10..=86_400))]
    pub access_token_ttl: Duration,
    /// Lifetime of a refresh token in seconds, and so of a session that is not used
    #[arg(long, env, default_value = "604800", value_name = "SECONDS", value_parser = seconds(60..=31_536_000))]
    pub refresh_token_ttl: Duration,
    /// Memory of one Argon2id hash in KiB. OWASP's minimum for 2 passes is 19456
    #[arg(long, env, default_value = "65536", value_name = "KIB", value_parser = within::<u32>(19_456..=1_048_576))]
    pub password_memory_kib: u32,
    /// Number of passes of one Argon2id hash
    #[arg(long, env, default_value = "3", value_name = "2..20", value_parser = within::<u32>(2..=20))]
    pub password_passes: u32,
    /// Maximum number of passwords that are hashed at the same time. Limits the memory and the processor time of logins
    #[arg(long, env, default_value = "2", value_name = "1..64", value_parser = within::<usize>(1..=64))]
    pub password_threads: usize,
    /// Maximum number of passwords that wait for a thread. A further password gets UNAVAILABLE
    #[arg(long, hide = true, default_value = "200")]
    pub password_queue: usize,
    /// Maximum number of passwords from one address that wait for a thread. A further password gets RATE_LIMITED
    #[arg(long, hide = true, default_value = "60")]
    pub password_queue_share: usize,
}

/// Limits of messages, groups and requests.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct Limits {
    /// Maximum number of Unicode scalar values in the body of a message
    #[arg(long, env, default_value = "8000", value_name = "1..20000", value_parser = within::<usize>(1..=20_000))]
    pub max_message_length: usize,
    /// Maximum number of participants of a group, including its owner
    #[arg(long, env, default_value = "1000", value_name = "2..100000", value_parser = within::<usize>(2..=100_000))]
    pub max_group_size: usize,
    /// Maximum number of former bodies that are stored for an edited message: the first body and the newest bodies. The bodies between these are deleted
    #[arg(long, hide = true, default_value = "50")]
    pub max_kept_edits: i32,
    /// Maximum size of the body of an HTTP request in bytes. A larger body gets 413
    #[arg(long, hide = true, default_value = "1048576")]
    pub max_request_bytes: usize,
    /// Maximum seconds without a byte while the body of an HTTP request is read. A slower request gets 408, or its connection is closed
    #[arg(long, hide = true, default_value = "30", value_parser = seconds(1..=3600))]
    pub request_read_timeout: Duration,
}

/// Limits on the cost of operations. A document that is too large or too complex gets OPERATION_TOO_COMPLEX before it
/// is executed.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Operations")]
pub struct Operations {
    /// Maximum size of a document in bytes. Long values can be sent as variables
    #[arg(long, hide = true, default_value = "131072")]
    pub operation_max_bytes: usize,
    /// Maximum number of names, numbers, strings and punctuators in a document. The introspection query of explorers has about 400
    #[arg(long, hide = true, default_value = "5000")]
    pub operation_max_tokens: usize,
    /// Maximum depth of nested brackets, and of nested selections with fragments expanded. Limits the recursion depth of the server
    #[arg(long, hide = true, default_value = "64")]
    pub operation_max_nesting: usize,
    /// Maximum depth of nested fields. The introspection query of explorers has a depth of 14
    #[arg(long, hide = true, default_value = "20")]
    pub operation_max_depth: usize,
    /// Maximum number of aliases in a document with its fragments expanded
    #[arg(long, hide = true, default_value = "100")]
    pub operation_max_aliases: u64,
    /// Maximum product of the numbers of fragments and operations in a document, because all fragments are validated for each operation
    #[arg(long, hide = true, default_value = "2000")]
    pub operation_max_fragments: usize,
    /// Maximum number of directives in a document with its fragments expanded
    #[arg(long, hide = true, default_value = "100")]
    pub operation_max_directives: u64,
    /// Maximum number of fields in a document with its fragments expanded. Fields of a list count once for each item of its page
    #[arg(long, env, default_value = "25000", value_name = "100..1000000", value_parser = within::<u64>(100..=1_000_000))]
    pub operation_max_complexity: u64,
    /// Maximum number of operations in one HTTP request with a list of operations. A longer list gets 413
    #[arg(long, hide = true, default_value = "10")]
    pub operation_max_batch: usize,
    /// Maximum bytes of texts in one response, such as bodies of messages. A field that exceeds the limit gets OPERATION_TOO_COMPLEX
    #[arg(long, hide = true, default_value = "8388608")]
    pub operation_max_answer_bytes: u64,
    /// Maximum seconds that a query or mutation may take. A longer query is stopped. A longer mutation gets UNAVAILABLE, but is still finished
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub operation_timeout: Duration,
    /// Allow introspection of the schema, which explorers and code generators need, and suggest similar fields in the error about an unknown field
    #[arg(long, env, default_value = "true", value_name = "true|false", action = clap::ArgAction::Set)]
    pub introspection: bool,
    /// JSON file of registered documents, in the format of @graphql-codegen, Relay or Apollo. If set, no other documents are executed
    #[arg(long, env, value_name = "FILE")]
    pub persisted_manifest: Option<PathBuf>,
    /// Maximum size in bytes of the cache of parsed and validated documents, which also serves clients that send only a hash. The least used documents are evicted
    #[arg(long, env, default_value = "67108864", value_name = "BYTES", value_parser = within::<u64>(0..=4_294_967_296))]
    pub document_cache_bytes: u64,
}

/// Settings of the writers of messages and receipts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Writing")]
pub struct Writing {
    /// Maximum number of messages and receipts in one transaction
    #[arg(long, hide = true, default_value = "200")]
    pub write_batch: usize,
    /// Maximum number of messages and receipts that wait at each writer. A further message or receipt gets UNAVAILABLE
    #[arg(long, hide = true, default_value = "10000")]
    pub write_queue: usize,
    /// Number of writers that commit concurrently, each with a connection to Postgres. All writers wait for the lock of the log's head
    #[arg(long, hide = true, default_value = "1")]
    pub writers: usize,
    /// Milliseconds between two polls of Postgres for scheduled messages. Messages that a node already knows are sent on time
    #[arg(long, hide = true, default_value = "500", value_parser = milliseconds(10..=60_000))]
    pub schedule_poll_interval: Duration,
}

/// Settings of the event log and its streams.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Event log")]
pub struct LogSettings {
    /// Milliseconds for which the tail waits for a missing event before it reads the event from Postgres
    #[arg(long, hide = true, default_value = "50", value_parser = milliseconds(1..=10_000))]
    pub tail_hole_wait: Duration,
    /// Milliseconds between two polls of Postgres for events whose publication was lost
    #[arg(long, hide = true, default_value = "1000", value_parser = milliseconds(50..=60_000))]
    pub tail_poll_interval: Duration,
    /// Number of recent events that a node caches, for streams that join slightly behind the tail
    #[arg(long, hide = true, default_value = "4096")]
    pub tail_memory: usize,
    /// Maximum number of events in the queue of a stream. A stream that lags further behind drops its queue and reads the events from Postgres instead
    #[arg(long, hide = true, default_value = "256")]
    pub stream_queue: usize,
    /// Number of events that a stream reads from Postgres at once while it catches up
    #[arg(long, hide = true, default_value = "500")]
    pub catch_up_page: i64,
    /// Milliseconds between two batches of a consumer of the log, such as the search index
    #[arg(long, hide = true, default_value = "100", value_parser = milliseconds(1..=60_000))]
    pub consumer_interval: Duration,
}

/// Settings of typing and presence, which are not stored. These settings must be the same on every node.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Typing and presence")]
pub struct LiveSettings {
    /// Seconds after which typing expires, unless the client renews it
    #[arg(long, hide = true, default_value = "8", value_parser = seconds(1..=300))]
    pub typing_timeout: Duration,
    /// Seconds from the end of a user's last connection until the user is OFFLINE, so that a reconnect does not change the presence
    #[arg(long, hide = true, default_value = "10", value_parser = seconds(0..=300))]
    pub presence_grace: Duration,
    /// Seconds without a message from a node after which the node counts as dead, and its users as OFFLINE. Detection can take a quarter longer
    #[arg(long, hide = true, default_value = "20", value_parser = seconds(1..=300))]
    pub presence_node_ttl: Duration,
}

/// Settings of the deletion of old rows, which one node at a time does.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Housekeeping")]
pub struct Housekeeping {
    /// Days for which events are stored. A client that was disconnected for a shorter time gets all events that it missed. Must be the same on every node
    #[arg(long, env, default_value = "7", value_name = "DAYS", value_parser = within::<i32>(1..=365))]
    pub event_retention: i32,
    /// Days for which an expired session is stored, for the investigation of a break-in
    #[arg(long, env, default_value = "30", value_name = "DAYS", value_parser = within::<i32>(0..=3650))]
    pub session_retention: i32,
    /// Days after which the account of a guest is deleted, if its sessions have ended and it is neither in a conversation nor a contact of another user
    #[arg(long, env, default_value = "30", value_name = "DAYS", value_parser = within::<i32>(1..=3650))]
    pub guest_retention: i32,
    /// Seconds between two deletions of old rows. Each run also creates missing partitions of the event log
    #[arg(long, hide = true, default_value = "3600", value_parser = seconds(1..=86_400))]
    pub housekeeping_interval: Duration,
}

/// Settings of WebSocket connections. Some settings also apply to event streams over HTTP, as their descriptions say.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "WebSocket")]
pub struct Socket {
    /// Maximum seconds until a client sends connection_init. Otherwise the socket is closed with 4408
    #[arg(long, hide = true, default_value = "3", value_parser = seconds(1..=60))]
    pub socket_init_timeout: Duration,
    /// Seconds between two pings of the server, or between two keep-alive messages if the protocol has no ping. Applies to event streams too
    #[arg(long, env, default_value = "25", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub socket_ping_interval: Duration,
    /// Maximum seconds until a client answers a ping. Otherwise the client is disconnected
    #[arg(long, hide = true, default_value = "10", value_parser = seconds(1..=3600))]
    pub socket_pong_timeout: Duration,
    /// Maximum number of operations that run on one socket at the same time. A further operation gets RATE_LIMITED
    #[arg(long, hide = true, default_value = "100")]
    pub socket_max_operations: usize,
    /// Maximum number of operations that start on one socket per second. A further operation gets RATE_LIMITED. A client may send four times as many messages of any kind; a further message closes the socket with 1013
    #[arg(long, hide = true, default_value = "50")]
    pub socket_operations_per_second: u32,
    /// Maximum number of open sockets and event streams of one user on this node. A further socket is closed with 4410, and a further event stream gets 429
    #[arg(long, env, default_value = "100", value_name = "1..100000", value_parser = within::<usize>(1..=100_000))]
    pub socket_max_per_user: usize,
    /// Maximum size in bytes of one message from a client. A larger message closes the socket with 1009
    #[arg(long, hide = true, default_value = "262144")]
    pub socket_max_message_bytes: usize,
    /// Maximum seconds for which a client may leave a frame of a socket or a chunk of a response unread. After this time, its connection is closed
    #[arg(long, hide = true, default_value = "30", value_parser = seconds(1..=3600))]
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

/// Returns the text if it is a DATABASE_URL.
pub fn postgres_url(text: &str) -> Result<String, String> {
    text.parse::<PostgresUrl>().map(|_| text.to_owned())
}

fn redis_url(text: &str) -> Result<String, String> {
    text.parse::<RedisUrl>().map(|_| text.to_owned())
}

/// Checks the secret for HS256. By RFC 7518, section 3.2, the key must have at least the 256 bits of the hash.
fn jwt_secret(text: &str) -> Result<String, String> {
    const MIN_BYTES: usize = 32;
    if (MIN_BYTES..).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err(format!("allowed are {MIN_BYTES} bytes or more"))
    }
}
