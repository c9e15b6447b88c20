-- All times are from Postgres' clock, because any node may end a call.
CREATE TABLE calls (
    id uuid PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('AUDIO', 'VIDEO')),
    state text NOT NULL CHECK (state IN ('RINGING', 'ONGOING', 'ENDED')),
    -- No foreign key: the id stays after the account was deleted, as in conversations.
    started_by uuid NOT NULL,
    created_at timestamptz NOT NULL,
    -- End of ringing. Users who have not answered by then have missed the call.
    rings_until timestamptz NOT NULL,
    answered_at timestamptz,
    ended_at timestamptz,
    end_reason text CHECK (end_reason IN ('HUNG_UP', 'DECLINED', 'MISSED', 'BUSY', 'FAILED')),
    -- The user who blocks the caller and does not see the call.
    withheld_from uuid REFERENCES users (id) ON DELETE SET NULL,
    -- The SYSTEM message about the end of the call.
    message_id uuid,
    CHECK ((state = 'ENDED') = (ended_at IS NOT NULL)),
    CHECK ((state = 'ENDED') = (end_reason IS NOT NULL))
);
CREATE INDEX calls_by_conversation ON calls (conversation_id);
-- A conversation has at most one call at a time.
CREATE UNIQUE INDEX calls_live ON calls (conversation_id) WHERE state <> 'ENDED';
CREATE INDEX calls_ringing ON calls (rings_until) WHERE state <> 'ENDED';
CREATE INDEX calls_by_starter ON calls (started_by, created_at);
CREATE INDEX calls_withheld ON calls (withheld_from);
CREATE UNIQUE INDEX calls_by_message ON calls (message_id);

-- One stay of a device in a call. A device that joins again gets another row.
CREATE TABLE call_participants (
    id uuid PRIMARY KEY,
    call_id uuid NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    joined_at timestamptz NOT NULL,
    -- Null while the device is in the call. Equal to joined_at if the device declined.
    left_at timestamptz,
    -- When a node last recorded that the device has a connection.
    seen_at timestamptz NOT NULL,
    -- The time at which the device's signals so far would have been sent at exactly the allowed rate.
    signals_until timestamptz NOT NULL
);
CREATE INDEX call_participants_by_call ON call_participants (call_id, joined_at, id);
CREATE INDEX call_participants_by_user ON call_participants (user_id, joined_at);
CREATE INDEX call_participants_by_session ON call_participants (session_id);
-- A user is in at most one call at a time, with one device.
CREATE UNIQUE INDEX call_participants_live ON call_participants (user_id) WHERE left_at IS NULL;

-- Users for whom a call rings now.
CREATE TABLE call_rings (
    call_id uuid NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (call_id, user_id)
);
CREATE INDEX call_rings_by_user ON call_rings (user_id);

-- Signals from one device to another. A signal is deleted after its delivery, or when it expires or its device leaves.
CREATE TABLE call_signals (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_id uuid NOT NULL REFERENCES call_participants (id) ON DELETE CASCADE,
    to_id uuid NOT NULL REFERENCES call_participants (id) ON DELETE CASCADE,
    -- Type and text of a session description. Null for a candidate.
    sdp_type text CHECK (sdp_type IN ('OFFER', 'ANSWER', 'PRANSWER', 'ROLLBACK')),
    sdp text,
    -- An ICE candidate. Null for a session description.
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
