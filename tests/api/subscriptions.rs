//! Event streams: live events, resuming from a cursor, and queues that overflow.

use serde_json::{Value, json};

use crate::support::{Node, PATIENCE, Socket, within};

const MESSAGES: &str = "subscription ($id: ID, $after: String) { messageAdded(conversationId: $id, after: $after) {
    cursor message { body number }
} }";

async fn next_message(socket: &mut Socket, id: &str) -> Value {
    let message = socket.receive_of(id).await;
    assert_eq!(message["type"], "next", "{message:#}");
    message["payload"]["data"]["messageAdded"].clone()
}

#[tokio::test]
async fn an_inbox_starts_with_caught_up_and_delivers_events_in_order() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let mut inbox = bob.inbox().await;
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "hello").await;
    bob.mark_read(&message).await.data();

    let event = inbox.next().await;
    assert_eq!(
        (&event["__typename"], &event["conversation"]["id"]),
        (&json!("ConversationAdded"), &json!(conversation))
    );
    let event = inbox.next().await;
    assert_eq!(event["__typename"], "MessageAdded");
    assert_eq!(event["message"]["id"], message["id"]);
    assert_eq!(event["message"]["sender"]["id"], ada.id.as_str());
    assert_eq!(inbox.next().await["__typename"], "ReceiptAdvanced");
}

#[tokio::test]
async fn cursors_are_the_same_for_all_users() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inboxes = [ada.inbox().await, bob.inbox().await];
    ada.send(&conversation, "hello").await;
    let cursors = [inboxes[0].next().await["cursor"].clone(), inboxes[1].next().await["cursor"].clone()];
    assert_eq!(cursors[0], cursors[1]);
}

#[tokio::test]
async fn a_resumed_stream_delivers_exactly_the_missed_events() {
    let node = Node::build().flag("--catch-up-page=7").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let cursor = bob.cursor_after_message(&ada, &conversation).await;

    for i in 0..30 {
        ada.send(&conversation, &format!("missed {i}")).await;
    }
    let group = ada.create_group("Meanwhile", &[&bob]).await;
    ada.send(&group, "in the new group").await;

    let mut inbox = bob.inbox_after(cursor.as_deref()).await;
    let missed = inbox.missed().await;
    assert_eq!(missed.len(), 32);
    for (i, event) in missed[..30].iter().enumerate() {
        assert_eq!(event["message"]["body"], format!("missed {i}"));
    }
    assert_eq!(missed[30]["conversation"]["id"], group.as_str());
    assert_eq!(missed[31]["message"]["body"], "in the new group");
    ada.send(&conversation, "live").await;
    assert_eq!(inbox.message().await["body"], "live");

    // A stream that resumes from the same cursor again also delivers newer events.
    let again = bob.inbox_after(cursor.as_deref()).await.missed().await;
    assert_eq!(again[..32], missed);
    assert_eq!(again[32..].len(), 1);
    assert_eq!(again[32]["message"]["body"], "live");
}

/// Opens and closes streams while messages are sent. Each message is delivered once.
#[tokio::test]
async fn streams_opened_during_sends_lose_and_duplicate_nothing() {
    let node = Node::build().flag("--catch-up-page=5").flag("--tail-memory=16").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let start = bob.inbox().await.cursor;
    let sending = async {
        for i in 1..=150 {
            ada.send(&conversation, &i.to_string()).await;
        }
    };
    let listening = async {
        let (mut cursor, mut expected) = (start, 1);
        while expected <= 150 {
            let mut inbox = bob.inbox_after(cursor.as_deref()).await;
            for _ in 0..7 {
                let event = inbox.next().await;
                if event["__typename"] == "MessageAdded" {
                    assert_eq!(event["message"]["number"], expected);
                    expected += 1;
                    if expected > 150 {
                        break;
                    }
                }
            }
            cursor = inbox.cursor;
        }
    };
    tokio::join!(sending, within(4 * PATIENCE, "all messages arrive", listening));
}

/// If a client reads too slowly, the node drops the queue of its stream, and the stream reads the log.
#[tokio::test]
async fn a_stream_whose_queue_overflows_loses_nothing() {
    let node = Node::build().flag("--stream-queue=2").flag("--catch-up-page=3").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inbox = bob.inbox().await;
    let sends = futures_util::future::join_all((0..100).map(|_| ada.send(&conversation, "much")));
    sends.await;
    for number in 1..=100 {
        assert_eq!(inbox.message().await["number"], number);
    }
}

#[tokio::test]
async fn message_added_delivers_messages_of_one_conversation_or_of_all() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let other = ada.create_group("Other", &[&bob, &cem]).await;
    let group = ada.create_group("Group", &[&bob, &cem]).await;
    let (mut of_all, mut of_one) = (bob.socket().await, cem.socket().await);
    of_all.subscribe("all", MESSAGES, json!({})).await;
    of_one.subscribe("one", MESSAGES, json!({"id": group})).await;
    for user in [&bob, &cem] {
        node.subscription_is_live(user, &group).await;
    }
    ada.send(&other, "1").await;
    let first = ada.send(&group, "2").await;
    assert_eq!(first["number"], 1);
    assert_eq!(next_message(&mut of_all, "all").await["message"]["body"], "1");
    let all = next_message(&mut of_all, "all").await;
    let one = next_message(&mut of_one, "one").await;
    assert_eq!(all, one);

    ada.send(&group, "3").await;
    let mut again = bob.socket().await;
    again.subscribe("resumed", MESSAGES, json!({"id": group, "after": one["cursor"]})).await;
    assert_eq!(next_message(&mut again, "resumed").await["message"]["body"], "3");
}

#[tokio::test]
async fn a_cursor_of_another_log_requires_a_resync() {
    let (here, there) = (Node::start().await, Node::start().await);
    let (ada, eve) = (here.register("ada").await, there.register("eve").await);
    let foreign = eve.inbox().await.cursor.unwrap();
    let mut inbox = ada.inbox_after(Some(&foreign)).await;
    let resync = inbox.next().await;
    assert_eq!(resync["__typename"], "ResyncRequired");
    let caught_up = inbox.next().await;
    assert_eq!((&caught_up["__typename"], &caught_up["cursor"]), (&json!("CaughtUp"), &resync["cursor"]));
    // The stream is then live, and a stream can resume from the cursor of the resync.
    let group = ada.create_group("After", &[]).await;
    assert_eq!(inbox.next().await["conversation"]["id"], group.as_str());
    let missed = ada.inbox_after(resync["cursor"].as_str()).await.missed().await;
    assert_eq!(missed.len(), 1);

    // A cursor can be beyond the head of the log if Postgres was restored from an old backup.
    let future = parlance::log::Cursor { seq: i64::MAX, ..here.app.log().position() }.to_string();
    assert_eq!(ada.inbox_after(Some(&future)).await.next().await["__typename"], "ResyncRequired");

    let mut socket = ada.socket().await;
    socket.subscribe("messages", MESSAGES, json!({"after": foreign})).await;
    let message = socket.receive_of("messages").await;
    assert_eq!(
        (&message["type"], &message["payload"][0]["extensions"]["code"]),
        (&json!("error"), &json!("BAD_USER_INPUT"))
    );
    assert_eq!(message["payload"][0]["extensions"]["violations"][0]["path"], "after");
}

#[tokio::test]
async fn a_malformed_cursor_is_bad_user_input() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut socket = ada.socket().await;
    for cursor in ["", "nonsense", "AAAA", "_________________________w", &"A".repeat(200)] {
        for query in [MESSAGES, "subscription ($after: String) { inbox(after: $after) { __typename } }"] {
            socket.subscribe("x", query, json!({"after": cursor})).await;
            let message = socket.receive_of("x").await;
            assert_eq!(message["type"], "error", "{cursor}: {message}");
            assert_eq!(message["payload"][0]["extensions"]["code"], "BAD_USER_INPUT");
            assert_eq!(message["payload"][0]["extensions"]["violations"][0]["path"], "after");
        }
    }
}
