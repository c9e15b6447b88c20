-- Language of the notices to the owner of the account, as a tag of RFC 5646. Null if no client has named one that the
-- server has templates in: the notices are then in the language of the request that causes them.
ALTER TABLE users ADD COLUMN language text;
