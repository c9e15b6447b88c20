//! How calls ring, and what devices in them may send each other.

use std::time::Duration;

use super::{seconds, within};

/// Calls: how long they ring, how large they are, and the signals in them. The same on every node.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Calls")]
pub struct CallSettings {
    /// Seconds a call rings; whoever has not answered by then has missed it
    #[arg(long, env, default_value = "60", value_name = "SECONDS", value_parser = seconds(1..=600))]
    pub call_ring_timeout: Duration,
    /// Seconds a device in a call may be without any connection before it has left, so that a reconnect is none
    #[arg(long, env, default_value = "30", value_name = "SECONDS", value_parser = seconds(1..=600))]
    pub call_absence_timeout: Duration,
    /// Devices in one call without LiveKit, each of which sends to each other one; with more, phones run out of bandwidth
    #[arg(long, env, default_value = "8", value_name = "2..32", value_parser = within::<usize>(2..=32))]
    pub call_max_mesh: usize,
    /// Participants of the largest group that can be called: everybody's phones ring at once
    #[arg(long, env, default_value = "32", value_name = "2..1000", value_parser = within::<usize>(2..=1000))]
    pub call_max_group_size: usize,
    /// Calls that one user may start in a minute; one more gets RATE_LIMITED
    #[arg(long, env, default_value = "10", value_name = "1..1000", value_parser = within::<i64>(1..=1000))]
    pub call_starts_per_minute: i64,
    /// Times that one user may enter calls in a minute, by starting or accepting, however often they leave; one more gets
    /// RATE_LIMITED
    #[arg(long, env, default_value = "30", value_name = "1..10000", value_parser = within::<i64>(1..=10_000))]
    pub call_joins_per_minute: i64,
    /// Signals that one device may send in a second, saved up for four; one more gets RATE_LIMITED
    #[arg(long, env, default_value = "50", value_name = "1..10000", value_parser = within::<u32>(1..=10_000))]
    pub call_signals_per_second: u32,
    /// Signals kept for one device, those of the last minute or so that it has included; one more gets RATE_LIMITED
    #[arg(long, env, default_value = "512", value_name = "1..10000", value_parser = within::<i64>(1..=10_000))]
    pub call_max_pending_signals: i64,
    /// Bytes of the descriptions and candidates kept for one device, which a reconnect reads all of; more get RATE_LIMITED
    #[arg(long, env, default_value = "1048576", value_name = "131072..67108864", value_parser = within::<usize>(131_072..=67_108_864))]
    pub call_max_pending_bytes: usize,
    /// Seconds a signal waits for a device that does not subscribe to callEvents; longer than twice a socket's ping and pong
    /// time, so that one that was sent into a dead socket comes again
    #[arg(long, env, default_value = "90", value_name = "SECONDS", value_parser = seconds(1..=3600))]
    pub call_signal_ttl: Duration,
}
