DROP TABLE registration_invites;
