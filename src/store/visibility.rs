//! Conditions in SQL that several statements share: who sees a message, and to whom it is unread.

/// SQL condition: the participant `viewer` may see the row of `messages`. The message is after `hidden_up_to` and not
/// in `message_hidden`: they did not delete it for themselves, and it was not hidden because they block the sender.
/// For statements that join both tables under these names.
pub(super) const VISIBLE: &str = "(messages.number > viewer.hidden_up_to AND NOT EXISTS (
    SELECT FROM message_hidden AS hidden WHERE hidden.user_id = viewer.user_id AND hidden.message_id = messages.id
))";

/// SQL condition: the participant is not the sender of the message, has not read it, and it is not hidden from them. It
/// does not exclude SYSTEM messages, which never count as unread.
pub(super) const UNREAD_TO: &str = "participants.user_id IS DISTINCT FROM messages.sender_id
    AND messages.number > participants.last_read_number
    AND NOT EXISTS (
        SELECT FROM message_hidden AS hidden
        WHERE hidden.user_id = participants.user_id AND hidden.message_id = messages.id
    )";
