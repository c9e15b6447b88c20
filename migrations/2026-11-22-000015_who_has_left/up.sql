-- The rows outlive a deleted account, so that the other devices learn that its device has left the call.
ALTER TABLE call_participants
    DROP CONSTRAINT call_participants_user_id_fkey,
    DROP CONSTRAINT call_participants_session_id_fkey;
