DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP TABLE users;
DROP EXTENSION pg_trgm;
