DROP INDEX sessions_by_user;
ALTER TABLE users ADD COLUMN deleted_at timestamptz;

UPDATE conversations SET created_by = NULL
WHERE created_by IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = created_by);
ALTER TABLE conversations ADD FOREIGN KEY (created_by) REFERENCES users (id) ON DELETE SET NULL;
UPDATE messages SET sender_id = NULL
WHERE sender_id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = sender_id);
UPDATE messages SET actor_id = NULL
WHERE actor_id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = actor_id);
UPDATE messages SET subject_id = NULL
WHERE subject_id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = messages.subject_id);
ALTER TABLE messages
    ADD FOREIGN KEY (sender_id) REFERENCES users (id) ON DELETE SET NULL,
    ADD FOREIGN KEY (actor_id) REFERENCES users (id) ON DELETE SET NULL,
    ADD FOREIGN KEY (subject_id) REFERENCES users (id) ON DELETE SET NULL;

DROP INDEX messages_search;
DROP FUNCTION message_query(uuid[], text);
DROP FUNCTION message_terms(uuid, text);
DROP FUNCTION search_scope(uuid);
DROP FUNCTION search_words(text);
