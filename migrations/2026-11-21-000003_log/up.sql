-- The counter of the log. Whoever updates it holds the row until the commit, so seq has no holes
-- and follows commit order; a SEQUENCE gives neither.
CREATE TABLE log_head (
    lane smallint PRIMARY KEY,
    -- Tells one life of the database from another, for instance after a restore from a backup.
    epoch bigint NOT NULL,
    seq bigint NOT NULL
);
INSERT INTO log_head (lane, epoch, seq)
VALUES (0, ('x' || substr(md5(gen_random_uuid()::text), 1, 16))::bit(64)::bigint, 0);

CREATE TABLE events (
    lane smallint NOT NULL,
    seq bigint NOT NULL,
    kind text NOT NULL,
    -- Whom it concerns: all who take part in a conversation, or one user.
    conversation_id uuid,
    user_id uuid,
    -- What it is about: a message, a user, a conversation or a session, as the kind says.
    subject_id uuid NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (lane, seq),
    CHECK (num_nonnulls(conversation_id, user_id) = 1)
);
CREATE INDEX events_by_conversation ON events (conversation_id, seq) WHERE conversation_id IS NOT NULL;
CREATE INDEX events_by_user ON events (user_id, seq) WHERE user_id IS NOT NULL;
