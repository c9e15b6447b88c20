//! Several messages of a conversation collapse, and the notification of a message that was read or deleted is removed.

use serde_json::{Value, json};

use super::World;
use crate::support::push::{Device, Received, Reply};

/// Waits for the push that removes the notification of a conversation.
async fn expect_dismissal(device: &Device, conversation: &str) -> Received {
    let push = device.expect("dismiss").await;
    assert_eq!(push.payload["conversationId"], conversation, "{:#}", push.payload);
    assert_eq!((&push.payload["title"], &push.payload["body"]), (&Value::Null, &Value::Null), "{:#}", push.payload);
    push
}

/// The notifier plans all messages in one batch.
#[tokio::test]
async fn messages_of_one_conversation_collapse_while_they_wait() {
    let world = World::new().await;
    let group = world.bob.create_group("Group", &[&world.ada]).await;
    let held = world.hold_notifier().await;
    for number in 1..=6 {
        world.bob.send(&world.chat, &format!("message {number}")).await;
    }
    world.bob.send(&group, "one message").await;
    held.release().await;
    let mut pushes = [world.phone.expect("message").await, world.phone.expect("message").await];
    pushes.sort_by_key(|push| push.payload["count"].as_i64());
    assert_eq!((pushes[0].text("conversationId"), &pushes[0].payload["count"]), (group.as_str(), &json!(1)));
    assert_eq!((pushes[1].text("conversationId"), &pushes[1].payload["count"]), (world.chat.as_str(), &json!(6)));
    assert_eq!(pushes[1].text("body"), "message 6");
    assert!(pushes.iter().all(|push| push.payload["badge"] == 7));
    assert_ne!(pushes[0].header("topic"), pushes[1].header("topic"));
    world.expect_silence().await;
}

#[tokio::test]
async fn messages_collapse_with_a_push_that_its_service_has_not_accepted() {
    let world = World::new().await;
    world.phone.reply(&[Reply::RetryAfter(503, 6)]);
    world.bob.send(&world.chat, "message 1").await;
    let first = world.phone.expect("message").await;
    for number in 2..=5 {
        world.bob.send(&world.chat, &format!("message {number}")).await;
    }
    // A new message may be sent at once or with the retry.
    let mut last = world.phone.expect("message").await;
    while last.text("body") != "message 5" {
        last = world.phone.expect("message").await;
    }
    assert_eq!(last.payload["count"], 5);
    assert_eq!(last.header("topic"), first.header("topic"), "a push replaces the former one at the service");
    world.expect_silence().await;
}

#[tokio::test]
async fn pushes_of_a_conversation_have_the_same_topic() {
    let world = World::new().await;
    let mut topics = Vec::new();
    for body in ["one", "two"] {
        world.bob.send(&world.chat, body).await;
        topics.push(world.phone.expect("message").await.header("topic").to_owned());
    }
    world.ada.mark_read(&world.bob.send(&world.chat, "three").await).await.data();
    let dismissal = loop {
        let push = world.phone.next().await;
        if push.payload["kind"] == "dismiss" {
            break push;
        }
    };
    topics.push(dismissal.header("topic").to_owned());
    assert!(topics.iter().all(|topic| *topic == topics[0]), "{topics:?}");
}

#[tokio::test]
async fn reading_on_one_device_removes_the_notification_on_the_others() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let tablet = world.laptop().await.browser(&world.service).await;
    let group = world.bob.create_group("Group", &[&world.ada]).await;
    world.bob.send(&group, "stays").await;
    let message = world.bob.send(&world.chat, "read").await;
    for device in [&world.phone, &tablet] {
        device.expect("message").await;
        device.expect("message").await;
    }
    laptop.mark_read(&message).await.data();
    for device in [&world.phone, &tablet] {
        let push = expect_dismissal(device, &world.chat).await;
        assert_eq!(push.payload["badge"], 1, "the message of the group is unread");
        assert_eq!(push.header("urgency"), "normal");
    }
    world.expect_silence().await;
    // No notification is left to remove.
    laptop.mark_read(&message).await.data();
    world.expect_silence().await;
    tablet.expect_none();
    world.expect_marker().await;
}

/// The notification shows the newest message, so it stays until this one is read.
#[tokio::test]
async fn reading_an_older_message_removes_no_notification() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let messages = [world.bob.send(&world.chat, "one").await, world.bob.send(&world.chat, "two").await];
    while world.phone.expect("message").await.text("body") != "two" {}
    world.node.pushes_settled().await;
    laptop.mark_read(&messages[0]).await.data();
    world.expect_silence().await;
    laptop.mark_read(&messages[1]).await.data();
    assert_eq!(expect_dismissal(&world.phone, &world.chat).await.payload["badge"], 0);
}

#[tokio::test]
async fn a_device_without_a_notification_gets_no_dismissal() {
    let world = World::new().await;
    world.ada.set_membership(&world.chat, json!({"notificationLevel": "NOTHING"})).await;
    let message = world.bob.send(&world.chat, "silent").await;
    world.ada.mark_read(&message).await.data();
    world.expect_silence().await;
    world.expect_marker().await;
}

#[tokio::test]
async fn a_message_that_is_deleted_for_everyone_or_for_oneself_disappears() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let message = world.bob.send(&world.chat, "for everyone").await;
    world.phone.expect("message").await;
    world.node.pushes_settled().await;
    world.bob.delete(&message).await.data();
    expect_dismissal(&world.phone, &world.chat).await;
    let message = world.bob.send(&world.chat, "for oneself").await;
    world.phone.expect("message").await;
    world.node.pushes_settled().await;
    laptop.hide(&message).await.data();
    assert_eq!(expect_dismissal(&world.phone, &world.chat).await.payload["badge"], 0);
    world.expect_silence().await;
}

#[tokio::test]
async fn an_expired_message_disappears() {
    let world = World::new().await;
    let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    let input = json!({"conversationId": world.chat, "body": "soon gone", "expiresIn": 3});
    world.bob.query(query, json!({"input": input})).await;
    assert_eq!(world.phone.expect("message").await.text("body"), "soon gone");
    expect_dismissal(&world.phone, &world.chat).await;
}

#[tokio::test]
async fn the_notification_of_a_group_disappears_when_the_user_is_removed() {
    let world = World::new().await;
    let group = world.bob.create_group("Group", &[&world.ada]).await;
    world.bob.send(&group, "hello").await;
    world.phone.expect("message").await;
    world.node.pushes_settled().await;
    world.bob.remove(&group, &world.ada).await.data();
    assert_eq!(expect_dismissal(&world.phone, &group).await.payload["badge"], 0);
}

/// The message is read before its dismissal is sent, and then a new one comes.
#[tokio::test]
async fn a_new_message_replaces_a_dismissal_that_waits() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let first = world.bob.send(&world.chat, "first").await;
    world.phone.expect("message").await;
    world.node.pushes_settled().await;
    let held = world.hold_notifier().await;
    laptop.mark_read(&first).await.data();
    world.bob.send(&world.chat, "second").await;
    held.release().await;
    let mut push = world.phone.next().await;
    if push.payload["kind"] == "dismiss" {
        push = world.phone.next().await;
    }
    assert_eq!((push.text("kind"), push.text("body")), ("message", "second"), "{:#}", push.payload);
    world.expect_silence().await;
}
