-- No password has this hash: its salt and its output are zeros. The owners of these accounts can no longer sign in.
UPDATE users
SET password_hash = '$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
WHERE password_hash IS NULL;
ALTER TABLE users ALTER COLUMN password_hash SET NOT NULL;
ALTER TABLE sessions DROP COLUMN confirmed_at;
DROP TABLE verification_codes;
