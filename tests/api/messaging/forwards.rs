//! Forwarding messages.

use serde_json::{Value, json};

use crate::support::Node;

const FORWARD: &str = "mutation ($input: ForwardMessagesInput!) { forwardMessages(input: $input) {
    messages { number body forwarded kind sender { id } conversation { id } }
} }";

#[tokio::test]
async fn messages_are_forwarded_to_several_conversations_in_order() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let from = ada.create_group("From", &[&bob]).await;
    let (group, direct) = (bob.create_group("To", &[]).await, ada.open_direct(&bob).await);
    let (one, two) = (ada.send(&from, "one").await, ada.send(&from, "two").await);
    let mut inbox = ada.inbox().await;
    let input = json!({"messageIds": [two["id"], one["id"], two["id"]], "conversationIds": [group, direct]});
    let sent = bob.query(FORWARD, json!({"input": input})).await["forwardMessages"]["messages"].clone();
    let expected = [(&group, 1, "two"), (&group, 2, "one"), (&direct, 1, "two"), (&direct, 2, "one")];
    assert_eq!(sent.as_array().unwrap().len(), expected.len());
    for (message, (conversation, number, body)) in sent.as_array().unwrap().iter().zip(expected) {
        let copy = json!({"number": number, "body": body, "forwarded": true, "kind": "TEXT",
            "sender": {"id": bob.id}, "conversation": {"id": conversation}});
        assert_eq!(*message, copy);
    }
    for body in ["two", "one"] {
        assert_eq!(inbox.expect("MessageAdded").await["message"]["body"], body);
    }
}

#[tokio::test]
async fn a_forward_with_any_invalid_message_or_target_forwards_nothing() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (mine, theirs) = (ada.create_group("Mine", &[]).await, bob.create_group("Theirs", &[]).await);
    let (message, secret) = (ada.send(&mine, "one").await, bob.send(&theirs, "secret").await);
    let gone = ada.send(&mine, "gone").await;
    ada.delete(&gone).await.data();
    let forward = async |messages: Value, conversations: Value| {
        ada.call(FORWARD, json!({"input": {"messageIds": messages, "conversationIds": conversations}})).await
    };
    assert_eq!(forward(json!([message["id"]]), json!([mine, theirs])).await.code(), "NOT_FOUND");
    assert_eq!(forward(json!([message["id"], secret["id"]]), json!([mine])).await.code(), "NOT_FOUND");
    assert_eq!(forward(json!([message["id"], gone["id"]]), json!([mine])).await.violations(), ["messageIds.1"]);
    assert_eq!(forward(json!([]), json!([])).await.violations(), ["messageIds", "conversationIds"]);
    assert_eq!(forward(json!(["x"]), json!([mine])).await.violations(), ["messageIds.0"]);
    let many = |prefix: &str, count: usize| -> Value {
        (0..count).map(|place| format!("{prefix}_{place:026}")).collect::<Vec<_>>().into()
    };
    let answer = forward(many("msg", 101), many("cnv", 21)).await;
    assert_eq!(answer.violations(), ["messageIds", "conversationIds"]);
    assert_eq!(ada.numbers_in(&mine).await, [1, 2]);
}
