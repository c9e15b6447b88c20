//! Tests of messages.

mod deletions;
mod expiry;
mod forwards;
mod mentions;
mod message_changes;
mod messages;
mod pins;
mod reactions;
mod read_receipts;
mod receipts;
mod scheduled_messages;
mod search;
mod search_index;
mod search_languages;
mod status;
mod unread;

use chrono::TimeDelta;

use crate::support;

/// `support::ALLOWANCE` as a difference of two times of the server.
const ALLOWANCE: TimeDelta = TimeDelta::seconds(support::ALLOWANCE.as_secs().cast_signed());
