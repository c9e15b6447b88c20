-- Codes that an operator makes. With REGISTRATION=invite, an account takes one use of such a code.
CREATE TABLE registration_invites (
    -- SHA-256 of the code.
    code_hash bytea PRIMARY KEY,
    note text,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    max_uses integer NOT NULL CHECK (max_uses >= 1),
    uses integer NOT NULL DEFAULT 0,
    CHECK (uses >= 0 AND uses <= max_uses)
);
