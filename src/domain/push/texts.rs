//! Makes the push of a delivery: the notification, how long it may wait at the push service, and its target.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::facts::Facts;
use super::preview::{plain_body, preview};
use super::targets::StoredAddress;
use crate::config::PushContent;
use crate::ids::{ConversationId, MessageId};
use crate::notices::{PushText, PushTexts, Saying};
use crate::push::{Notification, NotificationKind, Push, Target, Urgency};
use crate::store::calls::calls::CallKind;
use crate::store::conversations::conversations::ConversationKind;
use crate::store::push::deliveries::{Claimed, DeliveryKind};
use crate::store::push::facts::{Ring, Shown};
use crate::store::push::settings::NotificationContent;

/// Maximum age of a push: the server and the push service give it up after this time. A push about a call is given up
/// when the call has stopped ringing.
const MESSAGE_TTL: Duration = Duration::from_hours(24);

/// A push that is ready to be sent.
pub(super) struct Letter {
    pub(super) target: Target,
    pub(super) push: Push,
    /// The message that the device will show.
    pub(super) message: Option<MessageId>,
}

/// Reason why a delivery is not sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// There is nothing to show any more, or the delivery is too old.
    Obsolete,
    /// The subscription cannot be used. The text says why.
    Invalid(String),
}

/// Writes the pushes of the deliveries that were claimed together.
pub(super) struct Writer<'a> {
    pub(super) texts: &'a PushTexts,
    /// The most that the operator allows a notification to show.
    pub(super) content: PushContent,
    pub(super) facts: &'a Facts,
    pub(super) now: DateTime<Utc>,
}

/// The parts of a push that depend on the kind of its delivery.
struct Told {
    notification: Notification,
    urgency: Urgency,
    ttl: Duration,
}

impl Writer<'_> {
    pub(super) fn letter(&self, delivery: &Claimed) -> Result<Letter, Unsent> {
        if !delivery.is_session_live {
            return Err(Unsent::Obsolete);
        }
        let told = match delivery.kind {
            DeliveryKind::Message => self.message(delivery),
            DeliveryKind::Call => self.call(delivery),
            DeliveryKind::Dismiss => with_message_ttl(delivery, self.dismissal(delivery), Urgency::Normal),
            DeliveryKind::CallEnded => {
                with_message_ttl(delivery, self.notification(delivery, NotificationKind::CallEnded), Urgency::High)
            }
        };
        let Told { notification, urgency, ttl } = told.ok_or(Unsent::Obsolete)?;
        let message = self.shown(delivery).map(|row| row.message_id);
        let push = Push { urgency, ttl, collapse_key: delivery.key.clone(), notification };
        Ok(Letter { target: target(delivery).map_err(Unsent::Invalid)?, push, message })
    }

    /// Returns the message that the push shows. None if it shows none.
    fn shown(&self, delivery: &Claimed) -> Option<&Shown> {
        let conversation = delivery.conversation_id.filter(|_| delivery.kind == DeliveryKind::Message)?;
        self.facts.shown.get(&(delivery.user_id, conversation))
    }

    fn message(&self, delivery: &Claimed) -> Option<Told> {
        let shown = self.shown(delivery)?;
        let PushText { title, body } = self.message_text(delivery, shown);
        let notification = Notification {
            title: Some(title),
            body,
            message_id: Some(shown.message_id.to_string()),
            count: count(shown.unread.into()),
            sent_at: shown.sent_at,
            ..self.notification(delivery, NotificationKind::Message)
        };
        with_message_ttl(delivery, notification, Urgency::High)
    }

    fn message_text(&self, delivery: &Claimed, shown: &Shown) -> PushText {
        let language = delivery.language.as_deref().unwrap_or_default();
        let group = group(shown.conversation_kind, shown.title.as_deref());
        match (self.content(delivery), shown.sender.as_deref()) {
            (PushContent::Nothing, _) | (_, None) => self.texts.render(language, &Saying::Nothing),
            (PushContent::Sender, Some(sender)) => self.texts.render(language, &Saying::Sender { sender, group }),
            (PushContent::Full, Some(sender)) => {
                let text = plain_body(shown.message_id, shown.body.as_deref(), &self.facts.details);
                let saying = match preview(shown.message_id, &text, &self.facts.details) {
                    Some(preview) => Saying::Message { sender, group, preview },
                    None => Saying::Sender { sender, group },
                };
                self.texts.render(language, &saying)
            }
        }
    }

    fn call(&self, delivery: &Claimed) -> Option<Told> {
        let ring = self.facts.rings.get(&(delivery.user_id, delivery.call_id?)).filter(|ring| !ring.is_silent)?;
        let ttl = Duration::try_from_secs_f64(ring.seconds_left).ok().filter(|ttl| !ttl.is_zero())?;
        let language = delivery.language.as_deref().unwrap_or_default();
        let PushText { title, body } = self.texts.render(language, &self.call_saying(delivery, ring));
        let notification = Notification {
            title: Some(title),
            body,
            conversation_id: Some(ring.conversation_id.to_string()),
            sent_at: ring.started_at,
            ..self.notification(delivery, NotificationKind::Call)
        };
        Some(Told { notification, urgency: Urgency::High, ttl })
    }

    fn call_saying<'a>(&self, delivery: &Claimed, ring: &'a Ring) -> Saying<'a> {
        let is_video = ring.kind == CallKind::Video;
        if self.content(delivery) == PushContent::Nothing {
            return Saying::Call { caller: None, group: None, is_video };
        }
        let group = group(ring.conversation_kind, ring.title.as_deref());
        Saying::Call { caller: ring.caller.as_deref(), group, is_video }
    }

    fn dismissal(&self, delivery: &Claimed) -> Notification {
        let unread = delivery.conversation_id.and_then(|id| self.facts.unread.get(&(delivery.user_id, id)));
        let notification = self.notification(delivery, NotificationKind::Dismiss);
        Notification { count: count(unread.copied().unwrap_or_default().into()), ..notification }
    }

    /// Returns a notification without text.
    fn notification(&self, delivery: &Claimed, kind: NotificationKind) -> Notification {
        let badge = self.facts.badges.get(&delivery.user_id).copied().unwrap_or_default();
        Notification {
            kind,
            title: None,
            body: None,
            conversation_id: delivery.conversation_id.map(|id| id.to_string()),
            message_id: delivery.message_id.map(|id| id.to_string()),
            call_id: delivery.call_id.map(|id| id.to_string()),
            count: 0,
            badge: count(badge),
            sent_at: self.now,
        }
    }

    /// Returns what the notification may show.
    fn content(&self, delivery: &Claimed) -> PushContent {
        allowed(self.content, delivery.content)
    }
}

/// Returns None if the delivery has waited for `MESSAGE_TTL`.
fn with_message_ttl(delivery: &Claimed, notification: Notification, urgency: Urgency) -> Option<Told> {
    let age = Duration::try_from_secs_f64(delivery.age.max(0.0)).unwrap_or(Duration::MAX);
    let ttl = MESSAGE_TTL.checked_sub(age).filter(|ttl| !ttl.is_zero())?;
    Some(Told { notification, urgency, ttl })
}

/// Returns what both the operator and the user allow. A user without settings allows everything.
pub(super) fn allowed(operator: PushContent, user: Option<NotificationContent>) -> PushContent {
    operator.min(match user {
        Some(NotificationContent::Full) | None => PushContent::Full,
        Some(NotificationContent::Sender) => PushContent::Sender,
        Some(NotificationContent::Nothing) => PushContent::Nothing,
    })
}

/// Returns the title of a group. None for a direct conversation.
pub(super) fn group(kind: ConversationKind, title: Option<&str>) -> Option<&str> {
    title.filter(|_| kind == ConversationKind::Group)
}

/// Returns a number of messages or conversations, and 0 for a negative one.
pub(super) fn count(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// Returns the address of the device. A call goes to the PushKit token of an Apple device, if it has one.
fn target(delivery: &Claimed) -> Result<Target, String> {
    let address = StoredAddress {
        transport: delivery.transport,
        text: delivery.address.clone(),
        p256dh: delivery.p256dh.clone(),
        auth: delivery.auth.clone(),
        environment: delivery.environment,
    };
    address.target(delivery.voip_token.clone().filter(|_| delivery.kind == DeliveryKind::Call))
}

/// Returns the conversation of a delivery about messages.
pub(super) fn conversation_of(delivery: &Claimed) -> Option<ConversationId> {
    let about_messages = matches!(delivery.kind, DeliveryKind::Message | DeliveryKind::Dismiss);
    delivery.conversation_id.filter(|_| about_messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_content_counts() {
        use super::NotificationContent as User;
        for (operator, user, expected) in [
            (PushContent::Full, None, PushContent::Full),
            (PushContent::Sender, None, PushContent::Sender),
            (PushContent::Full, Some(User::Sender), PushContent::Sender),
            (PushContent::Sender, Some(User::Full), PushContent::Sender),
            (PushContent::Sender, Some(User::Nothing), PushContent::Nothing),
            (PushContent::Nothing, Some(User::Full), PushContent::Nothing),
        ] {
            assert_eq!(allowed(operator, user), expected);
        }
    }
}
