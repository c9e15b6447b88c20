//! The settings of the rate limiter.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use super::{seconds, within};

/// Maximum wait after wrong passwords or codes. The first wait is 1 second, and each further wait is twice as long.
pub const PASSWORD_MAX_DELAY: Duration = Duration::from_mins(15);

/// Allowance of an IPv6 site, a network of 48 bits, in multiples of the allowance of one address. A client can rent a
/// whole site, which has 65,536 networks of 64 bits. Several customers of a provider can also share one, so the
/// multiple is more than 1.
pub const SITE_ALLOWANCE: u32 = 8;

/// Maximum number of times that clients may enter one code with its challenge, and as often without the challenge. A code
/// has six digits, so a client that guesses finds it with a probability of at most 10 in a million.
pub const CODE_TRIES: usize = 5;
/// Maximum number of live codes of one purpose for one e-mail address or phone number. A further one replaces the oldest.
/// By default, RATE_CODES_PER_TARGET_DAY allows no more at once, so that the requests of a stranger do not replace the
/// code of the owner.
pub const CODES_PER_SLOT: i64 = 20;
/// Time after which a code expires. Long enough for slow e-mail servers.
pub const CODE_LIFETIME: Duration = Duration::from_mins(10);

/// Rates of the actions of one user or one address. The nodes share the counts through Redis. An action that exceeds a
/// rate gets RATE_LIMITED with the name of the setting and the seconds to wait.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Rates")]
pub struct Rates {
    /// Whether the rates below and the limits for each address apply; off is for tests and load programs
    #[arg(long, env, default_value = "on", value_name = "on|off", action = clap::ArgAction::Set, value_parser = switch)]
    pub rate_limits: bool,
    /// Requests from one address: HTTP requests to /graphql, and operations on WebSockets
    #[arg(long, env, default_value = "12000/1m", value_name = "COUNT/TIME")]
    pub rate_requests: Allowance,
    /// Operations of one user, or of all anonymous clients of one address
    #[arg(long, env, default_value = "3000/1m", value_name = "COUNT/TIME")]
    pub rate_operations: Allowance,
    /// Fields that one user requests, or all anonymous clients of one address, counted as for OPERATION_MAX_COMPLEXITY
    #[arg(long, env, default_value = "250000/15s", value_name = "COUNT/TIME")]
    pub rate_cost: Allowance,
    /// Attempts to register an account from one address
    #[arg(long, env, default_value = "50/1h", value_name = "COUNT/TIME")]
    pub rate_registrations: Allowance,
    /// Codes that sign in or reset a password, requested from one address for one e-mail address or phone number
    #[arg(long, env, default_value = "5/15m", value_name = "COUNT/TIME")]
    pub rate_codes_per_target: Allowance,
    /// Codes of all purposes that are requested for one e-mail address or phone number, from all addresses
    #[arg(long, env, default_value = "20/1d", value_name = "COUNT/TIME")]
    pub rate_codes_per_target_day: Allowance,
    /// Codes that sign in or reset a password, requested from one address
    #[arg(long, env, default_value = "30/1h", value_name = "COUNT/TIME")]
    pub rate_codes_per_address: Allowance,
    /// Codes that one user requests to verify or confirm. The SMS about changes of one account have the same rate
    #[arg(long, env, default_value = "10/1h", value_name = "COUNT/TIME")]
    pub rate_codes_per_user: Allowance,
    /// SMS with codes that all nodes together send. After that, only verified numbers still get codes, to sign in, to reset the password or to confirm. These have a second allowance of the same size
    #[arg(long, env, default_value = "1000/1h", value_name = "COUNT/TIME")]
    pub rate_sms: Allowance,
    /// Challenges for passkeys that are requested from one address. Each sign-in with a passkey needs one
    #[arg(long, env, default_value = "600/1h", value_name = "COUNT/TIME")]
    pub rate_passkey_challenges: Allowance,
    /// Messages that one user sends or schedules
    #[arg(long, env, default_value = "300/1m", value_name = "COUNT/TIME")]
    pub rate_messages: Allowance,
    /// Copies that one user makes by forwarding: messages times conversations
    #[arg(long, env, default_value = "2000/10m", value_name = "COUNT/TIME")]
    pub rate_forwards: Allowance,
    /// Messages that one user edits, deletes or hides
    #[arg(long, env, default_value = "120/1m", value_name = "COUNT/TIME")]
    pub rate_edits: Allowance,
    /// Reactions and pins that one user adds or removes
    #[arg(long, env, default_value = "300/1m", value_name = "COUNT/TIME")]
    pub rate_reactions: Allowance,
    /// Changes of typing, presence and open conversations that one user makes
    #[arg(long, env, default_value = "240/1m", value_name = "COUNT/TIME")]
    pub rate_announcements: Allowance,
    /// Groups that one user creates
    #[arg(long, env, default_value = "30/1h", value_name = "COUNT/TIME")]
    pub rate_groups: Allowance,
    /// Direct conversations that one user is the first to open
    #[arg(long, env, default_value = "200/1h", value_name = "COUNT/TIME")]
    pub rate_direct_conversations: Allowance,
    /// People that one user adds to groups, including those of a new group
    #[arg(long, env, default_value = "2000/1h", value_name = "COUNT/TIME")]
    pub rate_additions: Allowance,
    /// Contact requests that one user sends
    #[arg(long, env, default_value = "60/1h", value_name = "COUNT/TIME")]
    pub rate_contact_requests: Allowance,
    /// Invites that one user creates
    #[arg(long, env, default_value = "60/1h", value_name = "COUNT/TIME")]
    pub rate_invites: Allowance,
    /// Groups that one user joins by invite
    #[arg(long, env, default_value = "60/1h", value_name = "COUNT/TIME")]
    pub rate_joins: Allowance,
    /// Uploads that one user starts
    #[arg(long, env, default_value = "600/1h", value_name = "COUNT/TIME")]
    pub rate_uploads: Allowance,
    /// Searches of one user, for messages or for people
    #[arg(long, env, default_value = "120/1m", value_name = "COUNT/TIME")]
    pub rate_searches: Allowance,
    /// Changes that one user makes to the profile, privacy settings, groups and own memberships
    #[arg(long, env, default_value = "1000/1h", value_name = "COUNT/TIME")]
    pub rate_changes: Allowance,
    /// Number of wrong passwords, codes or second factors for one username, address or number after which each further attempt must wait. The wait doubles each time. All names of an account together have three times this number
    #[arg(long, env, default_value = "10", value_name = "1..1000", value_parser = within::<u32>(1..=1000))]
    pub password_tries_per_account: u32,
    /// Number of wrong passwords, codes, second factors or tokens from one address after which each further attempt must wait. The wait doubles with each wrong one
    #[arg(long, env, default_value = "50", value_name = "1..10000", value_parser = within::<u32>(1..=10_000))]
    pub password_tries_per_address: u32,
    /// Seconds of the first wait after wrong passwords or codes
    #[arg(long, hide = true, default_value = "1", value_parser = seconds(1..=900))]
    pub password_first_delay: Duration,
}

/// Allowed number of actions in a period: `300/1m` allows 300 at once, and then one every 200 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// No limit, written as `off`.
    Unlimited,
    Limited {
        count: NonZeroU32,
        time: Duration,
    },
}

impl Allowance {
    /// Maximum value of `time`.
    const MAX_TIME: Duration = Duration::from_hours(24 * 30);

    /// Returns the allowance of an IPv6 site.
    #[must_use]
    pub fn of_site(self) -> Self {
        match self {
            Self::Unlimited => Self::Unlimited,
            Self::Limited { count, time } => {
                // The product is never zero.
                let count = NonZeroU32::new(count.get().saturating_mul(SITE_ALLOWANCE)).unwrap_or(count);
                Self::Limited { count, time }
            }
        }
    }
}

/// Units of time, each with its length in seconds.
const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];

impl std::str::FromStr for Allowance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Unlimited);
        }
        let limited = || {
            let (count, time) = text.split_once('/')?;
            let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| time.ends_with(unit))?;
            let number: u64 = time.strip_suffix(unit)?.parse().ok().filter(|number| *number > 0)?;
            let time = Duration::from_secs(number.checked_mul(seconds)?);
            let count: NonZeroU32 = count.parse().ok()?;
            (time <= Self::MAX_TIME).then_some(Self::Limited { count, time })
        };
        limited().ok_or_else(|| "allowed are off, or a count and a time of up to 30 days such as 300/1m".to_owned())
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("off"),
            Self::Limited { count, time } => write!(f, "{count}/{}s", time.as_secs()),
        }
    }
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err("allowed are on and off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_count_and_a_time() {
        let limited = |count, seconds| Allowance::Limited {
            count: NonZeroU32::new(count).unwrap(),
            time: Duration::from_secs(seconds),
        };
        for (text, expected) in [
            ("300/1m", limited(300, 60)),
            ("1/1s", limited(1, 1)),
            ("20/2h", limited(20, 7200)),
            ("5/30d", limited(5, 30 * 86_400)),
            ("off", Allowance::Unlimited),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for wrong in
            ["", "300", "300/", "/1m", "0/1m", "300/0m", "300/1w", "300/m", "-1/1m", "1/31d", "1/99999999999999d"]
        {
            assert!(wrong.parse::<Allowance>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_site_has_a_multiple_of_the_allowance() {
        let of_site = |text: &str| text.parse::<Allowance>().unwrap().of_site().to_string();
        assert_eq!(of_site("5/15m"), "40/900s");
        assert_eq!(of_site("4294967295/1s"), "4294967295/1s");
        assert_eq!(of_site("off"), "off");
    }
}
