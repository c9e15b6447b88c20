-- Returns the words of a text in their order, for search in any language. Case, accents and width are ignored.
-- Characters other than letters and digits separate words. Text in scripts without spaces between words is split into
-- overlapping pairs of characters, followed by its last character alone.
CREATE FUNCTION search_words(body text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    separators text := E' .,\n\'!?-:/"()\t\r#$%&*+;<=>@[\\]^_`{|}~';
    -- Characters of scripts without spaces: Han, kana, bopomofo and Hangul.
    unspaced CONSTANT text := '[\u1100-\u11FF\u2E80-\u2FDF\u3005-\u3007\u3041-\u318F\u31A0-\u31FF\u3400-\u4DBF'
        '\u4E00-\u9FFF\uA960-\uA97F\uAC00-\uD7FF\uF900-\uFAFF\U00020000-\U0003FFFF]';
    -- Maximum number of characters of a body that are indexed.
    searched CONSTANT integer := 20000;
    words text := lower(left(body, searched));
BEGIN
    IF octet_length(words) > length(words) THEN
        separators := separators || E'\v\f¡¦§«¬¶·»¿÷×،؛؟।॥‐‑‒–—―‘’‚“”„†‡•‹›⁄→←⇒、。〈〉《》「」『』【】〔〕〜・'
            '\u0085\u200B\u200E\u200F\u2028\u2029\u2060\uFEFF\uFE0F';
        -- NFKD separates accents from their letters, and the expression removes the accents.
        words := lower(normalize(regexp_replace(normalize(words, NFKD), '[\u0300-\u036F]', '', 'g'), NFKC));
        IF words ~ unspaced THEN
            words := regexp_replace(words, '(' || unspaced || '+)', ' \1 ', 'g');
            SELECT string_agg(
                CASE WHEN run !~ unspaced THEN run ELSE (
                    SELECT string_agg(one || coalesce(next, ''), ' ')
                    FROM unnest(string_to_array(run, NULL), (string_to_array(run, NULL))[2:]) AS pair (one, next)
                ) END, ' ' ORDER BY place)
            INTO words FROM string_to_table(words, ' ') WITH ORDINALITY AS runs (run, place);
        END IF;
    END IF;
    words := translate(words, separators, repeat(' ', length(separators)));
    -- Longer words are cut to 64 characters.
    IF length(words) > 64 AND words ~ '[^ ]{65}' THEN
        words := regexp_replace(words, '([^ ]{64})[^ ]+', '\1', 'g');
    END IF;
    RETURN array_remove(string_to_array(words, ' '), '');
END
$$;

-- The prefix of all index entries of a conversation. Two conversations may have the same prefix, so a search also
-- filters by conversation.
CREATE FUNCTION search_scope(conversation uuid) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$ SELECT right(conversation::text, 8) || ' ' $$;

-- The index entries of a message: each word with the prefix of its conversation, so that a search reads no entries of
-- other conversations. The declared cost is so high that no query plan computes the entries of stored messages.
CREATE FUNCTION message_terms(conversation uuid, body text) RETURNS tsvector
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE COST 10000 AS $$
DECLARE
    scope CONSTANT text := right(conversation::text, 8) || ' ';
    words CONSTANT text[] := search_words(body);
BEGIN
    IF cardinality(words) = 0 THEN
        RETURN '';
    END IF;
    RETURN array_to_tsvector(string_to_array(scope || array_to_string(words, E'\n' || scope), E'\n'));
END
$$;

-- A query for messages of any of the conversations that have all words of `query`. The last word is a prefix. A single
-- character of a script without spaces is also a prefix, because pairs begin with it. Null if `query` has no word. Words
-- need no escaping, because quotes are separators.
CREATE FUNCTION message_query(conversations uuid[], query text) RETURNS tsquery
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    -- Maximum number of words of a query. Further words are ignored.
    most CONSTANT integer := 16;
    words CONSTANT text[] := (search_words(query))[1:most];
    pattern text;
    terms text;
BEGIN
    SELECT string_agg(
        format('''%%%s''', word) || CASE
            WHEN place = cardinality(words) OR length(word) = 1 AND octet_length(word) > 2 THEN ':*' ELSE ''
        END, ' & ')
    INTO pattern FROM unnest(words) WITH ORDINALITY AS w (word, place);
    SELECT string_agg('(' || replace(pattern, '%', search_scope(conversation)) || ')', ' | ')
    INTO terms FROM unnest(conversations) AS conversation;
    RETURN terms::tsquery;
END
$$;

-- An insert appends to a pending list, which every search also reads. Postgres merges the list into the index when it
-- exceeds gin_pending_list_limit, in KiB.
CREATE INDEX messages_search ON messages USING gin (message_terms(conversation_id, body))
    WITH (fastupdate = on, gin_pending_list_limit = 512)
    WHERE body IS NOT NULL;

CREATE INDEX users_display_name_prefix ON users (lower(display_name) text_pattern_ops);
CREATE INDEX users_display_name_trigram ON users USING gin (lower(display_name) gin_trgm_ops);
ALTER TABLE conversations DROP COLUMN search_title;
ALTER TABLE users DROP COLUMN search_name;
DROP TABLE search_state, search_index, consumers;
