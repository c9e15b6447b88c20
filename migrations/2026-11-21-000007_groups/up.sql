ALTER TABLE conversations
    -- Whether those who join may see what was before.
    ADD COLUMN history_visible boolean NOT NULL DEFAULT true;

-- A group has one owner at most; that it has one is up to the server.
CREATE UNIQUE INDEX participants_owner ON participants (conversation_id) WHERE role = 'OWNER';

CREATE TABLE invites (
    id uuid PRIMARY KEY,
    code text NOT NULL UNIQUE,
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    created_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    -- Null is never.
    expires_at timestamptz,
    -- Null is as often as anybody likes.
    max_uses integer CHECK (max_uses >= 1),
    uses integer NOT NULL DEFAULT 0,
    CHECK (uses >= 0 AND (max_uses IS NULL OR uses <= max_uses))
);
CREATE INDEX invites_by_conversation ON invites (conversation_id);
CREATE INDEX invites_by_creator ON invites (created_by);

-- Without it, each message that goes with its group looks through all messages for replies to it.
CREATE INDEX messages_by_reply ON messages (reply_to_id) WHERE reply_to_id IS NOT NULL;
