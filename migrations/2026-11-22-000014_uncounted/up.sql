-- It counts what is no one's own as well: SYSTEM messages, and deleted ones.
ALTER TABLE participants RENAME COLUMN own_unread TO uncounted;
