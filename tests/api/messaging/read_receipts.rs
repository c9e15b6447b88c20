//! The setting for read receipts: a viewer who has turned it off does not see how far other users have read.

use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, User};

async fn set(user: &User, on: bool) {
    let query = "mutation ($on: Boolean!) { updatePrivacy(input: {readReceipts: $on}) { viewer { id } } }";
    user.query(query, json!({"on": on})).await;
}

async fn deliver(user: &User, message: &Value) {
    let query = "mutation ($id: ID!) { markDelivered(input: {messageId: $id}) { conversation { id } } }";
    user.query(query, json!({"id": message["id"]})).await;
}

/// Returns the status of the newest message, and the sorted delivered and read numbers of all participants, as the
/// viewer sees them.
async fn status_and_positions(viewer: &User, group: &str) -> (Value, Vec<(i64, i64)>) {
    let query = "query ($id: ID!) { conversation(id: $id) {
        messages(last: 1) { nodes { status } }
        participants { nodes { lastDeliveredNumber lastReadNumber } }
    } }";
    let data = viewer.query(query, json!({"id": group})).await["conversation"].clone();
    let number = |node: &Value, field: &str| node[field].as_i64().unwrap();
    let nodes = data["participants"]["nodes"].as_array().unwrap();
    let marks = nodes.iter().map(|node| (number(node, "lastDeliveredNumber"), number(node, "lastReadNumber")));
    let mut marks: Vec<_> = marks.collect();
    marks.sort_unstable();
    (data["messages"]["nodes"][0]["status"].clone(), marks)
}

#[tokio::test]
async fn a_viewer_with_read_receipts_off_sees_deliveries_but_not_reads() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let group = ada.create_group("Hidden", &[&bob, &cem]).await;
    let (before, mut others) = (ada.inbox().await.cursor, cem.inbox().await);
    // The first inbox is opened before the setting changes, the second inbox after the change.
    let mut inboxes = vec![ada.inbox().await];
    set(&phone, false).await;
    inboxes.push(ada.inbox().await);
    let message = ada.send(&group, "hello").await;
    deliver(&bob, &message).await;
    bob.mark_read(&message).await.data();
    // A read receipt that also advances the delivered number is shown as a delivery.
    cem.mark_read(&message).await.data();
    ada.send(&group, "after").await;

    for inbox in &mut inboxes {
        assert_eq!(inbox.expect("MessageAdded").await["message"]["body"], "hello");
        for user in [&bob, &cem] {
            let participant = inbox.expect("ReceiptAdvanced").await["participant"].clone();
            assert_eq!(participant["user"]["id"], user.id.as_str());
            assert_eq!((&participant["lastDeliveredNumber"], &participant["lastReadNumber"]), (&json!(1), &json!(0)));
        }
        assert_eq!(inbox.expect("MessageAdded").await["message"]["body"], "after");
    }
    // A stream that resumes from a cursor gets the same events.
    let missed = ada.inbox_after(before.as_deref()).await.missed().await;
    let kinds: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["MessageAdded", "ReceiptAdvanced", "ReceiptAdvanced", "MessageAdded"]);
    assert!(missed[1..3].iter().all(|event| event["participant"]["lastReadNumber"] == 0), "{missed:#?}");
    // Participants with read receipts on see each other's positions.
    others.expect("MessageAdded").await;
    for (user, read) in [(&bob, None), (&bob, Some(1)), (&cem, Some(1))] {
        let participant = others.expect("ReceiptAdvanced").await["participant"].clone();
        assert_eq!(participant["user"]["id"], user.id.as_str());
        // The first event may be rendered after the second change.
        assert!(read.is_none_or(|read| participant["lastReadNumber"] == read), "{participant}");
    }
    let (status, marks) = status_and_positions(&ada, &group).await;
    assert_eq!((status, marks), (json!("SENT"), vec![(0, 0), (1, 0), (1, 0)]));
}

#[tokio::test]
async fn turning_read_receipts_on_again_shows_the_current_read_positions() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    set(&ada, false).await;
    let mut inbox = ada.inbox().await;
    let message = ada.send(&direct, "hello").await;
    deliver(&bob, &message).await;
    bob.mark_read(&message).await.data();
    assert_eq!(status_and_positions(&ada, &direct).await, (json!("DELIVERED"), vec![(0, 0), (1, 0)]));
    set(&ada, true).await;
    assert_eq!(status_and_positions(&ada, &direct).await, (json!("READ"), vec![(0, 0), (1, 1)]));
    // The open stream sends read positions again.
    let next = ada.send(&direct, "and now?").await;
    deliver(&bob, &next).await;
    bob.mark_read(&next).await.data();
    inbox.expect("MessageAdded").await;
    inbox.expect("ReceiptAdvanced").await;
    inbox.expect("MessageAdded").await;
    inbox.expect("ReceiptAdvanced").await;
    let participant = inbox.expect("ReceiptAdvanced").await["participant"].clone();
    assert_eq!((&participant["user"]["id"], &participant["lastReadNumber"]), (&json!(bob.id), &json!(2)));
}

#[tokio::test]
async fn the_unread_count_of_a_viewer_is_exact_with_read_receipts_off() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let direct = ada.open_direct(&bob).await;
    set(&ada, false).await;
    let message = bob.send(&direct, "hello").await;
    deliver(&ada, &message).await;
    let (mut own, mut other) = (phone.inbox().await, bob.inbox().await);
    assert_eq!(ada.unread(&direct).await, 1);
    ada.mark_read(&message).await.data();
    assert_eq!(ada.unread(&direct).await, 0);
    assert_eq!(own.next().await["__typename"], "MembershipUpdated", "the other device gets the new count");
    bob.send(&direct, "next").await;
    assert_eq!(other.next().await["__typename"], "MessageAdded", "the other user gets no read receipt");
}

/// Subscribers with the same document share cached renderings. A viewer who has turned read receipts off must not
/// receive older renderings that show read positions.
#[tokio::test]
async fn cached_renderings_do_not_show_reads_after_read_receipts_are_turned_off() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Shared", &[&bob, &cem]).await;
    let message = cem.send(&group, "hello").await;
    let before = ada.inbox().await.cursor;
    deliver(&cem, &message).await;
    cem.mark_read(&message).await.data();
    // These renderings are cached, and show the read position of cem.
    let mut others = bob.inbox_after(before.as_deref()).await;
    let shown = others.missed().await;
    assert_eq!(shown.len(), 2);
    assert!(shown.iter().all(|event| event["participant"]["lastReadNumber"] == 1), "{shown:#?}");
    set(&ada, false).await;
    // When this message is delivered, the tail of the node has passed the change of the setting.
    ada.send(&group, "after").await;
    others.message().await;
    let missed = ada.inbox_after(before.as_deref()).await.missed().await;
    let receipts: Vec<_> = missed.iter().filter(|event| event["__typename"] == "ReceiptAdvanced").collect();
    assert_eq!(receipts.len(), 1, "{missed:#?}");
    assert_eq!(receipts[0]["participant"]["lastReadNumber"], 0);
}
