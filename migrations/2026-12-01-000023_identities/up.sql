-- Identities at issuers, such as OpenID Connect providers, by which users sign in.
CREATE TABLE identities (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- The claims `iss` and `sub` of the tokens. An e-mail address is no identity, because it can get another owner.
    issuer text NOT NULL,
    subject text NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    UNIQUE (issuer, subject)
);
CREATE INDEX identities_user_id ON identities (user_id);

-- Codes that a login in the browser hands to the client, which exchanges them for a session within a minute.
CREATE TABLE sign_in_codes (
    -- SHA-256 of the code and of the challenge of its login.
    code_hash bytea PRIMARY KEY,
    -- The verified claims as JSON.
    assertion text NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX sign_in_codes_expires_at ON sign_in_codes (expires_at);

-- The claims `iss`, `sub` and `sid` of the token with which the session was opened, for the logout by the issuer.
ALTER TABLE sessions
    ADD COLUMN issuer text,
    ADD COLUMN issuer_subject text,
    ADD COLUMN issuer_session text;
CREATE INDEX sessions_issuer_subject ON sessions (issuer, issuer_subject) WHERE issuer IS NOT NULL;
CREATE INDEX sessions_issuer_session ON sessions (issuer, issuer_session) WHERE issuer_session IS NOT NULL;

-- Accounts without any way to sign in again: no password, verified address or number, identity or passkey.
ALTER TABLE users ADD COLUMN is_guest boolean NOT NULL DEFAULT false;
CREATE INDEX users_guests ON users (created_at) WHERE is_guest;

-- The verified claims as JSON, if the sign-in began with a token. Null for another first factor.
ALTER TABLE login_challenges ADD COLUMN assertion text;
