//! The settings of registration and of guests.

use super::rates::switch;

/// Settings of the registration of new accounts.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Accounts")]
pub struct Registration {
    /// Registration of new accounts: open to all, by a code of `parlance invite create`, closed, or external: only the first sign-in at an issuer of ISSUERS_FILE makes an account
    #[arg(long, env, default_value = "open", value_name = "open|invite|closed|external")]
    pub registration: RegistrationMode,
    /// Whether createGuest makes accounts without a password. Needs REGISTRATION=open
    #[arg(long, env, default_value = "off", value_name = "on|off", action = clap::ArgAction::Set, value_parser = switch)]
    pub guests: bool,
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
    /// No client can register. The first sign-in with a token of an issuer makes an account.
    External,
}

impl RegistrationMode {
    /// Whether `loginWithCode` can make an account, with an invite if the mode needs one.
    pub const fn allows_codes(self) -> bool {
        matches!(self, Self::Open | Self::Invite)
    }

    /// Whether the first sign-in with a token of an issuer makes an account.
    pub const fn allows_issuers(self) -> bool {
        matches!(self, Self::Open | Self::External)
    }
}
