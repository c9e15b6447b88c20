//! The kinds of rates, one for each setting.

use crate::config::{Allowance, Rates};

macro_rules! rates {
    ($($(#[$doc:meta])* $name:ident = $setting:literal, $field:ident;)*) => {
        /// Kind of actions that a rate counts.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rate {
            $($(#[$doc])* $name,)*
        }

        impl Rate {
            pub const ALL: [Self; [$(Self::$name),*].len()] = [$(Self::$name),*];

            /// Returns the name of the setting of the rate.
            pub const fn setting(self) -> &'static str {
                match self {
                    $(Self::$name => $setting,)*
                }
            }

            pub(super) const fn allowance(self, settings: &Rates) -> Allowance {
                match self {
                    $(Self::$name => settings.$field,)*
                }
            }
        }
    };
}

impl Rate {
    /// Whether the rate also counts the sites of IPv6 clients. RATE_REQUESTS does not, because it also counts the
    /// requests of signed-in users: a mobile provider can have thousands of users in one site.
    pub(super) const fn counts_sites(self) -> bool {
        !matches!(self, Self::Requests)
    }
}

rates! {
    Requests = "RATE_REQUESTS", rate_requests;
    Operations = "RATE_OPERATIONS", rate_operations;
    Cost = "RATE_COST", rate_cost;
    Registrations = "RATE_REGISTRATIONS", rate_registrations;
    /// Codes that clients of one address request for an e-mail address or a phone number.
    CodesPerTarget = "RATE_CODES_PER_TARGET", rate_codes_per_target;
    /// Codes that all clients request for an e-mail address or a phone number.
    CodesPerTargetDay = "RATE_CODES_PER_TARGET_DAY", rate_codes_per_target_day;
    /// Codes that clients of one address request.
    CodesPerAddress = "RATE_CODES_PER_ADDRESS", rate_codes_per_address;
    /// Codes that a signed-in user requests, and SMS about changes of an account.
    CodesPerUser = "RATE_CODES_PER_USER", rate_codes_per_user;
    /// SMS with codes to all phone numbers.
    Sms = "RATE_SMS", rate_sms;
    /// Challenges for passkeys that clients of one address request.
    PasskeyChallenges = "RATE_PASSKEY_CHALLENGES", rate_passkey_challenges;
    Messages = "RATE_MESSAGES", rate_messages;
    /// Forwarded copies: the number of messages times the number of conversations.
    Forwards = "RATE_FORWARDS", rate_forwards;
    /// Messages that are edited, deleted or hidden.
    Edits = "RATE_EDITS", rate_edits;
    /// Reactions and pins.
    Reactions = "RATE_REACTIONS", rate_reactions;
    /// Announcements of typing, presence and open conversations.
    Announcements = "RATE_ANNOUNCEMENTS", rate_announcements;
    Groups = "RATE_GROUPS", rate_groups;
    DirectConversations = "RATE_DIRECT_CONVERSATIONS", rate_direct_conversations;
    /// Users who are added to groups.
    Additions = "RATE_ADDITIONS", rate_additions;
    ContactRequests = "RATE_CONTACT_REQUESTS", rate_contact_requests;
    Invites = "RATE_INVITES", rate_invites;
    /// Joins of groups by invite.
    Joins = "RATE_JOINS", rate_joins;
    Uploads = "RATE_UPLOADS", rate_uploads;
    Searches = "RATE_SEARCHES", rate_searches;
    /// Changes of profiles, privacy settings, contacts, groups and memberships.
    Changes = "RATE_CHANGES", rate_changes;
}
