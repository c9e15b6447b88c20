-- Push subscriptions: devices that get push notifications, each with its address at a push service.
CREATE TABLE push_subscriptions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    -- A session that is revoked or has expired gets no pushes.
    session_id uuid NOT NULL REFERENCES sessions ON DELETE CASCADE,
    transport text NOT NULL CHECK (transport IN ('web_push', 'unified_push', 'fcm', 'apns')),
    -- URL of the endpoint, or token of the device.
    address text NOT NULL,
    -- The push service: the host of the endpoint, or the transport. The sends to one service are limited.
    service text NOT NULL,
    -- Public key and secret of the device (RFC 8291). Null for fcm and apns, which do not encrypt for the device.
    p256dh bytea,
    auth bytea,
    -- The environment that has issued the tokens. Null unless the transport is apns.
    environment text CHECK (environment IN ('production', 'sandbox')),
    -- PushKit token for calls. Null unless the transport is apns.
    voip_token text,
    created_at timestamptz NOT NULL,
    -- When the push service last accepted a push for the device.
    last_delivered_at timestamptz,
    UNIQUE (transport, address),
    CHECK ((transport IN ('web_push', 'unified_push')) = (p256dh IS NOT NULL AND auth IS NOT NULL)),
    CHECK ((transport = 'apns') = (environment IS NOT NULL)),
    CHECK (transport = 'apns' OR voip_token IS NULL)
);
CREATE INDEX push_subscriptions_user_id ON push_subscriptions (user_id);
CREATE INDEX push_subscriptions_session_id ON push_subscriptions (session_id);
CREATE INDEX push_subscriptions_voip_token ON push_subscriptions (voip_token) WHERE voip_token IS NOT NULL;

-- Users without a row have the defaults.
CREATE TABLE notification_settings (
    user_id uuid PRIMARY KEY REFERENCES users ON DELETE CASCADE,
    -- What a notification shows of a message.
    content text NOT NULL DEFAULT 'full' CHECK (content IN ('full', 'sender', 'nothing')),
    -- Quiet hours, in minutes since midnight. Both are null if there are none. If the first number is greater, the hours
    -- end on the next day.
    quiet_from smallint CHECK (quiet_from BETWEEN 0 AND 1439),
    quiet_to smallint CHECK (quiet_to BETWEEN 0 AND 1439),
    -- Time zone of the quiet hours, a name in pg_timezone_names.
    time_zone text NOT NULL DEFAULT 'UTC',
    email_digests boolean NOT NULL DEFAULT true,
    -- Messages up to this time were in a digest.
    digested_up_to timestamptz,
    -- Token of the link that turns the digests off. It allows nothing else, so it is not hashed.
    unsubscribe_token bytea,
    CHECK ((quiet_from IS NULL) = (quiet_to IS NULL)),
    CHECK (quiet_from <> quiet_to)
);
CREATE UNIQUE INDEX notification_settings_unsubscribe_token ON notification_settings (unsubscribe_token)
    WHERE unsubscribe_token IS NOT NULL;

-- Whether it is now between two times of the day, in minutes since midnight. False if the times are null. A time zone
-- that Postgres no longer knows counts as UTC, because one row must not stop the notifications of all users.
CREATE FUNCTION is_quiet_now(quiet_from smallint, quiet_to smallint, time_zone text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    local_time timestamp;
    now_minute integer;
BEGIN
    IF quiet_from IS NULL OR quiet_to IS NULL THEN
        RETURN false;
    END IF;
    BEGIN
        local_time := now() AT TIME ZONE time_zone;
    EXCEPTION WHEN invalid_parameter_value THEN
        local_time := now() AT TIME ZONE 'UTC';
    END;
    now_minute := extract(hour FROM local_time) * 60 + extract(minute FROM local_time);
    IF quiet_from < quiet_to THEN
        RETURN now_minute >= quiet_from AND now_minute < quiet_to;
    END IF;
    RETURN now_minute >= quiet_from OR now_minute < quiet_to;
END
$$;

-- The messages of the conversation that notify the participant. A constant default rewrites no rows.
ALTER TABLE participants ADD COLUMN notification_level text NOT NULL DEFAULT 'all'
    CHECK (notification_level IN ('all', 'mentions', 'nothing'));

-- Push deliveries: pushes that wait to be sent to a device. A newer message of the same conversation replaces the row.
CREATE TABLE push_deliveries (
    subscription_id uuid NOT NULL REFERENCES push_subscriptions ON DELETE CASCADE,
    -- 'm:' and the id of a conversation, or 'c:' and the id of a call.
    key text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('message', 'dismiss', 'call', 'call_ended')),
    -- Copied from the subscription, so that an index finds the next deliveries to each service.
    service text NOT NULL,
    -- No foreign keys: with them, the deletion of a conversation and its notifications could wait for each other. What
    -- no longer exists is not sent.
    conversation_id uuid,
    message_id uuid,
    call_id uuid,
    -- Increases with each replacement. A node deletes the row only if it has sent this version.
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    due_at timestamptz NOT NULL DEFAULT now(),
    -- Number of attempts that failed.
    attempts integer NOT NULL DEFAULT 0,
    -- End of the lease of the node that sends the delivery. Null if no node does.
    claimed_until timestamptz,
    PRIMARY KEY (subscription_id, key)
);
CREATE INDEX push_deliveries_due_at ON push_deliveries (due_at);
CREATE INDEX push_deliveries_service ON push_deliveries (service, due_at);

-- The message in the notification that a device shows for a conversation.
CREATE TABLE push_shown (
    subscription_id uuid NOT NULL REFERENCES push_subscriptions ON DELETE CASCADE,
    -- No foreign key: the notification of a deleted conversation still has to be dismissed.
    conversation_id uuid NOT NULL,
    message_id uuid NOT NULL,
    PRIMARY KEY (subscription_id, conversation_id)
);

-- The devices for which a push about a ringing call was planned. They get another push when the call has stopped
-- ringing.
CREATE TABLE push_rings (
    call_id uuid NOT NULL REFERENCES calls ON DELETE CASCADE,
    subscription_id uuid NOT NULL REFERENCES push_subscriptions ON DELETE CASCADE,
    PRIMARY KEY (call_id, subscription_id)
);
CREATE INDEX push_rings_subscription_id ON push_rings (subscription_id);

-- The key with which all nodes sign their requests to push services (VAPID, RFC 8292), in one row.
CREATE TABLE push_keys (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    -- The scalar of the private key on P-256.
    vapid_private_key bytea NOT NULL CHECK (octet_length(vapid_private_key) = 32)
);
