DROP INDEX sessions_by_expiry, refresh_tokens_by_expiry;

ALTER TABLE events RENAME TO events_in_parts;
ALTER TABLE events_in_parts DROP CONSTRAINT events_pkey;
DROP INDEX events_by_conversation, events_by_user;

CREATE TABLE events (
    lane smallint NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    conversation_id uuid,
    user_id uuid,
    subject_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (lane, seq),
    CHECK (num_nonnulls(conversation_id, user_id) = 1)
);
INSERT INTO events (lane, seq, kind, conversation_id, user_id, subject_id, created_at)
SELECT lane, seq, kind, conversation_id, user_id, subject_id, created_at FROM events_in_parts;
DROP TABLE events_in_parts;
CREATE INDEX events_by_conversation ON events (conversation_id, seq) WHERE conversation_id IS NOT NULL;
CREATE INDEX events_by_user ON events (user_id, seq) WHERE user_id IS NOT NULL;

-- A new epoch invalidates all cursors: without `forgotten`, the server cannot detect that events after a cursor were
-- dropped.
UPDATE log_head SET epoch = ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::bigint WHERE forgotten > 0;
ALTER TABLE log_head DROP COLUMN forgotten;
