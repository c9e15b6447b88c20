DROP INDEX messages_by_expiry, messages_pinned;
DROP TABLE message_edits, message_reactions;
