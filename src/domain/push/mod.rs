//! Push notifications: the subscriptions and settings of users, the planning and sending of pushes, and e-mail digests.

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
pub mod test_pushes;
mod texts;
