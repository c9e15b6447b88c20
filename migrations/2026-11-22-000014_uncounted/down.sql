ALTER TABLE participants RENAME COLUMN uncounted TO own_unread;
