DROP INDEX messages_by_reply;
DROP TABLE invites;
DROP INDEX participants_owner;
ALTER TABLE conversations
    DROP COLUMN history_visible;
