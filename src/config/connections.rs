//! The settings of connections: their number, their timeouts and their memory.

use std::time::Duration;

use super::{seconds, within};

/// Maximum number of requests that one HTTP/2 connection may have in flight at once. The client must wait with further
/// requests.
pub const HTTP2_MAX_STREAMS: u32 = 100;
/// Time within which an HTTP/2 client must answer a ping. Otherwise its connection is closed.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits of the connections of one node. They also apply to clients that have not signed in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionSettings {
    /// Maximum number of open TCP connections of this node. A further connection gets 503 and is closed. The limit of open files can lower this number
    #[arg(long, env, default_value = "20000", value_name = "10..10000000", value_parser = within::<usize>(10..=10_000_000))]
    pub max_connections: usize,
    /// Maximum number of open TCP connections of one address (IPv6: one /64 network). A further connection gets 429 and is closed. For the clients behind TRUSTED_PROXIES, this is the maximum number of requests, sockets and event streams of one address at the same time
    #[arg(long, env, default_value = "500", value_name = "1..10000000", value_parser = within::<usize>(1..=10_000_000))]
    pub max_connections_per_address: usize,
    /// Maximum seconds from the first byte of a request to the end of its headers, and from the start of a connection to the end of the first headers. Otherwise the connection is closed
    #[arg(long, hide = true, default_value = "15", value_parser = seconds(1..=3600))]
    pub request_header_timeout: Duration,
    /// Seconds for which a connection may be idle between requests before it is closed. Must be longer than the time for which a proxy in front of the server keeps idle connections
    #[arg(long, env, default_value = "75", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub keep_alive_timeout: Duration,
    /// Maximum size in bytes of the headers of a request, including its first line. A larger request gets 431
    #[arg(long, hide = true, default_value = "32768")]
    pub max_header_bytes: u32,
    /// Maximum seconds for the whole body of a request to /graphql. A slower request gets 408
    #[arg(long, hide = true, default_value = "60", value_parser = seconds(1..=3600))]
    pub request_body_timeout: Duration,
    /// Maximum bytes of unfinished request bodies and WebSocket messages on this node. Above this limit, a body gets 503 with UNAVAILABLE, and a socket is closed with 1013
    #[arg(long, env, default_value = "134217728", value_name = "BYTES", value_parser = within::<usize>(1_048_576..=68_719_476_736))]
    pub max_unfinished_bytes: usize,
    /// Maximum bytes of unfinished request bodies and WebSocket messages of one address (IPv6: one /64 network). Above this limit, a body gets 503 with UNAVAILABLE, and a socket is closed with 1013
    #[arg(long, env, default_value = "16777216", value_name = "BYTES", value_parser = within::<usize>(65_536..=68_719_476_736))]
    pub max_unfinished_bytes_per_address: usize,
    /// Seconds without data from the client after which the server pings an HTTP/2 connection
    #[arg(long, hide = true, default_value = "30", value_parser = seconds(1..=3600))]
    pub http2_ping_interval: Duration,
    /// Maximum seconds from the first byte of a WebSocket message to its end. Otherwise the socket is closed with 4412
    #[arg(long, hide = true, default_value = "30", value_parser = seconds(1..=3600))]
    pub socket_message_timeout: Duration,
    /// Seconds without an operation after which a WebSocket without a signed-in user is closed with 4411
    #[arg(long, hide = true, default_value = "60", value_parser = seconds(1..=86_400))]
    pub socket_anonymous_timeout: Duration,
    /// Maximum number of WebSockets of one address (IPv6: one /64 network) without a signed-in user. A further WebSocket gets 429 in place of the upgrade
    #[arg(long, env, default_value = "100", value_name = "1..10000000", value_parser = within::<usize>(1..=10_000_000))]
    pub socket_max_anonymous_per_address: usize,
}
