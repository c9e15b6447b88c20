//! Rate limits: counts the actions of users and addresses, and defines the error messages.

use super::base::Base;
use super::error::{Error, Result};
use super::viewer::Viewer;
use crate::limiter::{Exceeded, Key, Rate};

impl Base {
    /// Counts `count` actions of the viewer. If the rate does not allow all of them now, counts no action and returns
    /// RATE_LIMITED.
    pub(super) fn check_rate(&self, rate: Rate, viewer: Viewer, count: usize) -> Result<()> {
        self.check_rate_for(rate, Key::User(viewer.user), u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Counts `count` actions of `key`. If the rate does not allow all of them now, counts no action and returns
    /// RATE_LIMITED.
    pub(super) fn check_rate_for(&self, rate: Rate, key: Key, count: u32) -> Result<()> {
        self.limiter.check(rate, key, count).map_err(|exceeded| limited(exceeded, message(rate)))
    }
}

pub(super) const fn limited(exceeded: Exceeded, message: &'static str) -> Error {
    Error::RateLimited(exceeded.setting, exceeded.retry_after, message)
}

const fn message(rate: Rate) -> &'static str {
    match rate {
        Rate::Requests => "There are too many requests from this address.",
        Rate::Operations => "There are too many operations in a short time.",
        Rate::Cost => "These operations ask for too many fields in a short time. Ask for fewer at once.",
        Rate::Registrations => "Too many accounts were registered from this address.",
        Rate::CodesPerTarget | Rate::CodesPerTargetDay => {
            "Too many codes were requested for this e-mail address or phone number."
        }
        Rate::CodesPerAddress => "Too many codes were requested from this address.",
        Rate::CodesPerUser => "You request too many codes.",
        Rate::Sms => "Too many SMS are sent.",
        Rate::PasskeyChallenges => "Too many challenges for passkeys were requested from this address.",
        Rate::Messages => "You send too many messages.",
        Rate::Forwards => "You forward too many messages.",
        Rate::Edits => "You change too many messages.",
        Rate::Reactions => "You change too many reactions or pins.",
        Rate::Announcements => "Your typing or presence changes too often.",
        Rate::Groups => "You create too many groups.",
        Rate::DirectConversations => "You open too many new conversations.",
        Rate::Additions => "You add too many people to groups.",
        Rate::ContactRequests => "You send too many contact requests.",
        Rate::Invites => "You create too many invites.",
        Rate::Joins => "You join too many groups.",
        Rate::Uploads => "You start too many uploads.",
        Rate::Searches => "You search too often.",
        Rate::Changes => "You change your settings or groups too often.",
    }
}
