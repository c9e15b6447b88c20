//! Whom a message notifies, and whom it does not.

use chrono::TimeDelta;
use parlance::clock::Clock;
use serde_json::json;

use super::World;
use crate::support::push::{Device, PushService, Reply};
use crate::support::{Node, PASSWORD, User, eventually};

const FOREVER: &str = "2999-01-01T00:00:00Z";

async fn block(user: &User, other: &User) {
    let query = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    user.query(query, json!({"id": other.id})).await;
}

async fn expect_body(device: &Device, body: &str) {
    let push = device.expect("message").await;
    assert!(push.text("body").ends_with(body), "{:#}", push.payload);
}

#[tokio::test]
async fn each_other_participant_is_notified_and_not_the_sender() {
    let world = World::new().await;
    let cem = world.node.register("cem").await;
    let (hers, his) = (cem.browser(&world.service).await, world.bob.browser(&world.service).await);
    let group = world.bob.create_group("Group", &[&world.ada, &cem]).await;
    world.bob.send(&group, "from bob").await;
    for device in [&world.phone, &hers] {
        expect_body(device, "from bob").await;
    }
    world.ada.send(&group, "from ada").await;
    for device in [&his, &hers] {
        expect_body(device, "from ada").await;
    }
    world.expect_silence().await;
    hers.expect_none();
    his.expect_none();
    assert_eq!((world.phone.total(), hers.total(), his.total()), (1, 2, 1));
}

#[tokio::test]
async fn a_muted_conversation_is_silent_until_it_is_unmuted() {
    let world = World::new().await;
    world.ada.set_membership(&world.chat, json!({"mutedUntil": FOREVER})).await;
    world.bob.send(&world.chat, "too loud").await;
    world.bob.send(&world.chat, &format!("@{}!", world.ada.username)).await;
    world.expect_silence().await;
    world.expect_marker().await;
    world.ada.set_membership(&world.chat, json!({"mutedUntil": null})).await;
    world.bob.send(&world.chat, "again").await;
    expect_body(&world.phone, "again").await;
    world.ada.set_membership(&world.chat, json!({"mutedUntil": "2020-01-01T00:00:00Z"})).await;
    world.bob.send(&world.chat, "the time is over").await;
    expect_body(&world.phone, "the time is over").await;
}

/// The message is planned before the conversation is muted, and its service does not accept it at first. The device may
/// show it nevertheless, so a dismissal replaces it.
#[tokio::test]
async fn a_waiting_push_is_not_sent_after_its_conversation_is_muted() {
    let world = World::new().await;
    world.phone.reply(&[Reply::RetryAfter(503, 3)]);
    world.bob.send(&world.chat, "hello").await;
    expect_body(&world.phone, "hello").await;
    world.ada.set_membership(&world.chat, json!({"mutedUntil": FOREVER})).await;
    world.expect_only_dismissals().await;
    world.expect_marker().await;
}

#[tokio::test]
async fn an_archived_conversation_notifies_only_by_mentions() {
    let world = World::new().await;
    let group = world.bob.create_group("Archived", &[&world.ada]).await;
    world.ada.set_membership(&group, json!({"archived": true})).await;
    world.bob.send(&group, "not important").await;
    world.expect_silence().await;
    world.bob.send(&group, &format!("@{} important", world.ada.username)).await;
    expect_body(&world.phone, "important").await;
    world.bob.send(&group, "@all listen").await;
    expect_body(&world.phone, "listen").await;
}

#[tokio::test]
async fn the_level_mentions_notifies_only_by_mentions() {
    let world = World::new().await;
    let cem = world.node.register("cem").await;
    let group = world.bob.create_group("Busy", &[&world.ada, &cem]).await;
    world.ada.set_membership(&group, json!({"notificationLevel": "MENTIONS"})).await;
    world.bob.send(&group, "chatter").await;
    world.bob.send(&group, &format!("@{} not for ada", cem.username)).await;
    world.expect_silence().await;
    world.bob.send(&group, &format!("@{} for ada", world.ada.username)).await;
    expect_body(&world.phone, "for ada").await;
    world.bob.send(&group, "for @all").await;
    expect_body(&world.phone, "for @all").await;
    // The mention is still unread. A later message without a mention notifies nobody.
    world.bob.send(&group, "more chatter").await;
    world.expect_silence().await;
    world.ada.set_membership(&group, json!({"notificationLevel": "ALL"})).await;
    world.bob.send(&group, "for everyone").await;
    expect_body(&world.phone, "for everyone").await;
}

#[tokio::test]
async fn the_level_nothing_is_silent() {
    let world = World::new().await;
    world.ada.set_membership(&world.chat, json!({"notificationLevel": "NOTHING"})).await;
    world.bob.send(&world.chat, &format!("@{} @all", world.ada.username)).await;
    world.expect_silence().await;
    world.expect_marker().await;
}

#[tokio::test]
async fn a_blocked_sender_notifies_nobody_who_blocks_them() {
    let world = World::new().await;
    let cem = world.node.register("cem").await;
    let group = cem.create_group("Group", &[&world.ada, &world.bob]).await;
    block(&world.ada, &world.bob).await;
    world.bob.send(&group, &format!("@{} hello", world.ada.username)).await;
    world.bob.try_send(&world.chat, "hello", None).await;
    world.expect_silence().await;
    cem.send(&group, "hello from cem").await;
    let push = world.phone.expect("message").await;
    assert!(push.text("body").ends_with("hello from cem"), "{:#}", push.payload);
    // The other participants see the message in the group, and so does Ada. It counts, as in the list of conversations.
    assert_eq!(push.payload["count"], 2);
}

/// Hidden messages, and messages of conversations that the user has left, notify nobody either. The lock of the
/// notifier lets the test choose what happens between a message and its plan.
#[tokio::test]
async fn a_message_that_was_read_or_deleted_before_it_is_planned_notifies_nobody() {
    let world = World::new().await;
    let [read, deleted, hidden, left] = [
        world.bob.create_group("Read", &[&world.ada]).await,
        world.bob.create_group("Deleted", &[&world.ada]).await,
        world.bob.create_group("Hidden", &[&world.ada]).await,
        world.bob.create_group("Left", &[&world.ada]).await,
    ];
    let held = world.hold_notifier().await;
    let message = world.bob.send(&read, "read").await;
    world.ada.mark_read(&message).await.data();
    let message = world.bob.send(&deleted, "deleted").await;
    world.bob.delete(&message).await.data();
    let message = world.bob.send(&hidden, "hidden").await;
    world.ada.hide(&message).await.data();
    world.bob.send(&left, "left").await;
    world.ada.leave(&left).await.data();
    held.release().await;
    world.expect_silence().await;
    world.expect_marker().await;
}

/// The service does not accept the pushes at first, but the device may show them nevertheless.
#[tokio::test]
async fn a_message_that_was_read_or_deleted_before_it_is_sent_again_is_not_sent() {
    let world = World::new().await;
    let groups = [
        world.bob.create_group("Read", &[&world.ada]).await,
        world.bob.create_group("Deleted", &[&world.ada]).await,
        world.bob.create_group("Hidden", &[&world.ada]).await,
        world.bob.create_group("Left", &[&world.ada]).await,
    ];
    let mut messages = Vec::new();
    for group in &groups {
        world.phone.reply(&[Reply::RetryAfter(503, 6)]);
        messages.push(world.bob.send(group, "soon gone").await);
        assert_eq!(world.phone.expect("message").await.status, Some(503));
    }
    world.ada.mark_read(&messages[0]).await.data();
    world.bob.delete(&messages[1]).await.data();
    world.ada.hide(&messages[2]).await.data();
    world.ada.leave(&groups[3]).await.data();
    world.expect_only_dismissals().await;
    world.expect_marker().await;
}

#[tokio::test]
async fn an_expired_message_is_not_sent() {
    let world = World::new().await;
    let held = world.hold_notifier().await;
    let query = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
    let input = json!({"conversationId": world.chat, "body": "soon gone", "expiresIn": 1});
    let message = world.bob.query(query, json!({"input": input})).await["sendMessage"]["message"].clone();
    eventually("the message is expired", async || {
        let query = "query ($id: ID!) { node(id: $id) { ... on Message { deletedAt } } }";
        world.bob.query(query, json!({"id": message["id"]})).await["node"]["deletedAt"].is_string()
    })
    .await;
    held.release().await;
    world.expect_silence().await;
    world.expect_marker().await;
}

#[tokio::test]
async fn users_who_join_later_and_users_who_were_removed_are_not_notified() {
    let world = World::new().await;
    let cem = world.node.register("cem").await;
    let browser = cem.browser(&world.service).await;
    let group = world.bob.create_group("Group", &[&world.ada]).await;
    let held = world.hold_notifier().await;
    world.bob.send(&group, "before").await;
    world.bob.add_participants(&group, &[&cem]).await.data();
    world.bob.remove(&group, &world.ada).await.data();
    held.release().await;
    world.expect_silence().await;
    browser.expect_none();
    world.bob.send(&group, "after").await;
    expect_body(&browser, "after").await;
    world.expect_silence().await;
}

/// Neither the creation of a group, nor its changes, nor pins, reactions and edits notify anybody.
#[tokio::test]
async fn changes_that_are_no_new_messages_notify_nobody() {
    let world = World::new().await;
    let held = world.hold_notifier().await;
    let group = world.bob.create_group("Quiet", &[&world.ada]).await;
    world.bob.update_group(&group, json!({"title": "Very quiet", "topic": "Silence"})).await.data();
    let cem = world.node.register("cem").await;
    world.bob.add_participants(&group, &[&cem]).await.data();
    let message = world.ada.send(&group, "mine").await;
    let change = "mutation ($id: ID!) {
        addReaction(input: {messageId: $id, emoji: \"👍\"}) { message { id } }
        pinMessage(input: {messageId: $id}) { message { id } }
    }";
    world.bob.query(change, json!({"id": message["id"]})).await;
    held.release().await;
    world.expect_silence().await;
    world.expect_marker().await;
}

#[tokio::test]
async fn a_forwarded_message_and_a_scheduled_one_notify_as_others_do() {
    let world = World::new().await;
    let group = world.bob.create_group("Source", &[]).await;
    let message = world.bob.send(&group, "forwarded").await;
    world.bob.forward(&message, &world.chat).await.data();
    expect_body(&world.phone, "forwarded").await;
    let query = "mutation ($input: ScheduleMessageInput!) { scheduleMessage(input: $input) { __typename } }";
    let at = Clock::system().now() + TimeDelta::days(1);
    let input = json!({"conversationId": world.chat, "body": "scheduled", "sendAt": at});
    world.bob.query(query, json!({"input": input})).await;
    world.expect_silence().await;
    world.database.make_scheduled_messages_due().await;
    expect_body(&world.phone, "scheduled").await;
}

#[tokio::test]
async fn all_devices_of_a_user_are_notified() {
    let node = Node::pushing().start_alone().await;
    let service = PushService::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let chat = ada.open_direct(&bob).await;
    let mut devices = Vec::new();
    for _ in 0..3 {
        let session = User::login(&node, &ada.username, PASSWORD).await;
        devices.push(session.browser(&service).await);
        devices.push(session.unified_push(&service).await);
    }
    bob.send(&chat, "to all").await;
    for device in &devices {
        expect_body(device, "to all").await;
    }
    node.pushes_settled().await;
    assert!(devices.iter().all(|device| device.total() == 1));
}
