CREATE TABLE attachments (
    id uuid PRIMARY KEY,
    -- Null once the account is gone: what was sent stays.
    uploader_id uuid REFERENCES users (id) ON DELETE SET NULL,
    state text NOT NULL CHECK (state IN ('PENDING', 'READY', 'REJECTED')),
    kind text NOT NULL CHECK (kind IN ('IMAGE', 'VIDEO', 'AUDIO', 'FILE')),
    file_name text NOT NULL,
    -- As declared, and once READY as it is.
    content_type text NOT NULL,
    byte_size bigint NOT NULL CHECK (byte_size > 0),
    -- Of the upload, where the client has said it.
    sha256 bytea CHECK (octet_length(sha256) = 32),
    -- S3's name of an upload in parts.
    upload_id text,
    width integer,
    height integer,
    duration_ms integer,
    blurhash text,
    -- Peaks from 0 to 100.
    waveform bytea,
    has_thumbnails boolean NOT NULL DEFAULT false,
    -- Its thumbnails are squares: it has been made an avatar.
    squared boolean NOT NULL DEFAULT false,
    -- Why it is REJECTED.
    rejection text,
    created_at timestamptz NOT NULL,
    -- Until when a node has it to itself, to look at what was uploaded. A node that dies has it no longer.
    claimed_until timestamptz,
    -- It goes: nothing may refer to it any more. Until when a node has it to itself, to delete its objects.
    going_until timestamptz,
    CHECK ((state = 'REJECTED') = (rejection IS NOT NULL))
);
CREATE INDEX attachments_by_uploader ON attachments (uploader_id, id);
CREATE INDEX attachments_pending ON attachments (uploader_id) WHERE state = 'PENDING';
CREATE INDEX attachments_going ON attachments (going_until) WHERE going_until IS NOT NULL;

-- Without ON DELETE, here and below: an attachment that is still referred to cannot be deleted.
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

-- Null where only attachments are to be sent.
ALTER TABLE scheduled_messages ALTER COLUMN body DROP NOT NULL;

ALTER TABLE users ADD COLUMN avatar_id uuid REFERENCES attachments (id);
CREATE INDEX users_by_avatar ON users (avatar_id) WHERE avatar_id IS NOT NULL;
ALTER TABLE conversations ADD COLUMN avatar_id uuid REFERENCES attachments (id);
CREATE INDEX conversations_by_avatar ON conversations (avatar_id) WHERE avatar_id IS NOT NULL;

-- Attachments that something stopped referring to, and when: to be looked at later, whether anything else does. Rows of
-- its own, so that whoever deletes messages waits for nobody who deletes others with the same attachments.
CREATE TABLE attachment_looks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attachment_id uuid NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX attachment_looks_by_time ON attachment_looks (since, id);
CREATE INDEX attachment_looks_by_attachment ON attachment_looks (attachment_id, since);

-- However a reference goes, by hand, with its message or with a whole conversation.
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
