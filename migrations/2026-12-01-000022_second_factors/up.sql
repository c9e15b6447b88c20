-- The authenticator app of an account: time-based one-time codes (TOTP, RFC 6238).
CREATE TABLE totp_factors (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    -- The shared secret. The server needs it to compute the codes, so it is not hashed.
    secret bytea NOT NULL,
    created_at timestamptz NOT NULL,
    -- When the user proved by a code that the app has the secret. Null while the factor is not in use.
    confirmed_at timestamptz,
    -- The time step of the last code that was used. A code is accepted only if its step is later.
    last_step bigint
);

-- Codes that replace the authenticator app, each of them once.
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- SHA-256 of the user and the code, which has 80 random bits.
    hash bytea NOT NULL,
    used_at timestamptz,
    PRIMARY KEY (user_id, hash)
);

-- Sign-ins that have passed the first factor and wait for the second one.
CREATE TABLE login_challenges (
    -- SHA-256 of the token of the client.
    hash bytea PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    device_name text,
    -- Network of the client, such as 203.0.113.7 or 2001:db8::/64. An account has a maximum of challenges for each.
    network text,
    -- Hash of the password of the account when the challenge was made. A changed password ends the challenge.
    password_hash text,
    -- Hash of the password that the account gets with the second factor. Null if the sign-in resets no password.
    new_password_hash text,
    -- Number of times that a client has sent a second factor.
    tries smallint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX login_challenges_user_id ON login_challenges (user_id);
CREATE INDEX login_challenges_expires_at ON login_challenges (expires_at);

-- Public keys with which users sign in (Web Authentication).
CREATE TABLE passkeys (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- Id that the authenticator gave the key.
    credential_id bytea NOT NULL UNIQUE,
    -- The public key as a COSE_Key (RFC 9052).
    public_key bytea NOT NULL,
    name text NOT NULL,
    -- Counter of the authenticator. Zero if the authenticator does not count.
    sign_count bigint NOT NULL,
    -- Whether the authenticator has a copy of the key elsewhere, such as in the cloud of its maker.
    backed_up boolean NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz
);
CREATE INDEX passkeys_user_id ON passkeys (user_id);

-- Random values that an authenticator signs, each of them once.
CREATE TABLE passkey_challenges (
    -- SHA-256 of the challenge.
    hash bytea PRIMARY KEY,
    -- The user who adds a passkey. Null for a challenge that a passkey answers to prove an identity.
    user_id uuid REFERENCES users ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX passkey_challenges_user_id ON passkey_challenges (user_id);
CREATE INDEX passkey_challenges_expires_at ON passkey_challenges (expires_at);
