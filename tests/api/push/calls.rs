//! Calls ring on devices by a push, and stop when they are answered elsewhere or end.

use diesel_async::SimpleAsyncConnection as _;
use serde_json::{Value, json};

use super::{World, set_name};
use crate::support::push::{Apns, Device, Received, Reply};

/// CALL_RING_TIMEOUT in seconds.
const RING_TIMEOUT: u32 = 60;

async fn expect_ring(device: &Device, call: &str) -> Received {
    let push = device.expect("call").await;
    assert_eq!(push.payload["callId"], call, "{:#}", push.payload);
    push
}

async fn expect_end(device: &Device, call: &str) {
    let push = device.expect("call_ended").await;
    assert_eq!(push.payload["callId"], call, "{:#}", push.payload);
}

#[tokio::test]
async fn a_call_rings_with_high_urgency_while_it_can_be_answered() {
    let world = World::new().await;
    set_name(&world.bob, "Bob").await;
    let call = world.bob.start_call(&world.chat).await.call_id();
    let push = expect_ring(&world.phone, &call).await;
    assert_eq!((push.text("title"), push.text("body")), ("Bob", "Incoming video call"), "{:#}", push.payload);
    assert_eq!(push.payload["conversationId"], world.chat);
    assert_eq!(push.header("urgency"), "high");
    let ttl: u32 = push.header("ttl").parse().unwrap();
    assert!(ttl <= RING_TIMEOUT, "{ttl}");
}

#[tokio::test]
async fn a_ring_stops_when_the_call_is_answered_declined_or_left() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    for end in ["answered", "declined", "left"] {
        let call = world.bob.start_call(&world.chat).await.call_id();
        expect_ring(&world.phone, &call).await;
        world.node.pushes_settled().await;
        match end {
            "answered" => drop(laptop.accept_call(&call).await.data()),
            "declined" => drop(laptop.decline_call(&call).await.data()),
            _ => drop(world.bob.leave_call(&call).await.data()),
        }
        expect_end(&world.phone, &call).await;
        world.expect_silence().await;
        world.bob.leave_call(&call).await;
        world.expect_silence().await;
    }
}

#[tokio::test]
async fn a_ring_stops_when_nobody_answers() {
    let world = World::new().await;
    let call = world.bob.start_call(&world.chat).await.call_id();
    expect_ring(&world.phone, &call).await;
    world.node.pushes_settled().await;
    let end = "UPDATE calls SET rings_until = now() WHERE state <> 'ENDED'";
    world.database.connection().await.batch_execute(end).await.unwrap();
    expect_end(&world.phone, &call).await;
}

/// The lock of the notifier lets the call end before it is planned.
#[tokio::test]
async fn a_call_that_has_ended_before_it_is_planned_does_not_ring() {
    let world = World::new().await;
    let held = world.hold_notifier().await;
    let call = world.bob.start_call(&world.chat).await.call_id();
    world.bob.leave_call(&call).await.data();
    held.release().await;
    world.expect_silence().await;
    world.expect_marker().await;
}

/// The service does not accept the ring at first.
#[tokio::test]
async fn a_waiting_ring_is_not_sent_after_the_end_of_the_call() {
    let world = World::new().await;
    world.phone.reply(&[Reply::RetryAfter(503, 3)]);
    let call = world.bob.start_call(&world.chat).await.call_id();
    assert_eq!(expect_ring(&world.phone, &call).await.status, Some(503));
    world.bob.leave_call(&call).await.data();
    world.node.pushes_settled().await;
    let rings = world.phone.unread().iter().filter(|push| push.payload["kind"] == "call").count();
    assert_eq!(rings, 0);
}

#[tokio::test]
async fn calls_in_muted_conversations_and_quiet_hours_do_not_ring() {
    let world = World::new().await;
    world.ada.set_membership(&world.chat, json!({"mutedUntil": "2999-01-01T00:00:00Z"})).await;
    let call = world.bob.start_call(&world.chat).await.call_id();
    world.expect_silence().await;
    world.bob.leave_call(&call).await.data();
    world.ada.set_membership(&world.chat, json!({"mutedUntil": null})).await;
    let quiet = super::settings::quiet_now();
    world.ada.set_notifications(json!({"quietHours": quiet})).await.data();
    let call = world.bob.start_call(&world.chat).await.call_id();
    world.expect_silence().await;
    world.bob.leave_call(&call).await.data();
    world.ada.set_notifications(json!({"quietHours": null})).await.data();
    let call = world.bob.start_call(&world.chat).await.call_id();
    expect_ring(&world.phone, &call).await;
}

#[tokio::test]
async fn a_call_rings_by_push_only_where_the_page_is_not_visible() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let browser = laptop.browser(&world.service).await;
    let _socket = laptop.socket().await;
    let call = world.bob.start_call(&world.chat).await.call_id();
    expect_ring(&world.phone, &call).await;
    world.expect_silence().await;
    browser.expect_none();
    laptop.accept_call(&call).await.data();
    expect_end(&world.phone, &call).await;
    world.expect_silence().await;
    browser.expect_none();
}

#[tokio::test]
async fn the_content_of_a_ring_follows_the_setting() {
    let world = World::new().await;
    set_name(&world.bob, "Bob").await;
    for (content, title) in [("FULL", "Bob"), ("SENDER", "Bob"), ("NOTHING", "Parlance")] {
        world.ada.set_notifications(json!({"content": content})).await.data();
        let call = world.bob.start_call(&world.chat).await.call_id();
        assert_eq!(expect_ring(&world.phone, &call).await.text("title"), title);
        world.node.pushes_settled().await;
        world.bob.leave_call(&call).await.data();
        expect_end(&world.phone, &call).await;
    }
}

#[tokio::test]
async fn a_call_rings_by_pushkit_if_the_app_has_a_token_for_it() {
    let apns = Apns::start().await;
    let flags = apns.flags();
    let world = World::with(&flags.each_ref().map(String::as_str)).await;
    let laptop = world.laptop().await;
    let [alerts, rings] = apns.device_with_voip();
    let plain = apns.device();
    for device in [&alerts, &plain] {
        world.ada.registered_push(&device.input).await;
    }
    let call = world.bob.start_call(&world.chat).await.call_id();
    let push = rings.next().await;
    assert_eq!(push.header("apns-push-type"), "voip");
    assert_eq!(push.payload["callId"], call, "{:#}", push.payload);
    let push = plain.next().await;
    assert_eq!((push.header("apns-push-type"), push.header("apns-priority")), ("alert", "10"));
    world.node.pushes_settled().await;
    laptop.accept_call(&call).await.data();
    let push = plain.next().await;
    assert_eq!((push.text("kind"), &push.payload["callId"]), ("call_ended", &json!(call)), "{:#}", push.payload);
    world.node.pushes_settled().await;
    // A PushKit push without a new call would end the app.
    let voip: Vec<_> = rings.unread().into_iter().map(|push| push.payload).collect();
    assert_eq!(voip, Vec::<Value>::new());
    // The message goes to the other token.
    world.bob.send(&world.chat, "hello").await;
    let push = loop {
        let push = alerts.next().await;
        if push.text("kind") == "message" {
            break push;
        }
    };
    assert_eq!(push.header("apns-push-type"), "alert");
}
