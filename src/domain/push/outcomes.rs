//! The results of the deliveries that a node has claimed, stored in batches.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel_async::AsyncConnection as _;
use tokio::time::Instant;
use tracing::warn;

use super::texts;
use crate::error::{self, Result};
use crate::ids::{ConversationId, MessageId, PushSubscriptionId};
use crate::push::Outcome;
use crate::random::Random;
use crate::store::Connection;
use crate::store::push::deliveries::{self, Claimed, Finished, Postponed};
use crate::store::push::shown;

/// Time before the second attempt. It doubles with each further attempt.
const FIRST_BACKOFF: Duration = Duration::from_secs(5);
/// Maximum time between two attempts, unless the push service asks for a longer one.
const MAX_BACKOFF: Duration = Duration::from_hours(1);
/// Minimum time between two warnings for the same reason.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);
/// Maximum number of reasons that are remembered. A reason belongs to a service, and clients choose the services, so
/// their number is not limited otherwise.
const MAX_REASONS: usize = 100;

/// A push whose sending has ended.
pub(super) struct Sent {
    pub(super) delivery: Claimed,
    /// The message that the device shows now.
    pub(super) message: Option<MessageId>,
    /// The PushKit token to which the push went, if it went to one.
    pub(super) voip_token: Option<String>,
    /// Time until the server gives the delivery up.
    pub(super) remaining: Duration,
    pub(super) outcome: Outcome,
}

/// Results that are not stored yet.
#[derive(Default)]
pub(super) struct Batch {
    finished: Vec<Finished>,
    postponed: Vec<Postponed>,
    delivered: Vec<PushSubscriptionId>,
    /// The messages that devices show now. None if the device no longer shows a notification of the conversation.
    shown: BTreeMap<(PushSubscriptionId, ConversationId), Option<MessageId>>,
    /// Subscriptions that no longer exist at their push services, with their addresses.
    gone: Vec<(PushSubscriptionId, String)>,
    /// Subscriptions whose PushKit tokens no longer exist, with the tokens.
    gone_tokens: Vec<(PushSubscriptionId, String)>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.postponed.is_empty() && self.gone.is_empty()
    }

    /// Adds the result of a push. `warnings` logs why a push was refused.
    pub(super) fn add(&mut self, sent: Sent, random: &Random, warnings: &mut Warnings) {
        let Sent { delivery, message, voip_token, remaining, outcome } = sent;
        let subscription = delivery.subscription_id;
        match outcome {
            Outcome::Delivered => {
                self.delivered.push(subscription);
                if let Some(conversation) = texts::conversation_of(&delivery) {
                    self.shown.insert((subscription, conversation), message);
                }
                self.finish(&delivery);
            }
            Outcome::Refused { reason } => {
                warnings.log(&delivery.service, &reason);
                self.finish(&delivery);
            }
            Outcome::Gone => match voip_token {
                Some(token) => {
                    self.gone_tokens.push((subscription, token));
                    self.postpone(&delivery, Duration::ZERO, 0);
                }
                None => self.gone.push((subscription, delivery.address)),
            },
            Outcome::Retry { after } => {
                let wait = random.jittered(backoff(delivery.attempts)).max(after.unwrap_or_default());
                if wait < remaining {
                    self.postpone(&delivery, wait, 1);
                } else {
                    warnings.log(&delivery.service, "the push service was unavailable until the push was too old");
                    self.finish(&delivery);
                }
            }
        }
    }

    /// Adds a delivery that is not needed any more.
    pub(super) fn finish(&mut self, delivery: &Claimed) {
        self.finished.push(Finished {
            subscription: delivery.subscription_id,
            key: delivery.key.clone(),
            version: delivery.version,
            claimed_until: delivery.claimed_until,
        });
    }

    /// Adds a delivery whose claim is given back, so that any node can claim it at once.
    pub(super) fn give_back(&mut self, delivery: &Claimed) {
        self.postpone(delivery, Duration::ZERO, 0);
    }

    fn postpone(&mut self, delivery: &Claimed, wait: Duration, attempts: i32) {
        self.postponed.push(Postponed {
            subscription: delivery.subscription_id,
            key: delivery.key.clone(),
            claimed_until: delivery.claimed_until,
            wait,
            attempts,
        });
    }

    /// Stores the results. If this fails, it can be called again: rows that are no longer claimed do not change.
    ///
    /// Rows of deliveries and rows of subscriptions are locked in separate transactions, because the deletion of a
    /// subscription holds the subscription and waits for its deliveries. What the devices show is stored first: if the
    /// node then dies, the deliveries are sent again, and no delivery is finished whose notification is not known.
    pub(super) async fn store(&self, conn: &mut Connection, now: DateTime<Utc>) -> Result<()> {
        if !self.delivered.is_empty() {
            conn.transaction(async |conn| self.store_delivered(conn, now).await).await?;
        }
        deliveries::finish(conn, &self.finished).await?;
        deliveries::remove_voip_tokens(conn, &self.gone_tokens).await?;
        deliveries::postpone(conn, &self.postponed).await?;
        deliveries::delete_subscriptions(conn, &self.gone).await?;
        Ok(())
    }

    async fn store_delivered(&self, conn: &mut Connection, now: DateTime<Utc>) -> Result<()> {
        deliveries::set_delivered(conn, &self.delivered, now).await?;
        let set: Vec<_> =
            self.shown.iter().filter_map(|(&(device, of), &message)| Some((device, of, message?))).collect();
        shown::set(conn, &set).await?;
        let removed: Vec<_> = self.shown.iter().filter(|(_, message)| message.is_none()).map(|(&key, _)| key).collect();
        shown::remove(conn, &removed).await?;
        Ok(())
    }
}

/// Logs why pushes are refused, each reason of a service at most once in `WARNING_INTERVAL`.
#[derive(Default)]
pub(super) struct Warnings {
    logged: HashMap<String, Instant>,
}

impl Warnings {
    pub(super) fn log(&mut self, service: &str, reason: &str) {
        if self.is_due(service, reason, Instant::now()) {
            warn!(service, reason, "a push was not sent");
        }
    }

    fn is_due(&mut self, service: &str, reason: &str, now: Instant) -> bool {
        self.logged.retain(|_, at| now.duration_since(*at) < WARNING_INTERVAL);
        let key = format!("{service}: {reason}");
        let is_due = self.logged.len() < MAX_REASONS && !self.logged.contains_key(&key);
        if is_due {
            self.logged.insert(key, now);
        }
        is_due
    }
}

/// Returns the time after this number of failed attempts, without jitter.
fn backoff(attempts: i32) -> Duration {
    error::backoff(FIRST_BACKOFF, MAX_BACKOFF, u32::try_from(attempts).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_its_maximum() {
        let waits = [0, 1, 2, 9, 10, 11, i32::MAX].map(|attempts| backoff(attempts).as_secs());
        assert_eq!(waits, [5, 10, 20, 2560, 3600, 3600, 3600]);
    }

    #[test]
    fn a_reason_is_logged_once_in_a_minute() {
        let mut warnings = Warnings::default();
        let start = Instant::now();
        assert!(warnings.is_due("fcm", "wrong key", start));
        assert!(!warnings.is_due("fcm", "wrong key", start + WARNING_INTERVAL / 2));
        assert!(warnings.is_due("apns", "wrong key", start));
        let later = start + WARNING_INTERVAL;
        assert!(warnings.is_due("fcm", "wrong key", later));
        for number in 0..MAX_REASONS * 2 {
            warnings.is_due("fcm", &number.to_string(), later);
        }
        assert_eq!(warnings.logged.len(), MAX_REASONS);
    }
}
