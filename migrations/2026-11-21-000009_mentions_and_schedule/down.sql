UPDATE participants SET own_unread = (
    SELECT count(*) FROM messages
    WHERE conversation_id = participants.conversation_id AND number > participants.last_read_number
        AND sender_id = participants.user_id
)
WHERE conversation_id IN (SELECT conversation_id FROM messages WHERE kind = 'SYSTEM' OR deleted_at IS NOT NULL);
DROP TABLE scheduled_messages, mentions;
DROP INDEX messages_uncounted, messages_mentioning_all, users_hiding_receipts;
ALTER TABLE messages DROP COLUMN mentions_all;
-- users.read_receipts is not dropped, because an earlier migration may have created it.
