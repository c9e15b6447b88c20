CREATE TABLE message_reactions (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- As Unicode writes it in full.
    emoji text NOT NULL,
    -- The message's revision that it came with: it tells which was first.
    revision integer NOT NULL,
    PRIMARY KEY (message_id, user_id, emoji)
);
CREATE INDEX message_reactions_by_emoji ON message_reactions (message_id, emoji, revision);
CREATE INDEX message_reactions_by_user ON message_reactions (user_id);

-- What messages said before they were edited, for the audit.
CREATE TABLE message_edits (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    -- The message's revision that replaced the body.
    revision integer NOT NULL,
    -- Null once the message is deleted.
    body text,
    -- When it was replaced.
    until timestamptz NOT NULL,
    PRIMARY KEY (message_id, revision)
);

CREATE INDEX messages_pinned ON messages (conversation_id, pinned_at, id) WHERE pinned_at IS NOT NULL;
CREATE INDEX messages_by_expiry ON messages (expires_at) WHERE expires_at IS NOT NULL AND deleted_at IS NULL;
