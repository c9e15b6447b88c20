-- The column also counts SYSTEM messages and tombstones, so its new name covers all messages that are never unread.
ALTER TABLE participants RENAME COLUMN own_unread TO uncounted;
