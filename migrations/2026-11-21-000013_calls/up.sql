-- All times are Postgres's own: any node may be the one that ends a call.
CREATE TABLE calls (
    id uuid PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('AUDIO', 'VIDEO')),
    state text NOT NULL CHECK (state IN ('RINGING', 'ONGOING', 'ENDED')),
    -- No reference: it names nobody any more once the account is deleted, as in conversations.
    started_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    -- Until then it rings; whoever has not answered by then has missed it.
    rings_until timestamptz NOT NULL,
    answered_at timestamptz,
    ended_at timestamptz,
    end_reason text CHECK (end_reason IN ('HUNG_UP', 'DECLINED', 'MISSED', 'BUSY', 'FAILED')),
    -- The one who blocks the caller, and knows nothing of it.
    withheld_from uuid REFERENCES users (id) ON DELETE SET NULL,
    -- The SYSTEM message that tells of its end.
    message_id uuid,
    CHECK ((state = 'ENDED') = (ended_at IS NOT NULL)),
    CHECK ((state = 'ENDED') = (end_reason IS NOT NULL))
);
CREATE INDEX calls_by_conversation ON calls (conversation_id);
-- A conversation has one call at a time.
CREATE UNIQUE INDEX calls_live ON calls (conversation_id) WHERE state <> 'ENDED';
CREATE INDEX calls_ringing ON calls (rings_until) WHERE state <> 'ENDED';
CREATE INDEX calls_by_starter ON calls (started_by, created_at);
CREATE INDEX calls_withheld ON calls (withheld_from);
CREATE UNIQUE INDEX calls_by_message ON calls (message_id);

-- A device's time in a call. Who comes back has another row.
CREATE TABLE call_participants (
    id uuid PRIMARY KEY,
    call_id uuid NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    -- No references: that somebody has left is told to the others also where the account is deleted.
    user_id uuid NOT NULL,
    session_id uuid NOT NULL,
    joined_at timestamptz NOT NULL,
    -- Null while in the call. One who declined was never in it: both times are the same.
    left_at timestamptz,
    -- When a node last saw a connection of the device.
    seen_at timestamptz NOT NULL,
    -- By when its signals so far would have come at the rate that is allowed.
    signals_until timestamptz NOT NULL
);
CREATE INDEX call_participants_by_call ON call_participants (call_id, joined_at, id);
CREATE INDEX call_participants_by_user ON call_participants (user_id, joined_at);
CREATE INDEX call_participants_by_session ON call_participants (session_id);
-- A user is in one call at a time, with one device.
CREATE UNIQUE INDEX call_participants_live ON call_participants (user_id) WHERE left_at IS NULL;

-- Whom a call rings for now.
CREATE TABLE call_rings (
    call_id uuid NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (call_id, user_id)
);
CREATE INDEX call_rings_by_user ON call_rings (user_id);

-- Signals on their way from one device to another. Each is deleted once it was handed over, or nobody is there to have it.
CREATE TABLE call_signals (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_id uuid NOT NULL REFERENCES call_participants (id) ON DELETE CASCADE,
    to_id uuid NOT NULL REFERENCES call_participants (id) ON DELETE CASCADE,
    -- A description: its type and its text.
    sdp_type text CHECK (sdp_type IN ('OFFER', 'ANSWER', 'PRANSWER', 'ROLLBACK')),
    sdp text,
    -- Or a candidate.
    candidate text,
    sdp_mid text,
    sdp_m_line_index integer,
    username_fragment text,
    created_at timestamptz NOT NULL,
    CHECK ((sdp_type IS NULL) = (sdp IS NULL)),
    CHECK (num_nonnulls(sdp, candidate) = 1)
);
CREATE INDEX call_signals_by_receiver ON call_signals (to_id, seq);
CREATE INDEX call_signals_by_sender ON call_signals (from_id);
CREATE INDEX call_signals_by_age ON call_signals (created_at);
