-- Before there were codes nobody could prove that an address or a number was theirs. An earlier migration marked the
-- existing ones as verified. With codes, a stranger's address would now receive the codes that reset the password.
UPDATE users SET email_verified_at = NULL, phone_verified_at = NULL
WHERE email_verified_at IS NOT NULL OR phone_verified_at IS NOT NULL;

-- Codes that the server has sent to an e-mail address or a phone number. No row holds an address, a number or a code,
-- so the table reveals nothing about people without an account.
CREATE TABLE verification_codes (
    -- HMAC-SHA256 of the slot's values and the challenge, a random text that only the client of the request has.
    id bytea PRIMARY KEY,
    -- HMAC-SHA256 of the purpose, the address or number, and the user. A slot has up to 20 codes.
    slot bytea NOT NULL,
    -- HMAC-SHA256 of the slot's values and the code. The key is not in the database, so that a reader of the database
    -- cannot find the code by trying all of them.
    code_hash bytea NOT NULL,
    -- Number of times that a client has entered a code with the challenge.
    tries smallint NOT NULL DEFAULT 0,
    -- Number of times that a client has entered a code without a challenge. Counted apart, so that a stranger cannot
    -- use up the tries of the client that requested the code.
    open_tries smallint NOT NULL DEFAULT 0,
    -- The signed-in user who requested the code. Null for a code that signs in or resets a password.
    user_id uuid REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX verification_codes_slot ON verification_codes (slot, created_at);
CREATE INDEX verification_codes_user_id ON verification_codes (user_id);
CREATE INDEX verification_codes_expires_at ON verification_codes (expires_at);

-- When the user of the session last proved their identity. Existing sessions have no proof. A constant default rewrites
-- no rows.
ALTER TABLE sessions ADD COLUMN confirmed_at timestamptz NOT NULL DEFAULT 'epoch';
-- For nodes of the former version, which do not know the column: signing in proves the identity.
ALTER TABLE sessions ALTER COLUMN confirmed_at SET DEFAULT now();

-- Null if the account has no password. Its owner signs in by codes.
ALTER TABLE users ALTER COLUMN password_hash DROP NOT NULL;
