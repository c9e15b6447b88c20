//! The settings of calls.

use std::time::Duration;

use super::{Socket, seconds, within};

/// Settings of the size of calls, their timeouts and their signals. These settings must be the same on every node.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calls")]
pub struct CallSettings {
    /// Seconds for which a call rings. A user who has not answered within this time has missed the call
    #[arg(long, env, default_value = "60", value_name = "SECONDS", value_parser = seconds(1..=600))]
    pub call_ring_timeout: Duration,
    /// Seconds without a connection after which a device has left its call. A device that reconnects earlier stays in the call
    #[arg(long, hide = true, default_value = "30", value_parser = seconds(1..=600))]
    pub call_absence_timeout: Duration,
    /// Maximum number of devices in one call without LiveKit. Each device sends its media to all other devices, so with more devices phones run out of bandwidth
    #[arg(long, hide = true, default_value = "8")]
    pub call_max_mesh: usize,
    /// Maximum number of participants of a group in which calls are allowed. The phones of all participants ring at the same time
    #[arg(long, env, default_value = "32", value_name = "2..1000", value_parser = within::<usize>(2..=1000))]
    pub call_max_group_size: usize,
    /// Maximum number of calls that one user starts per minute. A further call gets RATE_LIMITED
    #[arg(long, env, default_value = "10", value_name = "1..1000", value_parser = within::<i64>(1..=1000))]
    pub call_starts_per_minute: i64,
    /// Maximum number of times that one user enters calls per minute, by starting or accepting them. A further attempt gets RATE_LIMITED
    #[arg(long, env, default_value = "30", value_name = "1..10000", value_parser = within::<i64>(1..=10_000))]
    pub call_joins_per_minute: i64,
    /// Maximum number of signals that one device sends per second. A burst may have four times as many signals at once. A further signal gets RATE_LIMITED
    #[arg(long, hide = true, default_value = "50")]
    pub call_signals_per_second: u32,
    /// Maximum number of signals that are stored for one device, including signals of about the last minute that the device has already received. A further signal gets RATE_LIMITED
    #[arg(long, hide = true, default_value = "512")]
    pub call_max_pending_signals: i64,
    /// Maximum bytes of descriptions and candidates that are stored for one device. A device that reconnects reads all of them. A further signal gets RATE_LIMITED
    #[arg(long, hide = true, default_value = "1048576")]
    pub call_max_pending_bytes: usize,
    /// Seconds for which a signal is stored for a device that does not subscribe to callEvents. At least twice the sum of SOCKET_PING_INTERVAL and SOCKET_PONG_TIMEOUT is used, so that a signal that was sent to a dead socket is delivered again
    #[arg(long, hide = true, default_value = "90", value_parser = seconds(1..=3600))]
    pub call_signal_ttl: Duration,
}

impl CallSettings {
    /// The settings with a `call_signal_ttl` that is long enough to notice that a device's socket is dead, and to
    /// deliver the signal to the next socket.
    #[must_use]
    pub fn with_signal_ttl_for(&self, socket: &Socket) -> Self {
        let noticed = socket.socket_ping_interval + socket.socket_pong_timeout;
        Self { call_signal_ttl: self.call_signal_ttl.max(2 * noticed), ..self.clone() }
    }
}
