DELETE FROM call_participants
WHERE NOT EXISTS (SELECT FROM users WHERE users.id = user_id)
    OR NOT EXISTS (SELECT FROM sessions WHERE sessions.id = session_id);
ALTER TABLE call_participants
    ADD CONSTRAINT call_participants_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE,
    ADD CONSTRAINT call_participants_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE;
