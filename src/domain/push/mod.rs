//! Push notifications: the subscriptions and settings of users, the planning and sending of pushes, and e-mail digests.

pub(super) mod core;
mod deliveries;
pub mod digests;
mod facts;
pub mod notification_settings;
mod notifier;
mod outcomes;
mod places;
mod plain_text;
mod preview;
pub(super) mod start;
pub mod subscriptions;
mod targets;
pub mod test_pushes;
mod texts;
