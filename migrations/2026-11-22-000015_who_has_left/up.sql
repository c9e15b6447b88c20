-- That somebody has left a call is told to the others also where the account is deleted.
ALTER TABLE call_participants
    DROP CONSTRAINT call_participants_user_id_fkey,
    DROP CONSTRAINT call_participants_session_id_fkey;
