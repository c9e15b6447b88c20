//! Notification settings: quiet hours and their time zones, and levels of conversations.

use chrono::{TimeDelta, Timelike as _};
use parlance::clock::Clock;
use serde_json::{Value, json};

use super::World;
use crate::support::{Node, User};

/// Returns a time of day in a zone this number of hours ahead of UTC, this number of hours from now.
fn from_now(hours: i64, zone: i64) -> String {
    let time = Clock::system().now() + TimeDelta::hours(hours + zone);
    format!("{:02}:{:02}", time.hour(), time.minute())
}

/// Returns quiet hours that begin and end this number of hours from now. The zone is ahead of UTC by this number of
/// hours. The signs of `Etc/GMT` are reversed.
fn hours(from: i64, to: i64, zone: i64) -> Value {
    let name = match zone {
        0 => "UTC".to_owned(),
        ahead if ahead > 0 => format!("Etc/GMT-{ahead}"),
        behind => format!("Etc/GMT+{}", -behind),
    };
    json!({"from": from_now(from, zone), "to": from_now(to, zone), "timeZone": name})
}

/// Returns quiet hours around now.
pub(super) fn quiet_now() -> Value {
    hours(-1, 1, 0)
}

async fn settings(user: &User) -> Value {
    let query = "{ viewer { notificationSettings { content quietHours { from to timeZone } emailDigests } } }";
    user.query(query, json!({})).await["viewer"]["notificationSettings"].clone()
}

#[tokio::test]
async fn settings_have_defaults_and_omitted_fields_are_unchanged() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let defaults = json!({"content": "FULL", "quietHours": null, "emailDigests": true});
    assert_eq!(settings(&ada).await, defaults);
    let quiet = json!({"from": "22:00", "to": "07:00", "timeZone": "Europe/Berlin"});
    for (input, expected) in [
        (json!({}), defaults.clone()),
        (json!({"quietHours": quiet}), json!({"content": "FULL", "quietHours": quiet, "emailDigests": true})),
        (json!({"content": "SENDER"}), json!({"content": "SENDER", "quietHours": quiet, "emailDigests": true})),
        (json!({"emailDigests": false}), json!({"content": "SENDER", "quietHours": quiet, "emailDigests": false})),
        (
            json!({"content": null, "emailDigests": null, "quietHours": null}),
            json!({"content": "SENDER", "quietHours": null, "emailDigests": false}),
        ),
    ] {
        let data = ada.set_notifications(input).await.data();
        assert_eq!(data["updateNotificationSettings"]["notificationSettings"], expected);
        assert_eq!(settings(&ada).await, expected);
    }
    assert_eq!(settings(&bob).await, defaults);
}

#[tokio::test]
async fn malformed_quiet_hours_are_refused() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for (from, to, zone) in [
        ("24:00", "07:00", "UTC"),
        ("22:60", "07:00", "UTC"),
        ("22", "07:00", "UTC"),
        ("22:00", "7", "UTC"),
        ("22:00:00", "07:00", "UTC"),
        ("-1:00", "07:00", "UTC"),
        ("", "07:00", "UTC"),
        ("２２:００", "07:00", "UTC"),
        ("22:00", "22:00", "UTC"),
        ("22:00", "07:00", "Europe/Atlantis"),
        ("22:00", "07:00", ""),
        ("22:00", "07:00", "\0"),
        ("22:00", "07:00", "../../etc/passwd"),
        ("22:00", "07:00", "posixrules'; DROP TABLE users"),
    ] {
        let input = json!({"quietHours": {"from": from, "to": to, "timeZone": zone}});
        assert_eq!(ada.set_notifications(input.clone()).await.code(), "BAD_USER_INPUT", "{input}");
    }
    assert_eq!(settings(&ada).await["quietHours"], Value::Null);
}

/// One of the two spans contains midnight, unless the test runs within an hour of midnight.
#[tokio::test]
async fn nobody_is_notified_in_their_quiet_hours() {
    let world = World::new().await;
    for zone in [0, 9, -7] {
        world.ada.set_notifications(json!({"quietHours": hours(-1, 1, zone)})).await.data();
        world.bob.send(&world.chat, "psst").await;
        world.bob.send(&world.chat, &format!("@{}", world.ada.username)).await;
        world.expect_silence().await;
        world.ada.set_notifications(json!({"quietHours": hours(1, -1, zone)})).await.data();
        world.bob.send(&world.chat, "loud").await;
        assert_eq!(world.phone.expect("message").await.text("body"), "loud");
    }
    world.ada.set_notifications(json!({"quietHours": hours(-1, 1, 0)})).await.data();
    world.bob.send(&world.chat, "psst").await;
    world.expect_silence().await;
    world.ada.set_notifications(json!({"quietHours": null})).await.data();
    world.bob.send(&world.chat, "loud").await;
    let push = world.phone.expect("message").await;
    // The messages of the quiet hours are not notified later, but count.
    assert_eq!((push.text("body"), &push.payload["count"]), ("loud", &json!(10 + 1)));
}

/// The hours of one time zone are not those of another.
#[tokio::test]
async fn quiet_hours_are_in_the_time_zone_of_the_user() {
    let world = World::new().await;
    let mut elsewhere = hours(-1, 1, 0);
    elsewhere["timeZone"] = json!("Etc/GMT-6");
    world.ada.set_notifications(json!({"quietHours": elsewhere})).await.data();
    world.bob.send(&world.chat, "hello").await;
    assert_eq!(world.phone.expect("message").await.text("body"), "hello");
}

#[tokio::test]
async fn the_level_belongs_to_one_membership() {
    let world = World::new().await;
    let query = "query ($id: ID!) { conversation(id: $id) { viewerMembership { notificationLevel mutedUntil } } }";
    let level = async |user: &User| {
        let data = user.query(query, json!({"id": world.chat})).await;
        data["conversation"]["viewerMembership"]["notificationLevel"].clone()
    };
    assert_eq!(level(&world.ada).await, "ALL");
    for value in ["MENTIONS", "NOTHING", "ALL"] {
        world.ada.set_membership(&world.chat, json!({"notificationLevel": value})).await;
        world.ada.set_membership(&world.chat, json!({"pinned": true, "notificationLevel": null})).await;
        assert_eq!((level(&world.ada).await, level(&world.bob).await), (json!(value), json!("ALL")));
    }
}
