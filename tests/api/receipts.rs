//! Receipts and unread counts.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::Node;

#[tokio::test]
async fn unread_counts_the_others_messages_after_the_last_one_read() {
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

    // An answer is not unread to its sender, and what came before it still is.
    bob.send(&conversation, "4").await;
    assert_eq!(bob.unread(&conversation).await, 1);
    ada.send(&conversation, "5").await;
    assert_eq!(bob.unread(&conversation).await, 2);
    assert_eq!(ada.unread(&conversation).await, 1);
    let data = bob.mark_read(&sent[2]).await.data();
    assert_eq!(data["markRead"]["conversation"]["viewerMembership"]["unreadCount"], 1);

    // Never back.
    let data = bob.mark_read(&sent[0]).await.data();
    let membership = &data["markRead"]["conversation"]["viewerMembership"];
    assert_eq!(*membership, json!({"unreadCount": 1, "lastReadMessage": {"number": 3}}));
    let data = bob.query("{ viewer { unreadCount } }", json!({})).await;
    assert_eq!(data["viewer"]["unreadCount"], 1);
}

#[tokio::test]
async fn unread_stays_exact_under_concurrent_sends_and_reads() {
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
async fn a_receipt_is_told_to_everybody_once() {
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
            // Rendered when it is read: the first event may show what the second tells of already.
            assert!(event["participant"]["lastReadNumber"].as_i64() >= Some(read), "{event}");
        }
        assert_eq!(inbox.next().await["message"]["body"], "done");
    }
}
