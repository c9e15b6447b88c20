-- For substring search in names. pg_trgm is a trusted extension, so the database's owner may create it.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE users (
    id uuid PRIMARY KEY,
    -- In lower case, so that two names never differ only by case.
    username text NOT NULL UNIQUE,
    display_name text NOT NULL,
    about text,
    email text UNIQUE,
    phone text UNIQUE,
    password_hash text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX users_username_prefix ON users (username text_pattern_ops);
CREATE INDEX users_display_name_prefix ON users (lower(display_name) text_pattern_ops);
CREATE INDEX users_display_name_trigram ON users USING gin (lower(display_name) gin_trgm_ops);

CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device_name text,
    ip_address text,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    -- When the session's newest refresh token expires.
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX sessions_live_by_user ON sessions (user_id) WHERE revoked_at IS NULL;

-- Spent tokens are stored until they expire: a spent token that is used again was stolen.
CREATE TABLE refresh_tokens (
    -- SHA-256 of the token.
    hash bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    spent_at timestamptz
);
CREATE INDEX refresh_tokens_by_session ON refresh_tokens (session_id);
