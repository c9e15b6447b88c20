CREATE TABLE message_reactions (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- In the fully qualified form of Unicode.
    emoji text NOT NULL,
    -- Revision of the message at which the reaction was added. Reactions are sorted by it.
    revision integer NOT NULL,
    PRIMARY KEY (message_id, user_id, emoji)
);
CREATE INDEX message_reactions_by_emoji ON message_reactions (message_id, emoji, revision);
CREATE INDEX message_reactions_by_user ON message_reactions (user_id);

-- Former bodies of edited messages, for audits.
CREATE TABLE message_edits (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    -- Revision of the message at which this body was replaced.
    revision integer NOT NULL,
    -- Null after the message was deleted.
    body text,
    -- When this body was replaced.
    until timestamptz NOT NULL,
    PRIMARY KEY (message_id, revision)
);

CREATE INDEX messages_pinned ON messages (conversation_id, pinned_at, id) WHERE pinned_at IS NOT NULL;
CREATE INDEX messages_by_expiry ON messages (expires_at) WHERE expires_at IS NOT NULL AND deleted_at IS NULL;
