// @generated automatically by Diesel CLI.

diesel::table! {
    attachment_looks (id) {
        id -> Int8,
        attachment_id -> Uuid,
        since -> Timestamptz,
    }
}

diesel::table! {
    attachments (id) {
        id -> Uuid,
        uploader_id -> Nullable<Uuid>,
        state -> Text,
        kind -> Text,
        file_name -> Text,
        content_type -> Text,
        byte_size -> Int8,
        sha256 -> Nullable<Bytea>,
        upload_id -> Nullable<Text>,
        width -> Nullable<Int4>,
        height -> Nullable<Int4>,
        duration_ms -> Nullable<Int4>,
        blurhash -> Nullable<Text>,
        waveform -> Nullable<Bytea>,
        has_thumbnails -> Bool,
        squared -> Bool,
        rejection -> Nullable<Text>,
        created_at -> Timestamptz,
        claimed_until -> Nullable<Timestamptz>,
        going_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    blocks (blocker_id, blocked_id) {
        blocker_id -> Uuid,
        blocked_id -> Uuid,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    call_participants (id) {
        id -> Uuid,
        call_id -> Uuid,
        user_id -> Uuid,
        session_id -> Uuid,
        joined_at -> Timestamptz,
        left_at -> Nullable<Timestamptz>,
        seen_at -> Timestamptz,
        signals_until -> Timestamptz,
    }
}

diesel::table! {
    call_rings (call_id, user_id) {
        call_id -> Uuid,
        user_id -> Uuid,
    }
}

diesel::table! {
    call_signals (seq) {
        seq -> Int8,
        from_id -> Uuid,
        to_id -> Uuid,
        sdp_type -> Nullable<Text>,
        sdp -> Nullable<Text>,
        candidate -> Nullable<Text>,
        sdp_mid -> Nullable<Text>,
        sdp_m_line_index -> Nullable<Int4>,
        username_fragment -> Nullable<Text>,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    calls (id) {
        id -> Uuid,
        conversation_id -> Uuid,
        kind -> Text,
        state -> Text,
        started_by -> Uuid,
        created_at -> Timestamptz,
        rings_until -> Timestamptz,
        answered_at -> Nullable<Timestamptz>,
        ended_at -> Nullable<Timestamptz>,
        end_reason -> Nullable<Text>,
        withheld_from -> Nullable<Uuid>,
        message_id -> Nullable<Uuid>,
    }
}

diesel::table! {
    consumers (name) {
        name -> Text,
        position -> Int8,
        holder -> Nullable<Uuid>,
        leased_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    contact_requests (id) {
        id -> Uuid,
        from_id -> Uuid,
        to_id -> Uuid,
        created_at -> Timestamptz,
        withheld_from -> Nullable<Uuid>,
    }
}

diesel::table! {
    contacts (user_id, contact_id) {
        user_id -> Uuid,
        contact_id -> Uuid,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    conversations (id) {
        id -> Uuid,
        kind -> Text,
        title -> Nullable<Text>,
        topic -> Nullable<Text>,
        created_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        last_activity_at -> Timestamptz,
        last_message_id -> Nullable<Uuid>,
        last_message_number -> Int4,
        revision -> Int4,
        participant_count -> Int4,
        direct_low -> Nullable<Uuid>,
        direct_high -> Nullable<Uuid>,
        history_visible -> Bool,
        avatar_id -> Nullable<Uuid>,
        search_title -> Nullable<Text>,
    }
}

diesel::table! {
    events (lane, seq, created_at) {
        lane -> Int2,
        seq -> Int8,
        kind -> Text,
        conversation_id -> Nullable<Uuid>,
        user_id -> Nullable<Uuid>,
        subject_id -> Uuid,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    identities (id) {
        id -> Uuid,
        user_id -> Uuid,
        issuer -> Text,
        subject -> Text,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
    }
}

diesel::table! {
    invites (id) {
        id -> Uuid,
        code -> Text,
        conversation_id -> Uuid,
        created_by -> Nullable<Uuid>,
        created_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
        max_uses -> Nullable<Int4>,
        uses -> Int4,
    }
}

diesel::table! {
    log_head (lane) {
        lane -> Int2,
        epoch -> Int8,
        seq -> Int8,
        forgotten -> Int8,
    }
}

diesel::table! {
    login_challenges (hash) {
        hash -> Bytea,
        user_id -> Uuid,
        device_name -> Nullable<Text>,
        network -> Nullable<Text>,
        password_hash -> Nullable<Text>,
        new_password_hash -> Nullable<Text>,
        tries -> Int2,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        assertion -> Nullable<Text>,
    }
}

diesel::table! {
    mentions (message_id, user_id) {
        message_id -> Uuid,
        user_id -> Uuid,
        conversation_id -> Uuid,
        number -> Int4,
    }
}

diesel::table! {
    message_attachments (message_id, position) {
        message_id -> Uuid,
        position -> Int2,
        attachment_id -> Uuid,
    }
}

diesel::table! {
    message_edits (message_id, revision) {
        message_id -> Uuid,
        revision -> Int4,
        body -> Nullable<Text>,
        until -> Timestamptz,
    }
}

diesel::table! {
    message_hidden (user_id, message_id) {
        user_id -> Uuid,
        message_id -> Uuid,
    }
}

diesel::table! {
    message_reactions (message_id, user_id, emoji) {
        message_id -> Uuid,
        user_id -> Uuid,
        emoji -> Text,
        revision -> Int4,
    }
}

diesel::table! {
    messages (id) {
        id -> Uuid,
        conversation_id -> Uuid,
        number -> Int4,
        revision -> Int4,
        sender_id -> Nullable<Uuid>,
        kind -> Text,
        body -> Nullable<Text>,
        client_id -> Nullable<Text>,
        created_at -> Timestamptz,
        edited_at -> Nullable<Timestamptz>,
        deleted_at -> Nullable<Timestamptz>,
        expires_at -> Nullable<Timestamptz>,
        reply_to_id -> Nullable<Uuid>,
        forwarded -> Bool,
        pinned_at -> Nullable<Timestamptz>,
        system_kind -> Nullable<Text>,
        actor_id -> Nullable<Uuid>,
        subject_id -> Nullable<Uuid>,
        system_text -> Nullable<Text>,
        mentions_all -> Bool,
    }
}

diesel::table! {
    notification_settings (user_id) {
        user_id -> Uuid,
        content -> Text,
        quiet_from -> Nullable<Int2>,
        quiet_to -> Nullable<Int2>,
        time_zone -> Text,
        email_digests -> Bool,
        digested_up_to -> Nullable<Timestamptz>,
        unsubscribe_token -> Nullable<Bytea>,
    }
}

diesel::table! {
    participants (conversation_id, user_id) {
        conversation_id -> Uuid,
        user_id -> Uuid,
        id -> Uuid,
        role -> Text,
        joined_at -> Timestamptz,
        last_delivered_number -> Int4,
        last_read_number -> Int4,
        uncounted -> Int4,
        archived -> Bool,
        pinned -> Bool,
        muted_until -> Nullable<Timestamptz>,
        hidden_up_to -> Int4,
        unread_mentions -> Int4,
        unannounced -> Bool,
        notification_level -> Text,
    }
}

diesel::table! {
    passkey_challenges (hash) {
        hash -> Bytea,
        user_id -> Nullable<Uuid>,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    passkeys (id) {
        id -> Uuid,
        user_id -> Uuid,
        credential_id -> Bytea,
        public_key -> Bytea,
        name -> Text,
        sign_count -> Int8,
        backed_up -> Bool,
        created_at -> Timestamptz,
        last_used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    push_deliveries (subscription_id, key) {
        subscription_id -> Uuid,
        key -> Text,
        kind -> Text,
        service -> Text,
        conversation_id -> Nullable<Uuid>,
        message_id -> Nullable<Uuid>,
        call_id -> Nullable<Uuid>,
        version -> Int8,
        created_at -> Timestamptz,
        due_at -> Timestamptz,
        attempts -> Int4,
        claimed_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    push_keys (singleton) {
        singleton -> Bool,
        vapid_private_key -> Bytea,
    }
}

diesel::table! {
    push_rings (call_id, subscription_id) {
        call_id -> Uuid,
        subscription_id -> Uuid,
    }
}

diesel::table! {
    push_shown (subscription_id, conversation_id) {
        subscription_id -> Uuid,
        conversation_id -> Uuid,
        message_id -> Uuid,
    }
}

diesel::table! {
    push_subscriptions (id) {
        id -> Uuid,
        user_id -> Uuid,
        session_id -> Uuid,
        transport -> Text,
        address -> Text,
        service -> Text,
        p256dh -> Nullable<Bytea>,
        auth -> Nullable<Bytea>,
        environment -> Nullable<Text>,
        voip_token -> Nullable<Text>,
        created_at -> Timestamptz,
        last_delivered_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    recovery_codes (user_id, hash) {
        user_id -> Uuid,
        hash -> Bytea,
        used_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    refresh_tokens (hash) {
        hash -> Bytea,
        session_id -> Uuid,
        expires_at -> Timestamptz,
        spent_at -> Nullable<Timestamptz>,
        successor_salt -> Nullable<Bytea>,
    }
}

diesel::table! {
    registration_invites (code_hash) {
        code_hash -> Bytea,
        note -> Nullable<Text>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
        max_uses -> Int4,
        uses -> Int4,
    }
}

diesel::table! {
    removed_participants (conversation_id, user_id) {
        conversation_id -> Uuid,
        user_id -> Uuid,
        removed_at -> Timestamptz,
        banned -> Bool,
    }
}

diesel::table! {
    scheduled_message_attachments (scheduled_message_id, position) {
        scheduled_message_id -> Uuid,
        position -> Int2,
        attachment_id -> Uuid,
    }
}

diesel::table! {
    scheduled_messages (id) {
        id -> Uuid,
        sender_id -> Uuid,
        conversation_id -> Uuid,
        body -> Nullable<Text>,
        send_at -> Timestamptz,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    search_state (singleton) {
        singleton -> Bool,
        analysis -> Int4,
        rebuilding -> Nullable<Text>,
        rebuilt_up_to -> Uuid,
    }
}

diesel::table! {
    sessions (id) {
        id -> Uuid,
        user_id -> Uuid,
        device_name -> Nullable<Text>,
        ip_address -> Nullable<Text>,
        created_at -> Timestamptz,
        last_used_at -> Timestamptz,
        expires_at -> Timestamptz,
        revoked_at -> Nullable<Timestamptz>,
        confirmed_at -> Timestamptz,
        issuer -> Nullable<Text>,
        issuer_subject -> Nullable<Text>,
        issuer_session -> Nullable<Text>,
    }
}

diesel::table! {
    sign_in_codes (code_hash) {
        code_hash -> Bytea,
        assertion -> Text,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    totp_factors (user_id) {
        user_id -> Uuid,
        secret -> Bytea,
        created_at -> Timestamptz,
        confirmed_at -> Nullable<Timestamptz>,
        last_step -> Nullable<Int8>,
    }
}

diesel::table! {
    users (id) {
        id -> Uuid,
        username -> Text,
        display_name -> Text,
        about -> Nullable<Text>,
        email -> Nullable<Text>,
        phone -> Nullable<Text>,
        password_hash -> Nullable<Text>,
        created_at -> Timestamptz,
        last_seen_at -> Nullable<Timestamptz>,
        last_seen -> Text,
        read_receipts -> Bool,
        group_adds -> Text,
        discoverable_by_contact_point -> Text,
        avatar_id -> Nullable<Uuid>,
        email_verified_at -> Nullable<Timestamptz>,
        phone_verified_at -> Nullable<Timestamptz>,
        search_name -> Text,
        is_guest -> Bool,
        language -> Nullable<Text>,
    }
}

diesel::table! {
    verification_codes (id) {
        id -> Bytea,
        slot -> Bytea,
        code_hash -> Bytea,
        tries -> Int2,
        open_tries -> Int2,
        user_id -> Nullable<Uuid>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::joinable!(call_participants -> calls (call_id));
diesel::joinable!(call_rings -> calls (call_id));
diesel::joinable!(call_rings -> users (user_id));
diesel::joinable!(calls -> conversations (conversation_id));
diesel::joinable!(calls -> users (withheld_from));
diesel::joinable!(conversations -> attachments (avatar_id));
diesel::joinable!(identities -> users (user_id));
diesel::joinable!(invites -> conversations (conversation_id));
diesel::joinable!(invites -> users (created_by));
diesel::joinable!(login_challenges -> users (user_id));
diesel::joinable!(mentions -> messages (message_id));
diesel::joinable!(mentions -> users (user_id));
diesel::joinable!(message_attachments -> attachments (attachment_id));
diesel::joinable!(message_attachments -> messages (message_id));
diesel::joinable!(message_edits -> messages (message_id));
diesel::joinable!(message_hidden -> messages (message_id));
diesel::joinable!(message_hidden -> users (user_id));
diesel::joinable!(message_reactions -> messages (message_id));
diesel::joinable!(message_reactions -> users (user_id));
diesel::joinable!(messages -> conversations (conversation_id));
diesel::joinable!(notification_settings -> users (user_id));
diesel::joinable!(participants -> conversations (conversation_id));
diesel::joinable!(participants -> users (user_id));
diesel::joinable!(passkey_challenges -> users (user_id));
diesel::joinable!(passkeys -> users (user_id));
diesel::joinable!(push_deliveries -> push_subscriptions (subscription_id));
diesel::joinable!(push_rings -> calls (call_id));
diesel::joinable!(push_rings -> push_subscriptions (subscription_id));
diesel::joinable!(push_shown -> push_subscriptions (subscription_id));
diesel::joinable!(push_subscriptions -> sessions (session_id));
diesel::joinable!(push_subscriptions -> users (user_id));
diesel::joinable!(recovery_codes -> users (user_id));
diesel::joinable!(refresh_tokens -> sessions (session_id));
diesel::joinable!(removed_participants -> conversations (conversation_id));
diesel::joinable!(removed_participants -> users (user_id));
diesel::joinable!(scheduled_message_attachments -> attachments (attachment_id));
diesel::joinable!(scheduled_message_attachments -> scheduled_messages (scheduled_message_id));
diesel::joinable!(scheduled_messages -> users (sender_id));
diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(totp_factors -> users (user_id));
diesel::joinable!(verification_codes -> users (user_id));

diesel::allow_tables_to_appear_in_same_query!(
    attachment_looks,
    attachments,
    blocks,
    call_participants,
    call_rings,
    call_signals,
    calls,
    consumers,
    contact_requests,
    contacts,
    conversations,
    events,
    identities,
    invites,
    log_head,
    login_challenges,
    mentions,
    message_attachments,
    message_edits,
    message_hidden,
    message_reactions,
    messages,
    notification_settings,
    participants,
    passkey_challenges,
    passkeys,
    push_deliveries,
    push_keys,
    push_rings,
    push_shown,
    push_subscriptions,
    recovery_codes,
    refresh_tokens,
    registration_invites,
    removed_participants,
    scheduled_message_attachments,
    scheduled_messages,
    search_state,
    sessions,
    sign_in_codes,
    totp_factors,
    users,
    verification_codes,
);
