//! Types and resolvers of push notifications.

pub(super) mod notification_settings;
pub(super) mod push_subscription;
