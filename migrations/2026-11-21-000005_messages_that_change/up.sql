ALTER TABLE users
    -- When the user's last connection closed. Null if no connection has closed yet.
    ADD COLUMN last_seen_at timestamptz,
    -- When the account was deleted. The row stays without personal data, so that conversations stay readable.
    ADD COLUMN deleted_at timestamptz;

ALTER TABLE participants
    ADD COLUMN archived boolean NOT NULL DEFAULT false,
    ADD COLUMN pinned boolean NOT NULL DEFAULT false,
    -- The conversation is muted until this time.
    ADD COLUMN muted_until timestamptz,
    -- Messages up to this number are hidden: they are older than the membership.
    ADD COLUMN hidden_up_to integer NOT NULL DEFAULT 0,
    -- Number of messages after last_read_number that mention the participant.
    ADD COLUMN unread_mentions integer NOT NULL DEFAULT 0;

ALTER TABLE messages
    ADD COLUMN edited_at timestamptz,
    -- When the message became a tombstone, which has a number and no body.
    ADD COLUMN deleted_at timestamptz,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN reply_to_id uuid REFERENCES messages (id) ON DELETE SET NULL,
    ADD COLUMN forwarded boolean NOT NULL DEFAULT false,
    ADD COLUMN pinned_at timestamptz,
    -- A SYSTEM message describes a change: its kind, the user who made it, the user whom it concerns, and a text such
    -- as the new title.
    ADD COLUMN system_kind text CHECK (system_kind IN (
        'CONVERSATION_CREATED', 'TITLE_CHANGED', 'AVATAR_CHANGED', 'PARTICIPANT_JOINED', 'PARTICIPANT_LEFT',
        'PARTICIPANT_REMOVED', 'ROLE_CHANGED', 'MESSAGE_PINNED', 'CALL_ENDED'
    )),
    ADD COLUMN actor_id uuid REFERENCES users (id) ON DELETE SET NULL,
    ADD COLUMN subject_id uuid REFERENCES users (id) ON DELETE SET NULL,
    ADD COLUMN system_text text,
    ADD CHECK ((kind = 'SYSTEM') = (system_kind IS NOT NULL));
