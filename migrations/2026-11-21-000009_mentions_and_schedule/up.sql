ALTER TABLE users
    -- Off: others see no read receipts of the user's, and the user none of theirs.
    ADD COLUMN IF NOT EXISTS read_receipts boolean NOT NULL DEFAULT true;
CREATE INDEX users_hiding_receipts ON users (id) WHERE NOT read_receipts;

ALTER TABLE messages
    -- By @all.
    ADD COLUMN mentions_all boolean NOT NULL DEFAULT false;
CREATE INDEX messages_mentioning_all ON messages (conversation_id, number) INCLUDE (sender_id) WHERE mentions_all;
-- Those that are unread to nobody.
CREATE INDEX messages_uncounted ON messages (conversation_id, number) INCLUDE (sender_id)
    WHERE kind = 'SYSTEM' OR deleted_at IS NOT NULL;

-- Participants named in messages.
CREATE TABLE mentions (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Where the message is, so that a participant's own after a number are found at once.
    conversation_id uuid NOT NULL,
    number integer NOT NULL,
    PRIMARY KEY (message_id, user_id)
);
CREATE INDEX mentions_by_user ON mentions (user_id, conversation_id, number);

CREATE TABLE scheduled_messages (
    id uuid PRIMARY KEY,
    sender_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- No reference: a conversation that is deleted would wait for those that are being sent to it, and they for it.
    -- What is left over is dropped when its time comes.
    conversation_id uuid NOT NULL,
    body text NOT NULL,
    send_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX scheduled_messages_by_time ON scheduled_messages (send_at, id);
CREATE INDEX scheduled_messages_by_sender ON scheduled_messages (sender_id, send_at, id);

-- own_unread counts SYSTEM messages too, from here on.
UPDATE participants SET own_unread = (
    SELECT count(*) FROM messages
    WHERE conversation_id = participants.conversation_id AND number > participants.last_read_number
        AND (sender_id = participants.user_id OR kind = 'SYSTEM' OR deleted_at IS NOT NULL)
)
WHERE conversation_id IN (SELECT conversation_id FROM messages WHERE kind = 'SYSTEM' OR deleted_at IS NOT NULL);
