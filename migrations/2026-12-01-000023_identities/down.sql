ALTER TABLE login_challenges DROP COLUMN assertion;
ALTER TABLE users DROP COLUMN is_guest;
ALTER TABLE sessions
    DROP COLUMN issuer,
    DROP COLUMN issuer_subject,
    DROP COLUMN issuer_session;
DROP TABLE sign_in_codes;
DROP TABLE identities;
