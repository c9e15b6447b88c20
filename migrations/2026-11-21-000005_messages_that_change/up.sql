ALTER TABLE users
    -- When the last connection closed; null before the first.
    ADD COLUMN last_seen_at timestamptz,
    -- The row stays, without what is personal, so that conversations stay readable.
    ADD COLUMN deleted_at timestamptz;

ALTER TABLE participants
    ADD COLUMN archived boolean NOT NULL DEFAULT false,
    ADD COLUMN pinned boolean NOT NULL DEFAULT false,
    -- Muted while in the future.
    ADD COLUMN muted_until timestamptz,
    -- Messages up to this number are from before the participant's time, and hidden.
    ADD COLUMN hidden_up_to integer NOT NULL DEFAULT 0,
    -- How many of the messages after last_read_number mention the participant.
    ADD COLUMN unread_mentions integer NOT NULL DEFAULT 0;

ALTER TABLE messages
    ADD COLUMN edited_at timestamptz,
    -- A tombstone keeps its number, and no body.
    ADD COLUMN deleted_at timestamptz,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN reply_to_id uuid REFERENCES messages (id) ON DELETE SET NULL,
    ADD COLUMN forwarded boolean NOT NULL DEFAULT false,
    ADD COLUMN pinned_at timestamptz,
    -- What a SYSTEM message tells of: what happened, who did it, to whom, and the new title or the like.
    ADD COLUMN system_kind text CHECK (system_kind IN (
        'CONVERSATION_CREATED', 'TITLE_CHANGED', 'AVATAR_CHANGED', 'PARTICIPANT_JOINED', 'PARTICIPANT_LEFT',
        'PARTICIPANT_REMOVED', 'ROLE_CHANGED', 'MESSAGE_PINNED', 'CALL_ENDED'
    )),
    ADD COLUMN actor_id uuid REFERENCES users (id) ON DELETE SET NULL,
    ADD COLUMN subject_id uuid REFERENCES users (id) ON DELETE SET NULL,
    ADD COLUMN system_text text,
    ADD CHECK ((kind = 'SYSTEM') = (system_kind IS NOT NULL));
