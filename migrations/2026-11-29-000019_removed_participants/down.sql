CREATE INDEX invites_by_conversation ON invites (conversation_id);
DROP INDEX invites_by_age;
DROP TABLE removed_participants;
