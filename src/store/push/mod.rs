//! Rows of push notifications: subscriptions, settings, deliveries, and the messages that devices show.

mod conditions;
pub mod deliveries;
pub mod digests;
pub mod dismissals;
pub mod facts;
pub mod keys;
pub mod planning;
pub mod rings;
pub mod settings;
pub mod shown;
pub mod subscriptions;
