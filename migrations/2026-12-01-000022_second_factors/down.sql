DROP TABLE passkey_challenges;
DROP TABLE passkeys;
DROP TABLE login_challenges;
DROP TABLE recovery_codes;
DROP TABLE totp_factors;
