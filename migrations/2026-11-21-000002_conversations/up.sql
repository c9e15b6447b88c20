CREATE TABLE conversations (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('DIRECT', 'GROUP')),
    title text,
    topic text,
    created_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    last_activity_at timestamptz NOT NULL,
    last_message_id uuid,
    -- Number of the newest message. 0 before the first message.
    last_message_number integer NOT NULL DEFAULT 0,
    -- Increases with each change of any message of the conversation.
    revision integer NOT NULL DEFAULT 0,
    participant_count integer NOT NULL,
    -- The two users of a direct conversation, the smaller id first. Each pair has at most one direct conversation.
    direct_low uuid,
    direct_high uuid,
    UNIQUE (direct_low, direct_high),
    CHECK ((kind = 'DIRECT') = (direct_low IS NOT NULL AND direct_high IS NOT NULL)),
    CHECK (direct_low < direct_high),
    CHECK ((kind = 'GROUP') = (title IS NOT NULL))
);

CREATE TABLE participants (
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    id uuid NOT NULL UNIQUE,
    role text NOT NULL CHECK (role IN ('OWNER', 'ADMIN', 'MEMBER')),
    joined_at timestamptz NOT NULL,
    last_delivered_number integer NOT NULL DEFAULT 0,
    last_read_number integer NOT NULL DEFAULT 0,
    -- Number of the participant's own messages after last_read_number. They do not count as unread.
    own_unread integer NOT NULL DEFAULT 0,
    PRIMARY KEY (conversation_id, user_id)
);
CREATE INDEX participants_by_user ON participants (user_id, conversation_id);
CREATE INDEX participants_by_age ON participants (conversation_id, joined_at, id);

CREATE TABLE messages (
    id uuid PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    number integer NOT NULL,
    revision integer NOT NULL,
    sender_id uuid REFERENCES users (id) ON DELETE SET NULL,
    kind text NOT NULL CHECK (kind IN ('TEXT', 'IMAGE', 'VIDEO', 'AUDIO', 'FILE', 'SYSTEM')),
    body text,
    client_id text,
    created_at timestamptz NOT NULL,
    UNIQUE (conversation_id, number)
);
CREATE UNIQUE INDEX messages_by_client_id ON messages (sender_id, client_id) WHERE client_id IS NOT NULL;
CREATE INDEX messages_by_sender ON messages (conversation_id, sender_id, number);
