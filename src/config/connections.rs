//! The settings of connections: their number, their timeouts and their memory.

use std::time::Duration;

use super::{seconds, within};

/// Requests that one HTTP/2 connection may have in flight at once; the client waits with further ones.
pub const HTTP2_MAX_STREAMS: u32 = 100;
/// Time that an HTTP/2 client has to answer a ping before its connection is closed.
pub const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Limits of the connections of one node. They also apply to clients that have not signed in.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connections")]
pub struct ConnectionSettings {
    /// Maximum number of open TCP connections of this node. A further one gets 503 and is closed. The limit of open files can lower this number
    #[arg(long, env, default_value = "20000", value_name = "10..10000000", value_parser = within::<usize>(10..=10_000_000))]
    pub max_connections: usize,
    /// Maximum number of open TCP connections of one address (IPv6: one /64 network). A further one gets 429 and is closed. A client behind TRUSTED_PROXIES may have as many requests, sockets and event streams at the same time
    #[arg(long, env, default_value = "500", value_name = "1..10000000", value_parser = within::<usize>(1..=10_000_000))]
    pub max_connections_per_address: usize,
    /// Seconds from the first byte of a request to the end of its headers, and from a connection's start to the end of the first headers; the connection is then closed
    #[arg(long, hide = true, default_value = "15", value_parser = seconds(1..=3600))]
    pub request_header_timeout: Duration,
    /// Seconds that a connection may be idle between requests before it is closed; longer than a proxy in front keeps idle connections
    #[arg(long, env, default_value = "75", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub keep_alive_timeout: Duration,
    /// Bytes in the headers of a request, its first line included; more are answered with 431
    #[arg(long, hide = true, default_value = "32768")]
    pub max_header_bytes: u32,
    /// Seconds that the whole body of a request to /graphql may take; a slower one is answered with 408
    #[arg(long, hide = true, default_value = "60", value_parser = seconds(1..=3600))]
    pub request_body_timeout: Duration,
    /// Bytes of request bodies and WebSocket messages that have begun and are not complete, on this node; beyond them a body is answered with 503 and UNAVAILABLE, and a socket is closed with 1013
    #[arg(long, env, default_value = "134217728", value_name = "BYTES", value_parser = within::<usize>(1_048_576..=68_719_476_736))]
    pub max_unfinished_bytes: usize,
    /// Bytes of MAX_UNFINISHED_BYTES that one address (IPv6: one /64 network) may hold; beyond them the same answers
    #[arg(long, env, default_value = "16777216", value_name = "BYTES", value_parser = within::<usize>(65_536..=68_719_476_736))]
    pub max_unfinished_bytes_per_address: usize,
    /// Seconds of silence after which the server pings an HTTP/2 connection
    #[arg(long, hide = true, default_value = "30", value_parser = seconds(1..=3600))]
    pub http2_ping_interval: Duration,
    /// Seconds in which a WebSocket message that has begun must be complete; the socket is then closed with 4412
    #[arg(long, hide = true, default_value = "30", value_parser = seconds(1..=3600))]
    pub socket_message_timeout: Duration,
    /// Seconds that a WebSocket without a signed-in user may run no operation before it is closed with 4411
    #[arg(long, hide = true, default_value = "60", value_parser = seconds(1..=86_400))]
    pub socket_anonymous_timeout: Duration,
    /// WebSockets of one address (IPv6: one /64 network) on which no user has signed in; one more gets 429 in place of the upgrade
    #[arg(long, env, default_value = "100", value_name = "1..10000000", value_parser = within::<usize>(1..=10_000_000))]
    pub socket_max_anonymous_per_address: usize,
}
