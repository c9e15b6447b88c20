ALTER TABLE users
    -- Users who may see when this user was last online.
    ADD COLUMN last_seen text NOT NULL DEFAULT 'EVERYONE' CHECK (last_seen IN ('EVERYONE', 'CONTACTS', 'NOBODY')),
    -- If false, the user neither shows read receipts to others nor sees theirs.
    ADD COLUMN read_receipts boolean NOT NULL DEFAULT true,
    -- Users who may add this user to a group.
    ADD COLUMN group_adds text NOT NULL DEFAULT 'EVERYONE' CHECK (group_adds IN ('EVERYONE', 'CONTACTS', 'NOBODY')),
    -- Users who may find this user by e-mail address or phone number.
    ADD COLUMN discoverable_by_contact_point text NOT NULL DEFAULT 'EVERYONE'
        CHECK (discoverable_by_contact_point IN ('EVERYONE', 'CONTACTS', 'NOBODY'));

-- A contact has one row for each side. A block deletes the blocker's row and keeps the other one.
CREATE TABLE contacts (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    contact_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, contact_id),
    CHECK (user_id <> contact_id)
);
CREATE INDEX contacts_by_age ON contacts (user_id, created_at, contact_id);
CREATE INDEX contacts_by_contact ON contacts (contact_id);

CREATE TABLE contact_requests (
    id uuid PRIMARY KEY,
    from_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    to_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    -- The user who blocks the other one and does not see this request.
    withheld_from uuid,
    UNIQUE (from_id, to_id),
    CHECK (from_id <> to_id),
    CHECK (withheld_from IN (from_id, to_id))
);
CREATE INDEX contact_requests_incoming ON contact_requests (to_id, created_at, id);
CREATE INDEX contact_requests_outgoing ON contact_requests (from_id, created_at, id);

CREATE TABLE blocks (
    blocker_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    blocked_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (blocker_id, blocked_id),
    CHECK (blocker_id <> blocked_id)
);
CREATE INDEX blocks_by_age ON blocks (blocker_id, created_at, blocked_id);
CREATE INDEX blocks_by_blocked ON blocks (blocked_id);

-- Messages that are hidden from one participant, who has deleted them for themselves or blocks the sender.
CREATE TABLE message_hidden (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, message_id)
);
CREATE INDEX message_hidden_by_message ON message_hidden (message_id);

ALTER TABLE participants
    -- True if a user whom this participant blocks has opened the conversation: it is hidden from the participant.
    ADD COLUMN unannounced boolean NOT NULL DEFAULT false;
