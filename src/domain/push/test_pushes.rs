//! Test notifications, which the operator sends to all devices of a user. They do not wait in the queue of deliveries,
//! so the operator sees at once how the push services answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Url;

use super::core::{PushError, vapid_key};
use super::targets::StoredAddress;
use super::texts::count;
use crate::clock::Clock;
use crate::config::PushSettings;
use crate::domain::validate::identifiers;
use crate::error::{Error, Result};
use crate::ids::UserId;
use crate::notices::{PushText, PushTexts, Saying};
use crate::push::{Notification, NotificationKind, Outcome, Push, Pusher, Target, Urgency};
use crate::random::Random;
use crate::store::conversations::conversations::unread_count;
use crate::store::people::users::{self, User};
use crate::store::push::subscriptions::{self, PushSubscription, PushTransport};
use crate::store::{self, Connection};

/// Time for which a push service keeps a test notification for a device that is not connected. It is short, because the
/// operator waits for the notification.
const TTL: Duration = Duration::from_mins(5);
/// The key by which a further test notification replaces the one before, at the push service and on the device.
const COLLAPSE_KEY: &str = "test";
/// Number of characters of a token that the operator sees. They distinguish devices, and do not allow pushes.
const SHOWN_TOKEN: usize = 8;

/// The devices of a user, and what each of them gets.
pub struct TestPushes {
    pub devices: Vec<TestDevice>,
    pusher: Pusher,
    push: Push,
}

/// A device of the user.
pub struct TestDevice {
    pub transport: PushTransport,
    /// Host of the endpoint, or the beginning of the token.
    pub name: String,
    /// The error says why the stored keys are malformed.
    target: Result<Target, String>,
}

impl TestPushes {
    /// Prepares test notifications to the devices of a user, who is named by username, verified e-mail address or phone
    /// number, or id. Returns None if the user does not exist. `url` is that of the database.
    pub async fn prepare(
        url: &str,
        user: &str,
        settings: &PushSettings,
        texts: &PushTexts,
        clock: Clock,
        random: &Random,
    ) -> Result<Option<Self>, PushError> {
        let mut connection = store::connect(url).await?;
        let Some(user) = find(&mut connection, user).await? else { return Ok(None) };
        let key = vapid_key(&mut connection, settings, random).await?;
        let now = clock.now();
        let rows = subscriptions::of_user(&mut connection, user.id, now).await.map_err(Error::from)?;
        let badge = unread_count(&mut connection, user.id, now).await.map_err(Error::from)?;
        let text = texts.render(user.language.as_deref().unwrap_or_default(), &Saying::Test);
        Ok(Some(Self {
            devices: rows.into_iter().map(device).collect(),
            pusher: Pusher::open(settings, key, clock, random)?,
            push: push(text, count(badge), now),
        }))
    }

    /// Sends a test notification to a device, and waits for the answer of its push service.
    pub async fn send(&self, device: &TestDevice) -> Outcome {
        match &device.target {
            Ok(target) => self.pusher.send(target, &self.push).await,
            Err(reason) => Outcome::Refused { reason: reason.clone() },
        }
    }
}

async fn find(conn: &mut Connection, name: &str) -> Result<Option<User>> {
    if let Ok(id) = name.parse::<UserId>() {
        return Ok(users::by_id(conn, id).await?);
    }
    for form in identifiers(name) {
        if let Some(user) = users::by_identifier(conn, &form).await? {
            return Ok(Some(user));
        }
    }
    Ok(None)
}

fn push(PushText { title, body }: PushText, badge: u32, now: DateTime<Utc>) -> Push {
    let notification = Notification {
        kind: NotificationKind::Test,
        title: Some(title),
        body,
        conversation_id: None,
        message_id: None,
        call_id: None,
        count: 0,
        badge,
        sent_at: now,
    };
    Push { urgency: Urgency::High, ttl: TTL, collapse_key: COLLAPSE_KEY.to_owned(), notification }
}

fn device(row: PushSubscription) -> TestDevice {
    let PushSubscription { transport, address, p256dh, auth, environment, .. } = row;
    let name = name(transport, &address);
    let target = StoredAddress { transport, text: address, p256dh, auth, environment }.target(None);
    TestDevice { transport, name, target }
}

/// Returns what the operator sees of an address. A complete endpoint or token would allow others to send pushes.
fn name(transport: PushTransport, address: &str) -> String {
    match transport {
        PushTransport::WebPush | PushTransport::UnifiedPush => {
            let url = Url::parse(address).ok();
            url.as_ref().and_then(Url::host_str).unwrap_or("an endpoint without a host").to_owned()
        }
        PushTransport::Fcm | PushTransport::Apns => match address.char_indices().nth(SHOWN_TOKEN) {
            Some((end, _)) => format!("{}…", &address[..end]),
            None => address.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_or_the_beginning_of_an_address_is_shown() {
        for (transport, address, expected) in [
            (PushTransport::WebPush, "https://push.example.org/send/secret", "push.example.org"),
            (PushTransport::UnifiedPush, "http://10.0.0.7:8080/upSecret?up=1", "10.0.0.7"),
            (PushTransport::Fcm, "dQw4w9WgXcQ:APA91bF", "dQw4w9Wg…"),
            (PushTransport::Apns, "0a0b0c0d", "0a0b0c0d"),
        ] {
            assert_eq!(name(transport, address), expected);
        }
    }
}
