//! SQL that several statements of pushes and digests share. A statement that uses it must name the participant
//! `viewer`, the message `messages` and the conversation `conversations`.

use crate::store::visibility::VISIBLE;

/// SQL expression that computes `Participant::unread`, but without the lower bound of 0.
pub(super) const UNREAD_COUNT: &str =
    "(conversations.last_message_number - viewer.last_read_number - viewer.uncounted)";

/// SQL condition: the participant is notified of the message by the level of the conversation, and because of a mention
/// if the conversation is archived.
const HEARD: &str = "(viewer.notification_level = 'all' AND NOT viewer.archived OR messages.mentions_all
    OR EXISTS (
        SELECT FROM mentions WHERE mentions.message_id = messages.id AND mentions.user_id = viewer.user_id
    ))";

/// SQL condition: the participant, who may see the message, has not read it and is notified of it. `now` is the SQL
/// expression of the time.
pub(super) fn notifies(now: &str) -> String {
    format!("{} AND {HEARD} AND {VISIBLE}", unread(now))
}

/// SQL condition: the message counts as unread for the participant, who does not block the sender. `now` is the SQL
/// expression of the time. Does not check whether the participant may see the message.
pub(super) fn unread(now: &str) -> String {
    format!(
        "(messages.number > viewer.last_read_number AND messages.kind <> 'SYSTEM'
            AND messages.sender_id IS DISTINCT FROM viewer.user_id AND messages.deleted_at IS NULL
            AND (messages.expires_at IS NULL OR messages.expires_at > {now})
            AND NOT EXISTS (
                SELECT FROM blocks WHERE blocks.blocker_id = viewer.user_id AND blocks.blocked_id = messages.sender_id
            ))"
    )
}
