ALTER TABLE refresh_tokens
    -- The next token is derived from this salt and the token itself, which is not stored. Null means that the next token
    -- can no longer be repeated.
    ADD COLUMN successor_salt bytea;
