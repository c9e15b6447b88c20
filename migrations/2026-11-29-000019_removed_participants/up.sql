-- Users who were removed from a group by another participant. The row is deleted when the user is a participant again.
CREATE TABLE removed_participants (
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Invites that were made up to this moment do not work for the user.
    removed_at timestamptz NOT NULL,
    -- Whether no invite works for the user.
    banned boolean NOT NULL,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX removed_participants_by_user ON removed_participants (user_id);
CREATE INDEX removed_participants_banned ON removed_participants (conversation_id, removed_at, user_id) WHERE banned;

-- Invites are listed in this order.
CREATE INDEX invites_by_age ON invites (conversation_id, created_at, id);
DROP INDEX invites_by_conversation;
