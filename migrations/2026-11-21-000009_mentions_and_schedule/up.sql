ALTER TABLE users
    -- If false, the user neither shows read receipts to others nor sees theirs.
    ADD COLUMN IF NOT EXISTS read_receipts boolean NOT NULL DEFAULT true;
CREATE INDEX users_hiding_receipts ON users (id) WHERE NOT read_receipts;

ALTER TABLE messages
    -- Whether the body has @all.
    ADD COLUMN mentions_all boolean NOT NULL DEFAULT false;
CREATE INDEX messages_mentioning_all ON messages (conversation_id, number) INCLUDE (sender_id) WHERE mentions_all;
-- Messages that never count as unread.
CREATE INDEX messages_uncounted ON messages (conversation_id, number) INCLUDE (sender_id)
    WHERE kind = 'SYSTEM' OR deleted_at IS NOT NULL;

-- Participants who are mentioned by name.
CREATE TABLE mentions (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Copied from the message, so that an index finds the mentions of a participant after a number.
    conversation_id uuid NOT NULL,
    number integer NOT NULL,
    PRIMARY KEY (message_id, user_id)
);
CREATE INDEX mentions_by_user ON mentions (user_id, conversation_id, number);

CREATE TABLE scheduled_messages (
    id uuid PRIMARY KEY,
    sender_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- No foreign key: with one, the deletion of a conversation and the sending of a message to it could deadlock.
    -- A message to a deleted conversation is dropped at its send_at.
    conversation_id uuid NOT NULL,
    body text NOT NULL,
    send_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX scheduled_messages_by_time ON scheduled_messages (send_at, id);
CREATE INDEX scheduled_messages_by_sender ON scheduled_messages (sender_id, send_at, id);

-- From now on own_unread also counts SYSTEM messages and tombstones.
UPDATE participants SET own_unread = (
    SELECT count(*) FROM messages
    WHERE conversation_id = participants.conversation_id AND number > participants.last_read_number
        AND (sender_id = participants.user_id OR kind = 'SYSTEM' OR deleted_at IS NOT NULL)
)
WHERE conversation_id IN (SELECT conversation_id FROM messages WHERE kind = 'SYSTEM' OR deleted_at IS NOT NULL);
