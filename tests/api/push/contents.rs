//! What a push says: texts, languages and attachments, and how much of them the user and the operator allow.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{World, set_name};
use crate::support::push::{Device, Received, Receiver};
use crate::support::{ALLOWANCE, PASSWORD, User, http, picture};

/// Maximum time from a message to its push.
const PROMISED: Duration = Duration::from_secs(2);
/// Maximum time in seconds for which a push service keeps a message.
const DAY: u32 = 24 * 60 * 60;

/// Signs in as a client that prefers this language, which then is the language of the account.
async fn login_in(language: &str, world: &World, user: &User) -> User {
    let query = "mutation ($input: LoginInput!) { login(input: $input) {
        accessToken refreshToken session { id } viewer { user { id username } }
    } }";
    let variables = json!({"input": {"identifier": user.username, "password": PASSWORD}});
    let request = http::post(&world.node, &json!({"query": query, "variables": variables}));
    let (_, body) = http::send(request.header("accept-language", language)).await;
    User::from_payload(&world.node, &body["data"]["login"])
}

/// Asserts what the next push to the device shows.
async fn expect_text(device: &Device, title: &str, body: &str) -> Received {
    let push = device.expect("message").await;
    assert_eq!((push.text("title"), push.text("body")), (title, body), "{:#}", push.payload);
    push
}

/// The example of RFC 8291, section 5.
#[test]
fn the_receiver_of_the_tests_opens_the_example_of_the_specification() {
    let body = concat!(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8w",
        "EqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN",
    );
    let body = URL_SAFE_NO_PAD.decode(body).unwrap();
    let receiver = Receiver::from_text("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "BTBZMqHH6r4Tts7J_aSIgg");
    assert_eq!(receiver.open(&body).unwrap(), b"When I grow up, I want to be a watermelon");
    assert!(Receiver::generate().open(&body).is_err());
}

#[tokio::test]
async fn a_message_reaches_a_browser_with_its_text() {
    let world = World::new().await;
    set_name(&world.bob, "Bob Builder").await;
    let before = Instant::now();
    let message = world.bob.send(&world.chat, "Good <b>morning</b> ☀").await;
    let push = expect_text(&world.phone, "Bob Builder", "Good <b>morning</b> ☀").await;
    assert!(push.at - before < PROMISED + ALLOWANCE, "{:?}", push.at - before);
    let payload = &push.payload;
    assert_eq!((&payload["conversationId"], &payload["messageId"]), (&json!(world.chat), &message["id"]));
    assert_eq!((&payload["count"], &payload["badge"]), (&json!(1), &json!(1)));
    assert_eq!(payload["callId"], Value::Null);
    assert!(payload["sentAt"].is_string(), "{payload:#}");
    assert_eq!(push.header("urgency"), "high");
    let ttl: u32 = push.header("ttl").parse().unwrap();
    assert!(ttl > 0 && ttl <= DAY, "{ttl}");
}

#[tokio::test]
async fn a_message_of_a_group_names_the_group_and_the_sender() {
    let world = World::new().await;
    set_name(&world.bob, "Bob").await;
    let tablet = world.laptop().await.unified_push(&world.service).await;
    let group = world.bob.create_group("Family", &[&world.ada]).await;
    world.bob.send(&group, "Dinner?").await;
    for device in [&world.phone, &tablet] {
        expect_text(device, "Family", "Bob: Dinner?").await;
    }
}

#[tokio::test]
async fn attachments_are_named_in_the_language_of_the_recipient() {
    let world = World::new().await;
    set_name(&world.bob, "Bob").await;
    login_in("de-AT, en;q=0.5", &world, &world.ada).await;
    let cem = login_in("en", &world, &world.node.register("cem").await).await;
    let browser = cem.browser(&world.service).await;
    let group = world.bob.create_group("Photos", &[&world.ada, &cem]).await;
    let photo = async || world.bob.upload("a.jpg", "image/jpeg", &picture(20, 20)).await["id"].clone();
    let note = async || world.bob.upload_note("a note").await;
    for (body, attachments, english, german) in [
        (None, vec![photo().await], "Photo", "Foto"),
        (None, vec![note().await], "File: note.txt", "Datei: note.txt"),
        (None, vec![note().await, note().await], "2 attachments", "2 Anhänge"),
        (Some("look at this"), vec![photo().await], "look at this", "look at this"),
    ] {
        world.bob.send_with(&group, body, &attachments.iter().collect::<Vec<_>>()).await;
        expect_text(&world.phone, "Photos", &format!("Bob: {german}")).await;
        expect_text(&browser, "Photos", &format!("Bob: {english}")).await;
    }
    let voice = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/media/voice.ogg")).unwrap();
    let voice = world.bob.upload("voice.ogg", "audio/ogg", &voice).await["id"].clone();
    world.bob.send_with(&group, None, &[&voice]).await;
    // The recording has about two seconds.
    for (device, body) in [(&world.phone, "Bob: Sprachnachricht 0:0"), (&browser, "Bob: Voice message 0:0")] {
        let push = device.expect("message").await;
        assert!(push.text("body").starts_with(body), "{:#}", push.payload);
    }
}

#[tokio::test]
async fn a_user_chooses_how_much_a_push_shows() {
    let world = World::new().await;
    set_name(&world.bob, "Bob").await;
    let group = world.bob.create_group("Family", &[&world.ada]).await;
    for (content, titles, bodies) in [
        ("FULL", ["Bob", "Family"], ["secret", "Bob: secret"]),
        ("SENDER", ["Bob", "Family"], ["New message", "New message from Bob"]),
        ("NOTHING", ["Parlance", "Parlance"], ["New message", "New message"]),
    ] {
        let answer = world.ada.set_notifications(json!({"content": content})).await.data();
        assert_eq!(answer["updateNotificationSettings"]["notificationSettings"]["content"], content);
        for (conversation, title, body) in [(&world.chat, titles[0], bodies[0]), (&group, titles[1], bodies[1])] {
            world.bob.send(conversation, "secret").await;
            let push = expect_text(&world.phone, title, body).await;
            assert_eq!(content == "FULL", push.payload.to_string().contains("secret"));
            assert_eq!(push.payload["conversationId"], *conversation);
        }
    }
}

#[tokio::test]
async fn the_operator_limits_how_much_a_push_shows() {
    let world = World::with(&["--push-content=sender"]).await;
    set_name(&world.bob, "Bob").await;
    for (content, title) in [("FULL", "Bob"), ("SENDER", "Bob"), ("NOTHING", "Parlance")] {
        world.ada.set_notifications(json!({"content": content})).await.data();
        world.bob.send(&world.chat, "secret").await;
        let push = expect_text(&world.phone, title, "New message").await;
        assert!(!push.payload.to_string().contains("secret"), "{:#}", push.payload);
    }
}

/// The service refuses bodies of more than 4096 bytes.
#[tokio::test]
async fn long_texts_are_cut_between_characters() {
    let world = World::new().await;
    for character in ["a", "é", "中", "👍", "\"", "\\"] {
        let text = character.repeat(7000);
        world.bob.send(&world.chat, &text).await;
        let push = world.phone.expect("message").await;
        let body = push.text("body").strip_suffix('…').unwrap_or_else(|| panic!("{:#}", push.payload));
        assert!(!body.is_empty() && text.starts_with(body), "{body}");
    }
}

#[tokio::test]
async fn names_and_texts_cannot_forge_fields() {
    let world = World::new().await;
    set_name(&world.bob, "\",\"kind\":\"call").await;
    world.bob.send(&world.chat, "\"}\u{202e}{{ app_name }}").await;
    let push = world.phone.expect("message").await;
    assert_eq!(push.text("title"), "\",\"kind\":\"call");
    assert!(push.text("body").starts_with("\"}"), "{:#}", push.payload);
    assert!(push.text("body").contains("{{ app_name }}"), "{:#}", push.payload);
}

#[tokio::test]
async fn the_badge_is_the_number_of_unread_messages() {
    let world = World::new().await;
    let [group, muted, archived] = [
        world.bob.create_group("Group", &[&world.ada]).await,
        world.bob.create_group("Muted", &[&world.ada]).await,
        world.bob.create_group("Archived", &[&world.ada]).await,
    ];
    world.ada.set_membership(&muted, json!({"mutedUntil": "2999-01-01T00:00:00Z"})).await;
    world.ada.set_membership(&archived, json!({"archived": true})).await;
    let mut expected = 0;
    for (conversation, count) in [(&group, 1), (&world.chat, 1), (&group, 2), (&world.chat, 2), (&world.chat, 3)] {
        for silent in [&muted, &archived] {
            world.bob.send(silent, "not counted").await;
        }
        world.bob.send(conversation, "counted").await;
        expected += 1;
        let push = world.phone.expect("message").await;
        assert_eq!(push.payload["conversationId"], *conversation);
        assert_eq!((&push.payload["count"], &push.payload["badge"]), (&json!(count), &json!(expected)));
        assert_eq!(world.ada.unread_total().await, expected);
    }
    // A mention in an archived conversation notifies, and the badge is still the number that clients show.
    world.bob.send(&archived, &format!("@{}", world.ada.username)).await;
    let push = world.phone.expect("message").await;
    assert_eq!(push.payload["badge"], world.ada.unread_total().await);
}
