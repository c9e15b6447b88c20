-- The counter of the log. A transaction that updates it locks the row until the commit, so seq has no holes and follows
-- commit order. A SEQUENCE guarantees neither.
CREATE TABLE log_head (
    lane smallint PRIMARY KEY,
    -- Random id of this log. It changes after a restore from a backup, so that older cursors are refused.
    epoch bigint NOT NULL,
    seq bigint NOT NULL
);
INSERT INTO log_head (lane, epoch, seq)
VALUES (0, ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::bigint, 0);

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
    PRIMARY KEY (lane, seq),
    CHECK (num_nonnulls(conversation_id, user_id) = 1)
);
CREATE INDEX events_by_conversation ON events (conversation_id, seq) WHERE conversation_id IS NOT NULL;
CREATE INDEX events_by_user ON events (user_id, seq) WHERE user_id IS NOT NULL;
