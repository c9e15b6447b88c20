//! Push notifications: the devices and settings of users, the plan of pushes, and their sending.

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
