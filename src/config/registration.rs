//! The setting of registration.

/// Settings of the registration of new accounts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Accounts")]
pub struct Registration {
    /// Registration of new accounts: open to all, by a code of `parlance invite create`, or closed
    #[arg(long, env, default_value = "open", value_name = "open|invite|closed")]
    pub registration: RegistrationMode,
}

/// Which clients can register an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RegistrationMode {
    /// All clients can register.
    Open,
    /// Clients need a code that an operator has created.
    Invite,
    /// No client can register.
    Closed,
}
