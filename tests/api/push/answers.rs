//! What the server does with each answer of a push service.

use std::time::Duration;

use serde_json::Value;

use super::World;
use crate::support::push::{PushService, Reply};
use crate::support::{PATIENCE, eventually, eventually_within};

/// Maximum time until the first retry without Retry-After: FIRST_BACKOFF with its jitter, and PATIENCE.
const RETRY: Duration = PATIENCE.saturating_add(Duration::from_secs(10));

#[tokio::test]
async fn a_device_that_is_gone_is_removed() {
    for status in [404, 410] {
        let world = World::new().await;
        world.phone.reply(&[Reply::Status(status)]);
        world.bob.send(&world.chat, "hello").await;
        world.phone.expect("message").await;
        eventually("the subscription is removed", async || world.ada.push_subscriptions().await.is_empty()).await;
        world.bob.send(&world.chat, "anybody?").await;
        world.expect_silence().await;
    }
}

#[tokio::test]
async fn a_push_that_is_too_large_is_sent_again_without_its_text() {
    let world = World::new().await;
    world.phone.set_limit(1000);
    world.bob.send(&world.chat, &"long ".repeat(300)).await;
    let push = world.phone.expect("message").await;
    assert_eq!(push.status, Some(413));
    let again = world.phone.expect("message").await;
    assert_eq!((again.status, &again.payload["body"]), (Some(201), &Value::Null), "{:#}", again.payload);
    assert!(again.size < push.size && again.text("title") == push.text("title"), "{:#}", again.payload);
    assert_eq!(again.payload["messageId"], push.payload["messageId"]);
    world.expect_silence().await;
}

#[tokio::test]
async fn a_push_that_is_always_too_large_is_given_up() {
    let world = World::new().await;
    world.phone.set_limit(0);
    world.bob.send(&world.chat, "hello").await;
    world.node.pushes_settled().await;
    assert!(world.phone.unread().iter().all(|push| push.status == Some(413)));
    assert!((1..=2).contains(&world.phone.total()), "{}", world.phone.total());
    assert_eq!(world.ada.push_subscriptions().await.len(), 1);
}

#[tokio::test]
async fn retry_after_is_obeyed() {
    // A date has a resolution of one second.
    for (reply, wait) in [
        (Reply::RetryAfter(429, 2), Duration::from_secs(2)),
        (Reply::RetryAfter(503, 7), Duration::from_secs(7)),
        (Reply::RetryAt(503, 8), Duration::from_secs(7)),
    ] {
        let world = World::new().await;
        world.phone.reply(&[reply]);
        world.bob.send(&world.chat, "hello").await;
        let first = world.phone.expect("message").await;
        let mut second = None;
        eventually_within(RETRY, "the second attempt", async || {
            second = world.phone.unread().pop();
            second.is_some()
        })
        .await;
        let second = second.unwrap();
        // Postgres counts from the end of the first request.
        assert!(second.at - first.at >= wait, "{:?} of {wait:?}", second.at - first.at);
        assert_eq!((second.status, second.text("body")), (Some(201), "hello"));
        world.expect_silence().await;
    }
}

#[tokio::test]
async fn a_failing_service_gets_the_push_again() {
    let world = World::new().await;
    world.phone.reply(&[Reply::Status(500)]);
    world.bob.send(&world.chat, "hello").await;
    assert_eq!(world.phone.expect("message").await.status, Some(500));
    eventually_within(RETRY, "the second attempt", async || world.phone.total() == 2).await;
    assert_eq!(world.phone.expect("message").await.status, Some(201));
    world.expect_silence().await;
}

#[tokio::test]
async fn a_push_waits_while_its_service_is_down() {
    let world = World::new().await;
    let mut down = PushService::stopped();
    let browser = world.laptop().await.browser(&down).await;
    world.bob.send(&world.chat, "hello").await;
    assert_eq!(world.phone.expect("message").await.text("body"), "hello");
    down.listen().await;
    eventually_within(RETRY, "the retry", async || browser.total() == 1).await;
    assert_eq!(browser.expect("message").await.text("body"), "hello");
}

/// Without a change of the settings, another attempt would fail too.
#[tokio::test]
async fn a_push_that_is_refused_is_not_sent_again() {
    for status in [400, 401, 403, 405, 422] {
        let world = World::new().await;
        world.phone.reply(&[Reply::Status(status)]);
        world.bob.send(&world.chat, "refused").await;
        world.node.pushes_settled().await;
        assert_eq!(world.phone.total(), 1);
        world.phone.unread();
        world.bob.send(&world.chat, "the next one").await;
        assert_eq!(world.phone.expect("message").await.text("body"), "the next one");
        assert_eq!(world.ada.push_subscriptions().await.len(), 1);
    }
}

/// A redirect could lead to a private address.
#[tokio::test]
async fn redirects_are_not_followed() {
    let world = World::new().await;
    let other = world.bob.browser(&world.service).await;
    world.phone.reply(&[Reply::Redirect(other.address.clone())]);
    world.bob.send(&world.chat, "hello").await;
    world.node.pushes_settled().await;
    assert_eq!((world.phone.total(), other.total()), (1, 0));
}

/// Retry-After is at most a day, and the push is given up after a day.
#[tokio::test]
async fn retry_after_cannot_delay_a_push_for_longer_than_a_day() {
    let world = World::new().await;
    world.phone.reply(&[Reply::RetryAfter(503, u32::MAX)]);
    world.bob.send(&world.chat, "hello").await;
    assert_eq!(world.phone.expect("message").await.status, Some(503));
    world.expect_silence().await;
    world.expect_marker().await;
}

#[tokio::test]
async fn pushes_are_counted_by_their_outcome() {
    let world = World::new().await;
    for (status, outcome) in [(201, "delivered"), (400, "refused"), (503, "retry"), (410, "gone")] {
        world.phone.reply(&[Reply::Status(status)]);
        let group = world.bob.create_group(outcome, &[&world.ada]).await;
        world.bob.send(&group, "hello").await;
        let series = format!("parlance_push_sent_total{{transport=\"web_push\",outcome=\"{outcome}\"}}");
        eventually(&series, async || world.node.metric(&series).await == 1).await;
    }
}
