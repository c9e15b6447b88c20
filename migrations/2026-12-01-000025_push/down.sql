DROP TABLE push_keys;
DROP TABLE push_rings;
DROP TABLE push_shown;
DROP TABLE push_deliveries;
ALTER TABLE participants DROP COLUMN notification_level;
DROP FUNCTION is_quiet_now(smallint, smallint, text);
DROP TABLE notification_settings;
DROP TABLE push_subscriptions;
DELETE FROM consumers WHERE name = 'push';
