ALTER TABLE users
    -- Who may see when the user was last online.
    ADD COLUMN last_seen text NOT NULL DEFAULT 'EVERYONE' CHECK (last_seen IN ('EVERYONE', 'CONTACTS', 'NOBODY')),
    -- Off hides both ways.
    ADD COLUMN read_receipts boolean NOT NULL DEFAULT true,
    -- Who may add the user to a group.
    ADD COLUMN group_adds text NOT NULL DEFAULT 'EVERYONE' CHECK (group_adds IN ('EVERYONE', 'CONTACTS', 'NOBODY')),
    -- Who may find the user by e-mail or phone.
    ADD COLUMN discoverable_by_contact_point text NOT NULL DEFAULT 'EVERYONE'
        CHECK (discoverable_by_contact_point IN ('EVERYONE', 'CONTACTS', 'NOBODY'));

-- A row for each side: a block takes the blocker's and leaves the other's as it is.
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
    -- The one of the two who has blocked the other, and sees nothing of it.
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

-- Messages that one participant does not see: they have deleted them for themselves, or block the sender.
CREATE TABLE message_hidden (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    message_id uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    PRIMARY KEY (user_id, message_id)
);
CREATE INDEX message_hidden_by_message ON message_hidden (message_id);

ALTER TABLE participants
    -- The conversation was opened by somebody whom the user blocks: the user knows nothing of it yet.
    ADD COLUMN unannounced boolean NOT NULL DEFAULT false;
