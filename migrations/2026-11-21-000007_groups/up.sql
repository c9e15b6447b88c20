ALTER TABLE conversations
    -- Whether new participants see the messages from before they joined.
    ADD COLUMN history_visible boolean NOT NULL DEFAULT true;

-- A group has at most one owner. The server makes sure that it has one.
CREATE UNIQUE INDEX participants_owner ON participants (conversation_id) WHERE role = 'OWNER';

CREATE TABLE invites (
    id uuid PRIMARY KEY,
    code text NOT NULL UNIQUE,
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    created_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    -- Null means that the invite does not expire.
    expires_at timestamptz,
    -- Maximum number of uses. Null means unlimited.
    max_uses integer CHECK (max_uses >= 1),
    uses integer NOT NULL DEFAULT 0,
    CHECK (uses >= 0 AND (max_uses IS NULL OR uses <= max_uses))
);
CREATE INDEX invites_by_conversation ON invites (conversation_id);
CREATE INDEX invites_by_creator ON invites (created_by);

-- Without this index, the deletion of a group would scan all messages for replies to each deleted message.
CREATE INDEX messages_by_reply ON messages (reply_to_id) WHERE reply_to_id IS NOT NULL;
