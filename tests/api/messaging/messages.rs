//! Sending messages and reading them back.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::Node;

const PAGE: &str = "query ($id: ID!, $first: Int, $after: String, $last: Int, $before: String) {
    conversation(id: $id) { messages(first: $first, after: $after, last: $last, before: $before) {
        nodes { number } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    } }
}";

fn numbers(data: &Value) -> Vec<i64> {
    let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["number"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn a_message_is_stored_exactly_as_sent() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for (place, body) in ["hello", "  spaces kept \n", "👩‍👩‍👧 e\u{301} \u{202e}rtl", "' OR 1=1; --"].iter().enumerate()
    {
        let message = ada.send(&conversation, body).await;
        assert_eq!(message["body"], *body);
        assert_eq!(message["number"], place + 1);
        assert_eq!(message["kind"], "TEXT");
        assert_eq!(message["sender"]["id"], ada.id.as_str());
    }
    let query = "query ($id: ID!) { conversation(id: $id) { messages(first: 10) { nodes { body } } } }";
    let data = bob.query(query, json!({"id": conversation})).await;
    assert_eq!(data["conversation"]["messages"]["nodes"][2]["body"], "👩‍👩‍👧 e\u{301} \u{202e}rtl");
}

#[tokio::test]
async fn twenty_sends_with_one_client_id_create_one_message() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inbox = bob.inbox().await;
    let answers = join_all((0..20).map(|_| ada.try_send(&conversation, "once", Some("the-one")))).await;
    let messages: Vec<_> = answers.into_iter().map(|answer| answer.data()["sendMessage"]["message"].clone()).collect();
    assert!(messages.iter().all(|message| *message == messages[0]), "{messages:#?}");
    assert_eq!(messages[0]["number"], 1);

    // The next message gets the next number. Subscribers have received only one message before it.
    assert_eq!(ada.send(&conversation, "twice").await["number"], 2);
    assert_eq!(inbox.message().await["id"], messages[0]["id"]);
    assert_eq!(inbox.message().await["number"], 2);
    // Different senders can use the same clientId.
    let answer = bob.try_send(&conversation, "mine", Some("the-one")).await.data();
    assert_eq!(answer["sendMessage"]["message"]["number"], 3);
}

#[tokio::test]
async fn a_client_id_of_another_conversation_is_a_conflict() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let (here, there) = (ada.create_group("Here", &[]).await, ada.create_group("There", &[]).await);
    ada.try_send(&here, "first", Some("id")).await.data();
    let answer = ada.try_send(&there, "first", Some("id")).await;
    assert_eq!((answer.code(), answer.violations()), ("CONFLICT", vec!["clientId"]));

    // Two concurrent sends to two conversations with one `clientId`: one succeeds, the other is rejected, and the
    // numbers have no gap.
    for i in 0..5 {
        let id = format!("race-{i}");
        let both = join_all([&here, &there].map(|conversation| ada.try_send(conversation, "race", Some(&id)))).await;
        let refused: Vec<_> = both.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
        assert_eq!(refused.len(), 1, "{both:#?}");
        assert_eq!(refused[0].code(), "CONFLICT");
    }
    let (a, b) = (ada.send(&here, "last").await, ada.send(&there, "last").await);
    assert_eq!(a["number"].as_i64().unwrap() + b["number"].as_i64().unwrap(), 1 + 5 + 2);
}

#[tokio::test]
async fn two_hundred_concurrent_senders_get_the_numbers_1_to_200_in_one_order() {
    let node = Node::start().await;
    let senders = node.register_many(200).await;
    let group = senders[0].create_group("Crowd", &senders.iter().collect::<Vec<_>>()).await;
    let mut inboxes = Vec::new();
    for listener in [0, 1, 100, 199, 1] {
        inboxes.push(senders[listener].inbox().await);
    }
    let sent = join_all(senders.iter().map(|sender| sender.send(&group, "hello"))).await;
    let mut numbers: Vec<_> = sent.iter().map(|message| message["number"].as_i64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());

    let mut by_number: Vec<_> = sent.iter().collect();
    by_number.sort_by_key(|message| message["number"].as_i64());
    for inbox in &mut inboxes {
        for expected in &by_number {
            let heard = inbox.message().await;
            assert_eq!((&heard["number"], &heard["id"]), (&expected["number"], &expected["id"]));
        }
    }
}

#[tokio::test]
async fn messages_can_be_paged_in_both_directions() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Log", &[]).await;
    for i in 1..=7 {
        ada.send(&group, &format!("message {i}")).await;
    }
    let page = async |mut arguments: Value| {
        arguments["id"] = json!(group);
        ada.query(PAGE, arguments).await
    };
    let flags = |data: &Value| {
        let info = &data["conversation"]["messages"]["pageInfo"];
        (info["hasPreviousPage"].as_bool().unwrap(), info["hasNextPage"].as_bool().unwrap())
    };

    let data = page(json!({"last": 3})).await;
    assert_eq!((numbers(&data), flags(&data)), (vec![5, 6, 7], (true, false)));
    let before = data["conversation"]["messages"]["pageInfo"]["startCursor"].clone();
    let data = page(json!({"last": 3, "before": before})).await;
    assert_eq!((numbers(&data), flags(&data)), (vec![2, 3, 4], (true, true)));
    let before = data["conversation"]["messages"]["pageInfo"]["startCursor"].clone();
    let data = page(json!({"last": 3, "before": before})).await;
    assert_eq!((numbers(&data), flags(&data)), (vec![1], (false, true)));
    let before = data["conversation"]["messages"]["pageInfo"]["startCursor"].clone();
    let data = page(json!({"last": 3, "before": before})).await;
    assert_eq!((numbers(&data), flags(&data)), (vec![], (false, true)));

    let data = page(json!({"first": 4})).await;
    assert_eq!((numbers(&data), flags(&data)), (vec![1, 2, 3, 4], (false, true)));
    let after = data["conversation"]["messages"]["pageInfo"]["endCursor"].clone();
    let data = page(json!({"first": 4, "after": after})).await;
    assert_eq!((numbers(&data), flags(&data)), (vec![5, 6, 7], (true, false)));
    let end = data["conversation"]["messages"]["pageInfo"]["endCursor"].clone();
    let data = page(json!({"first": 4, "after": end})).await;
    assert_eq!((numbers(&data), flags(&data)), (vec![], (true, false)));
    // Paging can continue from the end cursor after new messages are sent.
    ada.send(&group, "message 8").await;
    assert_eq!(numbers(&page(json!({"first": 4, "after": end})).await), [8]);

    assert_eq!(numbers(&page(json!({})).await), (1..=8).collect::<Vec<_>>(), "the default is the newest messages");
    assert_eq!(numbers(&page(json!({"last": 2, "after": after})).await), [7, 8]);
    assert_eq!(numbers(&page(json!({"first": 2, "after": after, "before": end})).await), [5, 6]);
}

#[tokio::test]
async fn a_later_message_has_a_larger_revision() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Revisions", &[]).await;
    let (first, second) = (ada.send(&group, "one").await, ada.send(&group, "two").await);
    assert!(first["revision"].as_i64() < second["revision"].as_i64(), "{first} {second}");
}

/// Concurrent sends are stored in one batch, and each send gets a separate result.
#[tokio::test]
async fn a_failed_send_does_not_affect_other_sends_in_the_same_batch() {
    let node = Node::start().await;
    let (ada, stranger) = (node.register("ada").await, node.register("stranger").await);
    let (here, there) = (ada.create_group("Here", &[]).await, ada.create_group("There", &[]).await);
    ada.try_send(&there, "taken", Some("taken")).await.data();
    let answers = join_all((0..90).map(async |i| match i % 3 {
        0 => ada.try_send(&here, "fine", None).await,
        1 => stranger.try_send(&here, "not mine", None).await,
        _ => ada.try_send(&here, "taken elsewhere", Some("taken")).await,
    }))
    .await;
    let mut numbers = Vec::new();
    for (i, answer) in answers.iter().enumerate() {
        match i % 3 {
            0 => numbers.push(answer.clone().data()["sendMessage"]["message"]["number"].as_i64().unwrap()),
            1 => assert_eq!(answer.code(), "NOT_FOUND"),
            _ => assert_eq!((answer.code(), answer.violations()), ("CONFLICT", vec!["clientId"])),
        }
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
    assert_eq!(ada.unread(&here).await, 0);
}

#[tokio::test]
async fn a_full_write_queue_refuses_sends_and_loses_no_message() {
    let node = Node::build().flag("--write-queue=1").flag("--write-batch=1").start_alone().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Busy", &[]).await;
    let answers = join_all((0..100).map(|_| ada.try_send(&group, "hello", None))).await;
    let (stored, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.body.get("errors").is_none());
    assert!(refused.iter().all(|answer| answer.code() == "UNAVAILABLE"));
    assert!(!refused.is_empty(), "the queue was never full");
    let last = ada.send(&group, "last").await;
    assert_eq!(last["number"], stored.len() + 1);
}

#[tokio::test]
async fn a_message_can_reply_only_to_a_message_of_the_same_conversation() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (here, there) = (ada.create_group("Here", &[&bob]).await, ada.create_group("There", &[]).await);
    let (message, elsewhere) = (ada.send(&here, "question").await, ada.send(&there, "elsewhere").await);
    let answer = bob.reply(&here, &message, "answer").await.data()["sendMessage"]["message"].clone();
    assert_eq!(answer["replyTo"]["body"], "question");
    let answer = ada.reply(&here, &elsewhere, "of another").await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["replyToId"]));
    let unknown = json!({"id": elsewhere["id"].as_str().unwrap().replace("msg_0", "msg_1")});
    assert_eq!(ada.reply(&here, &unknown, "of none").await.violations(), ["replyToId"]);
    assert_eq!(ada.reply(&here, &json!({"id": here}), "of no message").await.violations(), ["replyToId"]);
    // A deleted message remains in `replyTo` as a tombstone. The rejected replies have not used a number.
    ada.delete(&message).await.data();
    let query =
        "query ($id: ID!) { conversation(id: $id) { messages { nodes { number replyTo { body deletedAt } } } } }";
    let nodes = bob.query(query, json!({"id": here})).await["conversation"]["messages"]["nodes"].clone();
    assert_eq!(nodes.as_array().unwrap().len(), 2);
    assert_eq!(nodes[1]["replyTo"]["body"], Value::Null);
    assert!(nodes[1]["replyTo"]["deletedAt"].is_string());
}
