ALTER TABLE users
    -- When the owner proved that the address is theirs. Null means unverified.
    ADD COLUMN email_verified_at timestamptz,
    ADD COLUMN phone_verified_at timestamptz;

-- Existing addresses were unique and accepted for login, so they count as verified. Otherwise their owners could be
-- locked out: the server has no verification codes yet.
UPDATE users SET email_verified_at = now() WHERE email IS NOT NULL;
UPDATE users SET phone_verified_at = now() WHERE phone IS NOT NULL;

-- Several accounts may claim the same address. Only a verified one is unique.
ALTER TABLE users
    DROP CONSTRAINT users_email_key,
    DROP CONSTRAINT users_phone_key,
    ADD CHECK (email_verified_at IS NULL OR email IS NOT NULL),
    ADD CHECK (phone_verified_at IS NULL OR phone IS NOT NULL);
CREATE UNIQUE INDEX users_verified_email ON users (email) WHERE email_verified_at IS NOT NULL;
CREATE UNIQUE INDEX users_verified_phone ON users (phone) WHERE phone_verified_at IS NOT NULL;
