ALTER TABLE log_head
    -- The highest seq of all dropped partitions. A cursor below it has missed events.
    ADD COLUMN forgotten bigint NOT NULL DEFAULT 0;

-- One partition for each day (UTC), so that old events are dropped as a whole. The server creates the partitions of the
-- next days. created_at is the time of Postgres' clock at the append.
ALTER TABLE events RENAME TO events_in_one;
ALTER TABLE events_in_one DROP CONSTRAINT events_pkey;
DROP INDEX events_by_conversation, events_by_user;

CREATE TABLE events (
    lane smallint NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    -- Recipients: the participants of a conversation, or one user.
    conversation_id uuid,
    user_id uuid,
    -- The changed object. The kind decides whether it is a message, a user, a conversation or a session.
    subject_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (lane, seq, created_at),
    CHECK (num_nonnulls(conversation_id, user_id) = 1)
) PARTITION BY RANGE (created_at);

-- Creates the partitions of all days that have events, and of yesterday to the third day from now.
DO $$
DECLARE
    day date;
BEGIN
    FOR day IN
        SELECT (now() AT TIME ZONE 'UTC')::date + ahead FROM generate_series(-1, 3) AS ahead
        UNION
        SELECT (created_at AT TIME ZONE 'UTC')::date FROM events_in_one
    LOOP
        EXECUTE format(
            'CREATE TABLE %I PARTITION OF events FOR VALUES FROM (%L) TO (%L)',
            'events_' || to_char(day, 'YYYYMMDD'), day || ' 00:00:00+00', day + 1 || ' 00:00:00+00'
        );
    END LOOP;
END
$$;

INSERT INTO events (lane, seq, kind, conversation_id, user_id, subject_id, created_at)
SELECT lane, seq, kind, conversation_id, user_id, subject_id, created_at FROM events_in_one;
DROP TABLE events_in_one;
CREATE INDEX events_by_conversation ON events (conversation_id, seq) WHERE conversation_id IS NOT NULL;
CREATE INDEX events_by_user ON events (user_id, seq) WHERE user_id IS NOT NULL;

-- The deletion of expired sessions and tokens uses these indexes.
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX refresh_tokens_by_expiry ON refresh_tokens (expires_at);
