//! Delivery receipts, read receipts and unread counts.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Node, PATIENCE, within};

#[tokio::test]
async fn the_unread_count_includes_messages_of_others_after_the_last_read_one() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut sent = Vec::new();
    for body in ["1", "2", "3"] {
        sent.push(ada.send(&conversation, body).await);
    }
    assert_eq!(ada.unread(&conversation).await, 0, "own messages count as read");
    assert_eq!(bob.unread(&conversation).await, 3);

    let data = bob.mark_read(&sent[1]).await.data();
    let membership = &data["markRead"]["conversation"]["viewerMembership"];
    assert_eq!(*membership, json!({"unreadCount": 1, "lastReadMessage": {"number": 2}}));

    // A message that a user sends does not mark earlier messages as read, and is not unread for its sender.
    bob.send(&conversation, "4").await;
    assert_eq!(bob.unread(&conversation).await, 1);
    ada.send(&conversation, "5").await;
    assert_eq!(bob.unread(&conversation).await, 2);
    assert_eq!(ada.unread(&conversation).await, 1);
    let data = bob.mark_read(&sent[2]).await.data();
    assert_eq!(data["markRead"]["conversation"]["viewerMembership"]["unreadCount"], 1);

    // Marking an older message as read does not move the read position back.
    let data = bob.mark_read(&sent[0]).await.data();
    let membership = &data["markRead"]["conversation"]["viewerMembership"];
    assert_eq!(*membership, json!({"unreadCount": 1, "lastReadMessage": {"number": 3}}));
    let data = bob.query("{ viewer { unreadCount } }", json!({})).await;
    assert_eq!(data["viewer"]["unreadCount"], 1);
}

#[tokio::test]
async fn unread_counts_are_exact_under_concurrent_sends_and_reads() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let first = ada.send(&conversation, "first").await;
    let sends =
        join_all((0..60).map(|i| if i % 2 == 0 { ada.send(&conversation, "a") } else { bob.send(&conversation, "b") }));
    let reads = join_all((0..20).map(|_| bob.mark_read(&first)));
    let (sent, _) = tokio::join!(sends, reads);
    assert_eq!(bob.unread(&conversation).await, 30);

    let middle = sent.iter().find(|message| message["number"] == 31).unwrap();
    let (_, more) = tokio::join!(bob.mark_read(middle), join_all((0..20).map(|_| bob.send(&conversation, "b"))));
    assert_eq!(more.len(), 20);
    let theirs = sent.iter().filter(|message| message["number"].as_i64() > Some(31));
    let unread = theirs.filter(|message| message["sender"]["id"] == ada.id.as_str()).count();
    assert_eq!(bob.unread(&conversation).await, i64::try_from(unread).unwrap());
}

#[tokio::test]
async fn each_receipt_sends_one_event_to_each_participant() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "read me").await;
    let mut inboxes = [ada.inbox().await, bob.inbox().await];
    let delivered = "mutation ($id: ID!) { markDelivered(input: {messageId: $id}) { conversation { id } } }";
    bob.query(delivered, json!({"id": message["id"]})).await;
    for _ in 0..3 {
        bob.mark_read(&message).await.data();
    }
    ada.send(&conversation, "done").await;
    for inbox in &mut inboxes {
        for read in [0, 1] {
            let event = inbox.next().await;
            assert_eq!(event["__typename"], "ReceiptAdvanced");
            assert_eq!(event["conversation"]["id"], conversation.as_str());
            assert_eq!(event["participant"]["user"]["id"], bob.id.as_str());
            assert_eq!(event["participant"]["lastDeliveredNumber"], 1);
            // Events are rendered when they are delivered, so the first event may already show the read position.
            assert!(event["participant"]["lastReadNumber"].as_i64() >= Some(read), "{event}");
        }
        assert_eq!(inbox.next().await["message"]["body"], "done");
    }
}

/// Users concurrently send, read and receive messages in shared conversations. Asserts that afterwards all counts and
/// events are exact.
async fn receipts_add_up(node: &Node) {
    let users = node.register_many(8).await;
    let everybody: Vec<_> = users.iter().collect();
    let groups = join_all((0..3).map(|_| users[0].create_group("Group", &everybody[1..]))).await;
    let mut inbox = users[0].inbox().await;
    // The work for all pairs of a user and a group runs concurrently: the user sends messages, marks some as delivered
    // or read, and finally marks older messages as read again.
    let work = join_all(users.iter().flat_map(|user| groups.iter().map(move |group| (user, group))).map(
        async |(user, group)| {
            let mut sent = Vec::new();
            for round in 0..12 {
                let message = user.send(group, "hello").await;
                let number = message["number"].as_i64().unwrap();
                match round % 4 {
                    0 => user.query(DELIVERED, json!({"id": message["id"]})).await,
                    2 => {
                        let (read, _) = tokio::join!(user.mark_read(&message), user.send(group, "meanwhile"));
                        let membership = &read.data()["markRead"]["conversation"]["viewerMembership"];
                        assert!(membership["lastReadMessage"]["number"].as_i64() >= Some(number));
                        json!(null)
                    }
                    _ => json!(null),
                };
                sent.push(message);
            }
            // These concurrent `markRead` calls are for older messages, so they do not move the read position.
            join_all(sent[..7].iter().map(|message| user.mark_read(message))).await;
            (user, group, sent)
        },
    ))
    .await;

    let query = "query ($id: ID!) { conversation(id: $id) {
        messages(last: 100, before: $before) { nodes { number sender { id } } pageInfo { startCursor } }
        viewerMembership { unreadCount lastReadMessage { number } }
        participants(first: 20) { nodes { user { id } lastReadNumber lastDeliveredNumber } }
    } }"
    .replace("$id: ID!", "$id: ID!, $before: String");
    for (user, group, sent) in work {
        let number = |place: usize| sent[place]["number"].as_i64().unwrap();
        // Rounds 2, 6 and 10 mark as read. Rounds 0, 4 and 8 only mark as delivered.
        let read = number(10);
        let (mut messages, mut before) = (Vec::new(), json!(null));
        let mut data = Value::Null;
        for expected in [100, 8 * (12 + 3) - 100] {
            data = user.query(&query, json!({"id": group, "before": before})).await;
            let page = data["conversation"]["messages"]["nodes"].as_array().unwrap().clone();
            before = data["conversation"]["messages"]["pageInfo"]["startCursor"].clone();
            assert_eq!(page.len(), expected);
            messages.extend(page);
        }
        let unread = messages
            .iter()
            .filter(|message| message["number"].as_i64() > Some(read) && message["sender"]["id"] != user.id.as_str());
        let expected = json!({"unreadCount": unread.count(), "lastReadMessage": {"number": read}});
        assert_eq!(data["conversation"]["viewerMembership"], expected);
        let participants = data["conversation"]["participants"]["nodes"].as_array().unwrap();
        let own = participants.iter().find(|participant| participant["user"]["id"] == user.id.as_str()).unwrap();
        assert_eq!((own["lastReadNumber"].as_i64(), own["lastDeliveredNumber"].as_i64()), (Some(read), Some(read)));
    }

    // The inbox receives one event for each message, and one for each change of a position.
    users[0].create_group("The end", &[]).await;
    let (mut messages, mut receipts) = (0, std::collections::HashMap::<_, usize>::new());
    let read = async {
        loop {
            let event = inbox.next().await;
            match event["__typename"].as_str().unwrap() {
                "MessageAdded" => messages += 1,
                "ReceiptAdvanced" => {
                    let user = event["participant"]["user"]["id"].to_string();
                    *receipts.entry((event["conversation"]["id"].to_string(), user)).or_default() += 1;
                }
                "ConversationAdded" => break,
                other => panic!("{other}"),
            }
        }
    };
    within(4 * PATIENCE, "the event of the last group", read).await;
    assert_eq!(messages, 3 * 8 * (12 + 3));
    assert_eq!(receipts.len(), 3 * 8);
    // In each group every user advances the delivered number three times and the read number three times.
    assert!(receipts.values().all(|&count| count == 6), "{receipts:?}");
}

const DELIVERED: &str = "mutation ($id: ID!) { markDelivered(input: {messageId: $id}) { conversation { id } } }";

/// The test client answers pings only while it reads, and this test reads its inbox only at the end.
const NO_PINGS: &str = "--socket-ping-interval=3600";

#[tokio::test]
async fn receipts_and_unread_counts_are_exact_under_load() {
    receipts_add_up(&Node::build().flag(NO_PINGS).start_alone().await).await;
}

#[tokio::test]
async fn receipts_and_unread_counts_are_exact_with_several_writers() {
    let node = Node::build().flags(&[NO_PINGS, "--writers=4", "--write-batch=5"]).start_alone().await;
    receipts_add_up(&node).await;
}
