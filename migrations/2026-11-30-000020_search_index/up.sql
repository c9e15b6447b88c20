-- A consumer is a task that handles every event of the log, on one node at a time.
CREATE TABLE consumers (
    name text PRIMARY KEY,
    -- The seq of the last event that the consumer has handled. It advances in the transaction that handles the events.
    position bigint NOT NULL,
    -- The node that runs the consumer until leased_until. Another node then takes over.
    holder uuid,
    leased_until timestamptz
);

-- The words of each message that has a body. The server computes them; see src/text.
CREATE TABLE search_index (
    message_id uuid PRIMARY KEY REFERENCES messages (id) ON DELETE CASCADE,
    -- Each word begins with part of the conversation's id, so that a search reads no entries of other conversations.
    words tsvector NOT NULL
);
-- An insert appends to a pending list, which every search also reads. Postgres merges the list into the index when it
-- exceeds gin_pending_list_limit, in KiB.
CREATE INDEX search_index_words ON search_index USING gin (words)
    WITH (fastupdate = on, gin_pending_list_limit = 512);

-- The state of the search index, in one row.
CREATE TABLE search_state (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    -- Version of the text analysis that computed the words. A server with a newer version rebuilds the index.
    analysis integer NOT NULL,
    -- The rows that a rebuild indexes now. Null if no rebuild is running.
    rebuilding text CHECK (rebuilding IN ('MESSAGES', 'USERS', 'CONVERSATIONS')),
    -- The last row that the rebuild has indexed.
    rebuilt_up_to uuid NOT NULL
);
-- Messages of earlier versions are indexed in the background, after the next start of a server.
INSERT INTO search_state (analysis, rebuilding, rebuilt_up_to)
VALUES (0, 'MESSAGES', '00000000-0000-0000-0000-000000000000');

-- Names and titles without case, accents and width, as the server computes them; see src/text. The default is for nodes
-- of earlier versions, which run beside nodes of this version during an update.
ALTER TABLE users ADD COLUMN search_name text NOT NULL DEFAULT '';
UPDATE users SET search_name = lower(display_name);
ALTER TABLE conversations ADD COLUMN search_title text;
UPDATE conversations SET search_title = lower(title) WHERE title IS NOT NULL;
DROP INDEX users_display_name_prefix, users_display_name_trigram;
CREATE INDEX users_search_name_prefix ON users (search_name text_pattern_ops);
CREATE INDEX users_search_name_trigram ON users USING gin (search_name gin_trgm_ops);

DROP INDEX messages_search;
DROP FUNCTION message_query(uuid[], text);
DROP FUNCTION message_terms(uuid, text);
DROP FUNCTION search_scope(uuid);
DROP FUNCTION search_words(text);
