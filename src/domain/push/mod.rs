//! Push notifications: the devices and settings of users, the plan of pushes, and their sending.

pub mod core;
pub mod deliveries;
pub mod digests;
mod facts;
pub mod notification_settings;
pub mod notifier;
mod outcomes;
mod places;
mod preview;
pub mod start;
pub mod subscriptions;
mod targets;
pub mod test_pushes;
mod texts;
