//! Settings that limit what subscriptions cost.

use super::within;

/// Limits of subscriptions.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Subscriptions")]
pub struct Rendering {
    /// Maximum cost of all open subscriptions of one user on this node, counted as for OPERATION_MAX_COMPLEXITY. A further subscription gets RATE_LIMITED. The subscriptions of a chat client cost about 1000 on each device
    #[arg(long, env, default_value = "50000", value_name = "100..100000000", value_parser = within::<u64>(100..=100_000_000))]
    pub subscription_budget: u64,
}
