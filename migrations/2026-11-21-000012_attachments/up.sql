CREATE TABLE attachments (
    id uuid PRIMARY KEY,
    -- Null after the account was deleted. Attachments that were sent stay.
    uploader_id uuid REFERENCES users (id) ON DELETE SET NULL,
    state text NOT NULL CHECK (state IN ('PENDING', 'READY', 'REJECTED')),
    kind text NOT NULL CHECK (kind IN ('IMAGE', 'VIDEO', 'AUDIO', 'FILE')),
    file_name text NOT NULL,
    -- The type that the client declared. After READY, the type that the server detected.
    content_type text NOT NULL,
    byte_size bigint NOT NULL CHECK (byte_size > 0),
    -- SHA-256 of the uploaded file. Null if the client declared none.
    sha256 bytea CHECK (octet_length(sha256) = 32),
    -- S3's id of a multipart upload.
    upload_id text,
    width integer,
    height integer,
    duration_ms integer,
    blurhash text,
    -- One byte for each peak, from 0 to 100.
    waveform bytea,
    has_thumbnails boolean NOT NULL DEFAULT false,
    -- True if the attachment became an avatar: its thumbnails are square.
    squared boolean NOT NULL DEFAULT false,
    -- The reason for REJECTED.
    rejection text,
    created_at timestamptz NOT NULL,
    -- End of the lease of the node that inspects the file. If the node dies, the lease expires.
    claimed_until timestamptz,
    -- Not null if the attachment is being deleted, so no new reference is allowed. End of the lease of the node that
    -- deletes its objects.
    going_until timestamptz,
    CHECK ((state = 'REJECTED') = (rejection IS NOT NULL))
);
CREATE INDEX attachments_by_uploader ON attachments (uploader_id, id);
CREATE INDEX attachments_pending ON attachments (uploader_id) WHERE state = 'PENDING';
CREATE INDEX attachments_going ON attachments (going_until) WHERE going_until IS NOT NULL;

-- Foreign keys to attachments have no ON DELETE, so an attachment with references cannot be deleted.
CREATE TABLE message_attachments (
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    position smallint NOT NULL,
    attachment_id uuid NOT NULL REFERENCES attachments (id),
    PRIMARY KEY (message_id, position)
);
CREATE INDEX message_attachments_by_attachment ON message_attachments (attachment_id, message_id);

CREATE TABLE scheduled_message_attachments (
    scheduled_message_id uuid NOT NULL REFERENCES scheduled_messages (id) ON DELETE CASCADE,
    position smallint NOT NULL,
    attachment_id uuid NOT NULL REFERENCES attachments (id),
    PRIMARY KEY (scheduled_message_id, position)
);
CREATE INDEX scheduled_message_attachments_by_attachment ON scheduled_message_attachments (attachment_id);

-- Null if the message has only attachments.
ALTER TABLE scheduled_messages ALTER COLUMN body DROP NOT NULL;

ALTER TABLE users ADD COLUMN avatar_id uuid REFERENCES attachments (id);
CREATE INDEX users_by_avatar ON users (avatar_id) WHERE avatar_id IS NOT NULL;
ALTER TABLE conversations ADD COLUMN avatar_id uuid REFERENCES attachments (id);
CREATE INDEX conversations_by_avatar ON conversations (avatar_id) WHERE avatar_id IS NOT NULL;

-- Attachments that lost a reference, and when. The sweeper checks later whether they have other references. This is a
-- separate table, so that two transactions that delete messages with the same attachment do not wait for each other.
CREATE TABLE attachment_looks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attachment_id uuid NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX attachment_looks_by_time ON attachment_looks (since, id);
CREATE INDEX attachment_looks_by_attachment ON attachment_looks (attachment_id, since);

-- Triggers record every lost reference, also if its message or its conversation is deleted.
CREATE FUNCTION look_at_attachment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attachment_looks (attachment_id) VALUES (OLD.attachment_id);
    RETURN NULL;
END
$$;
CREATE TRIGGER look AFTER DELETE ON message_attachments
    FOR EACH ROW EXECUTE FUNCTION look_at_attachment();
CREATE TRIGGER look AFTER DELETE ON scheduled_message_attachments
    FOR EACH ROW EXECUTE FUNCTION look_at_attachment();

CREATE FUNCTION look_at_avatar() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attachment_looks (attachment_id) VALUES (OLD.avatar_id);
    RETURN NULL;
END
$$;
CREATE TRIGGER look_when_deleted AFTER DELETE ON users
    FOR EACH ROW WHEN (OLD.avatar_id IS NOT NULL) EXECUTE FUNCTION look_at_avatar();
CREATE TRIGGER look_when_changed AFTER UPDATE OF avatar_id ON users
    FOR EACH ROW WHEN (OLD.avatar_id IS DISTINCT FROM NEW.avatar_id AND OLD.avatar_id IS NOT NULL)
    EXECUTE FUNCTION look_at_avatar();
CREATE TRIGGER look_when_deleted AFTER DELETE ON conversations
    FOR EACH ROW WHEN (OLD.avatar_id IS NOT NULL) EXECUTE FUNCTION look_at_avatar();
CREATE TRIGGER look_when_changed AFTER UPDATE OF avatar_id ON conversations
    FOR EACH ROW WHEN (OLD.avatar_id IS DISTINCT FROM NEW.avatar_id AND OLD.avatar_id IS NOT NULL)
    EXECUTE FUNCTION look_at_avatar();
