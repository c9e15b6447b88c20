//! SQL conditions that several statements share: who may see a message, and for whom a message is unread.

/// SQL condition: the participant may see the message. The message is after `hidden_up_to` and not in `message_hidden`:
/// the participant did not delete the message for themselves, and the message was not hidden because the participant
/// blocks the sender. A statement that uses this condition must name the participant `viewer` and the message
/// `messages`.
pub(super) const VISIBLE: &str = "(messages.number > viewer.hidden_up_to AND NOT EXISTS (
    SELECT FROM message_hidden AS hidden WHERE hidden.user_id = viewer.user_id AND hidden.message_id = messages.id
))";

/// SQL condition: the participant did not send the message and has not read it, and the message is not in
/// `message_hidden` for the participant. Does not exclude SYSTEM messages, although they never count as unread.
pub(super) const UNREAD_TO: &str = "participants.user_id IS DISTINCT FROM messages.sender_id
    AND messages.number > participants.last_read_number
    AND NOT EXISTS (
        SELECT FROM message_hidden AS hidden
        WHERE hidden.user_id = participants.user_id AND hidden.message_id = messages.id
    )";
