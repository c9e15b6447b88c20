-- Several accounts can have the same unverified address, so it cannot stay in a unique column.
UPDATE users SET email = NULL WHERE email_verified_at IS NULL;
UPDATE users SET phone = NULL WHERE phone_verified_at IS NULL;
DROP INDEX users_verified_email;
DROP INDEX users_verified_phone;
-- The checks go with their columns.
ALTER TABLE users
    DROP COLUMN email_verified_at,
    DROP COLUMN phone_verified_at,
    ADD CONSTRAINT users_email_key UNIQUE (email),
    ADD CONSTRAINT users_phone_key UNIQUE (phone);
