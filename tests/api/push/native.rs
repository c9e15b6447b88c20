//! Pushes by FCM and APNs, with stand-ins that check tokens, headers and sizes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{SETTINGS, World, set_name};
use crate::support::push::{Apns, Certificate, Fcm, PushService, Reply};
use crate::support::{NodeProcess, PASSWORD, PATIENCE, TestDatabase, User, eventually, eventually_within, unique};

/// Maximum time until two retries have ended: 15 seconds, and PATIENCE.
const RETRY: Duration = PATIENCE.saturating_add(Duration::from_secs(15));

async fn with_fcm() -> (World, Fcm) {
    let fcm = Fcm::start().await;
    let flags = fcm.flags();
    (World::with(&flags.each_ref().map(String::as_str)).await, fcm)
}

async fn with_apns() -> (World, Apns) {
    let apns = Apns::start().await;
    let flags = apns.flags();
    (World::with(&flags.each_ref().map(String::as_str)).await, apns)
}

#[tokio::test]
async fn a_message_reaches_android_with_a_text_and_data() {
    let (world, fcm) = with_fcm().await;
    set_name(&world.bob, "Bob").await;
    let device = fcm.device();
    world.ada.registered_push(&device.input).await;
    let message = world.bob.send(&world.chat, "hello").await;
    let push = device.next().await.payload;
    assert_eq!(push["notification"]["title"], "Bob", "{push:#}");
    assert_eq!(push["notification"]["body"], "hello", "{push:#}");
    assert_eq!(push["android"]["priority"].as_str().unwrap().to_uppercase(), "HIGH");
    let data = &push["data"];
    assert_eq!((&data["kind"], &data["conversationId"]), (&json!("message"), &json!(world.chat)), "{push:#}");
    assert_eq!((&data["messageId"], &data["badge"], &data["count"]), (&message["id"], &json!("1"), &json!("1")));
    let collapse = push["android"]["collapse_key"].clone();
    assert!(collapse.is_string(), "{push:#}");
    world.node.pushes_settled().await;
    world.ada.mark_read(&message).await.data();
    let push = device.next().await.payload;
    assert_eq!((&push["data"]["kind"], &push["data"]["badge"]), (&json!("dismiss"), &json!("0")), "{push:#}");
    assert_eq!(push.get("notification").cloned().unwrap_or_default(), Value::Null, "a dismissal shows nothing");
    assert_eq!(push["android"]["collapse_key"], collapse);
}

#[tokio::test]
async fn the_access_token_of_fcm_is_used_until_it_is_refused() {
    let (world, fcm) = with_fcm().await;
    let devices = [fcm.device(), fcm.device(), fcm.device(), fcm.device()];
    for device in &devices {
        world.ada.registered_push(&device.input).await;
    }
    for body in ["one", "two", "three"] {
        world.bob.send(&world.chat, body).await;
        for device in &devices {
            assert_eq!(device.next().await.payload["notification"]["body"], body);
        }
    }
    assert_eq!(fcm.tokens_given(), 1, "one token for all pushes");
    fcm.revoke_tokens();
    world.bob.send(&world.chat, "four").await;
    // The next attempt gets another token.
    eventually_within(RETRY, "all have the message", async || devices.iter().all(|device| device.total() == 4)).await;
    for device in &devices {
        assert_eq!(device.next().await.payload["notification"]["body"], "four");
    }
    assert!(fcm.tokens_given() > 1);
}

#[tokio::test]
async fn long_texts_fit_into_the_limits_of_fcm_and_apns() {
    let (fcm, apns) = (Fcm::start().await, Apns::start().await);
    let flags: Vec<_> = fcm.flags().into_iter().chain(apns.flags()).collect();
    let world = World::with(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (android, iphone) = (fcm.device(), apns.device());
    for device in [&android, &iphone] {
        world.ada.registered_push(&device.input).await;
    }
    for character in ["a", "中", "👍", "\"", "\\"] {
        let text = character.repeat(7000);
        world.bob.send(&world.chat, &text).await;
        for body in [
            android.next().await.payload["notification"]["body"].clone(),
            iphone.next().await.payload["aps"]["alert"]["body"].clone(),
        ] {
            let body = body.as_str().unwrap().strip_suffix('…').unwrap_or_else(|| panic!("{body}"));
            assert!(!body.is_empty() && text.starts_with(body), "{body}");
        }
    }
}

#[tokio::test]
async fn a_message_reaches_an_iphone_with_its_alert_and_badge() {
    let (world, apns) = with_apns().await;
    set_name(&world.bob, "Bob").await;
    let device = apns.device();
    world.ada.registered_push(&device.input).await;
    let message = world.bob.send(&world.chat, "hello").await;
    let push = device.next().await;
    assert_eq!((push.header("apns-push-type"), push.header("apns-priority")), ("alert", "10"));
    let collapse = push.header("apns-collapse-id").to_owned();
    assert!(!collapse.is_empty());
    let shown = &push.payload["aps"];
    assert_eq!((&shown["alert"]["title"], &shown["alert"]["body"]), (&json!("Bob"), &json!("hello")), "{shown:#}");
    assert_eq!((&shown["badge"], &shown["thread-id"]), (&json!(1), &json!(world.chat)), "{shown:#}");
    assert_eq!((&push.payload["messageId"], &push.payload["kind"]), (&message["id"], &json!("message")));
    world.node.pushes_settled().await;
    world.ada.mark_read(&message).await.data();
    let push = device.next().await;
    assert_eq!((push.header("apns-push-type"), push.text("kind")), ("background", "dismiss"), "{:#}", push.payload);
    assert_eq!((&push.payload["aps"]["badge"], push.header("apns-collapse-id")), (&json!(0), collapse.as_str()));
}

#[tokio::test]
async fn tokens_that_are_gone_end_their_subscriptions() {
    let (fcm, apns) = (Fcm::start().await, Apns::start().await);
    let flags: Vec<_> = fcm.flags().into_iter().chain(apns.flags()).collect();
    let world = World::with(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let (android, iphone, wrong) = (fcm.device(), apns.device(), apns.device());
    for (device, status) in [(&android, 404), (&iphone, 410), (&wrong, 400)] {
        world.ada.registered_push(&device.input).await;
        device.reply(&[Reply::Status(status)]);
    }
    assert_eq!(world.ada.push_subscriptions().await.len(), 4);
    world.bob.send(&world.chat, "hello").await;
    world.phone.expect("message").await;
    // The answers are UNREGISTERED, Unregistered and BadDeviceToken.
    eventually("only the browser is left", async || world.ada.push_subscriptions().await.len() == 1).await;
}

#[tokio::test]
async fn fcm_and_apns_get_a_push_again_after_they_were_busy() {
    let (fcm, apns) = (Fcm::start().await, Apns::start().await);
    let flags: Vec<_> = fcm.flags().into_iter().chain(apns.flags()).collect();
    let world = World::with(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let devices = [fcm.device(), apns.device()];
    for device in &devices {
        world.ada.registered_push(&device.input).await;
        device.reply(&[Reply::RetryAfter(429, 1), Reply::Status(503)]);
    }
    world.bob.send(&world.chat, "hello").await;
    for device in &devices {
        assert_eq!(device.next().await.status, Some(429));
    }
    eventually_within(RETRY, "the second attempts", async || devices.iter().all(|device| device.total() == 2)).await;
    for device in &devices {
        assert_eq!(device.next().await.status, Some(503));
    }
    assert_eq!(world.ada.push_subscriptions().await.len(), 3);
}

#[tokio::test]
async fn the_operator_can_hide_texts_from_google_and_apple() {
    let (fcm, apns) = (Fcm::start().await, Apns::start().await);
    let mut flags: Vec<_> = fcm.flags().into_iter().chain(apns.flags()).collect();
    flags.push("--push-content=nothing".to_owned());
    let world = World::with(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    set_name(&world.bob, "Bob Builder").await;
    let devices = [fcm.device(), apns.device()];
    for device in &devices {
        world.ada.registered_push(&device.input).await;
    }
    world.bob.send(&world.chat, "secret").await;
    for device in &devices {
        let payload = device.next().await.payload.to_string();
        assert!(
            payload.contains("New message") && !payload.contains("secret") && !payload.contains("Bob"),
            "{payload}"
        );
    }
}

/// As in production, HTTP/2 is negotiated by TLS.
#[tokio::test]
async fn a_node_sends_over_tls_and_to_apple_over_http_2() {
    let certificate = Certificate::make().await;
    let apns = Apns::start_with_tls(&certificate).await;
    let service = PushService::start_with_tls(&certificate).await;
    let database = TestDatabase::new().await;
    let flags = apns.flags().map(|flag| &*flag.leak());
    let settings = flags.iter().filter_map(|flag| flag.strip_prefix("--")?.split_once('='));
    let settings: Vec<_> = settings.chain(SETTINGS).collect();
    let node = NodeProcess::start_trusting(&database, certificate.path(), &settings).await;
    let ada = User::register(node.api(), &format!("ada_{}", &unique()[..8]), PASSWORD).await;
    let bob = User::register(node.api(), &format!("bob_{}", &unique()[..8]), PASSWORD).await;
    let chat = ada.open_direct(&bob).await;
    let (iphone, browser) = (apns.device(), ada.browser(&service).await);
    assert!(browser.address.starts_with("https://"));
    ada.registered_push(&iphone.input).await;
    for body in ["one", "two"] {
        bob.send(&chat, body).await;
        assert_eq!(browser.expect("message").await.text("body"), body);
        assert_eq!(iphone.next().await.payload["aps"]["alert"]["body"], body);
    }
}
