//! Scheduled messages are sent on time and once, even if nodes die. Only their sender sees them.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use parlance::clock::Clock;
use serde_json::{Value, json};

use super::ALLOWANCE;
use crate::support::{Answer, Node, PASSWORD, TestDatabase, User, eventually};

/// Maximum time after `sendAt` until a scheduled message is sent.
const PROMISED: TimeDelta = TimeDelta::seconds(1);

/// Time after which a message of a test is sent. Long enough for a loaded machine to do what must happen before.
const SOON: TimeDelta = TimeDelta::seconds(5);

fn now() -> DateTime<Utc> {
    Clock::system().now()
}

async fn try_schedule(user: &User, conversation: &str, body: &str, at: DateTime<Utc>) -> Answer {
    let query = "mutation ($input: ScheduleMessageInput!) { scheduleMessage(input: $input) {
        scheduledMessage { id body sendAt conversation { id } }
    } }";
    user.call(query, json!({"input": {"conversationId": conversation, "body": body, "sendAt": at}})).await
}

async fn schedule(user: &User, conversation: &str, body: &str, after: TimeDelta) -> Value {
    let answer = try_schedule(user, conversation, body, now() + after).await.data();
    answer["scheduleMessage"]["scheduledMessage"].clone()
}

async fn cancel(user: &User, id: &Value) -> Answer {
    let query =
        "mutation ($id: ID!) { cancelScheduledMessage(input: {scheduledMessageId: $id}) { scheduledMessageId } }";
    user.call(query, json!({"id": id})).await
}

async fn pending(user: &User) -> Vec<Value> {
    let data = user.query("{ viewer { scheduledMessages { nodes { id body } } } }", json!({})).await;
    data["viewer"]["scheduledMessages"]["nodes"].as_array().unwrap().clone()
}

async fn bodies(user: &User, conversation: &str) -> Vec<String> {
    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 100) { nodes { body } } } }";
    let data = user.query(query, json!({"id": conversation})).await;
    let nodes = data["conversation"]["messages"]["nodes"].as_array().unwrap().clone();
    nodes.iter().filter_map(|node| node["body"].as_str()).map(ToOwned::to_owned).collect()
}

#[tokio::test]
async fn a_scheduled_message_is_sent_on_time_and_all_devices_are_notified() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let conversation = ada.open_direct(&bob).await;
    let (mut other, mut own) = (bob.inbox().await, phone.inbox().await);
    let at = (now() + SOON).trunc_subsecs(6);
    let body = format!("good morning, @{}", bob.username);
    let answer = try_schedule(&ada, &conversation, &body, at).await.data();
    let scheduled = &answer["scheduleMessage"]["scheduledMessage"];
    assert_eq!(scheduled["body"], body.as_str());
    assert_eq!(scheduled["conversation"]["id"], conversation.as_str());
    assert_eq!(scheduled["sendAt"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap(), at);
    assert_eq!(own.next().await["__typename"], "MembershipUpdated");
    assert_eq!(pending(&phone).await.len(), 1);

    let message = other.message().await;
    // The arrival of the event is not measured, because a loaded machine delays it.
    let query = "query ($id: ID!) { node(id: $id) { ... on Message { createdAt } } }";
    let sent = bob.query(query, json!({"id": message["id"]})).await["node"]["createdAt"].clone();
    let late = sent.as_str().unwrap().parse::<DateTime<Utc>>().unwrap() - at;
    assert!(late >= TimeDelta::zero() && late < PROMISED + ALLOWANCE, "{late}");
    assert_eq!(message["body"], body.as_str());
    assert_eq!(own.message().await["clientId"], scheduled["id"]);
    assert_eq!(own.next().await["__typename"], "MembershipUpdated");
    assert_eq!(pending(&phone).await.len(), 0);
    assert_eq!(cancel(&ada, &scheduled["id"]).await.code(), "NOT_FOUND");
    let query = "query ($id: ID!) { conversation(id: $id) { viewerMembership { unreadCount unreadMentionCount } } }";
    let data = bob.query(query, json!({"id": conversation})).await;
    let expected = json!({"unreadCount": 1, "unreadMentionCount": 1});
    assert_eq!(data["conversation"]["viewerMembership"], expected);
}

#[tokio::test]
async fn only_the_sender_can_cancel_a_scheduled_message() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let conversation = ada.open_direct(&bob).await;
    let kept = schedule(&ada, &conversation, "kept", TimeDelta::hours(2)).await;
    let gone = schedule(&ada, &conversation, "gone", SOON).await;
    let query = "query ($id: ID!) { node(id: $id) { __typename ... on ScheduledMessage { body sendAt } } }";
    assert_eq!(ada.query(query, json!({"id": gone["id"]})).await["node"]["body"], "gone");
    assert_eq!(bob.query(query, json!({"id": gone["id"]})).await["node"], Value::Null);
    assert_eq!(cancel(&bob, &gone["id"]).await.code(), "NOT_FOUND");
    assert_eq!(pending(&bob).await.len(), 0);
    let listed = pending(&ada).await;
    assert_eq!(listed.iter().map(|node| &node["body"]).collect::<Vec<_>>(), ["gone", "kept"], "sorted by time");

    let mut inbox = ada.inbox().await;
    assert_eq!(cancel(&phone, &gone["id"]).await.data()["cancelScheduledMessage"]["scheduledMessageId"], gone["id"]);
    assert_eq!(inbox.next().await["__typename"], "MembershipUpdated");
    assert_eq!(cancel(&phone, &gone["id"]).await.code(), "NOT_FOUND");
    assert_eq!(pending(&ada).await, [json!({"id": kept["id"], "body": "kept"})]);
    // This message is sent after the time at which the cancelled message would have been sent.
    schedule(&ada, &conversation, "later", SOON).await;
    assert_eq!(inbox.message().await["body"], "later");
    assert_eq!(bodies(&bob, &conversation).await, ["later"]);
    assert_eq!(cancel(&ada, &json!("sch_x")).await.violations(), ["scheduledMessageId"]);
}

#[tokio::test]
async fn invalid_messages_cannot_be_scheduled() {
    let node = Node::build().flag("--max-message-length=10").start_alone().await;
    let (ada, eve) = (node.register("ada").await, node.register("eve").await);
    let group = ada.create_group("Rules", &[]).await;
    let soon = now() + TimeDelta::hours(1);
    for (body, at, path) in [
        (" ", soon, "body"),
        ("far too long", soon, "body"),
        ("nul\0", soon, "body"),
        ("past", now() - TimeDelta::seconds(1), "sendAt"),
        ("far", now() + TimeDelta::days(366), "sendAt"),
    ] {
        assert_eq!(try_schedule(&ada, &group, body, at).await.violations(), [path], "{body}");
    }
    assert_eq!(try_schedule(&eve, &group, "mine?", soon).await.code(), "NOT_FOUND");
    assert_eq!(try_schedule(&ada, "cnv_x", "where?", soon).await.violations(), ["conversationId"]);

    // A user can have a hundred scheduled messages. Concurrent requests do not exceed the limit.
    let answers = join_all((0..105).map(|_| try_schedule(&ada, &group, "one", soon))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert_eq!(refused.len(), 5);
    assert_eq!(refused[0].violations(), ["conversationId"]);
    let query = "query ($after: String) { viewer { scheduledMessages(first: 60, after: $after) {
        nodes { id } pageInfo { hasNextPage endCursor }
    } } }";
    let first = ada.query(query, json!({})).await["viewer"]["scheduledMessages"].clone();
    let second = ada.query(query, json!({"after": first["pageInfo"]["endCursor"]})).await;
    let second = &second["viewer"]["scheduledMessages"];
    let ids =
        |page: &Value| page["nodes"].as_array().unwrap().iter().map(|node| node["id"].clone()).collect::<Vec<_>>();
    assert_eq!((ids(&first).len(), ids(second).len()), (60, 40));
    assert!(ids(&first).iter().all(|id| !ids(second).contains(id)));
    assert_eq!((&first["pageInfo"]["hasNextPage"], &second["pageInfo"]["hasNextPage"]), (&json!(true), &json!(false)));
}

#[tokio::test]
async fn scheduled_messages_are_deleted_when_the_sender_leaves_the_conversation() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Leaving", &[&bob]).await;
    let scheduled = schedule(&bob, &group, "too late", SOON).await;
    let leave = "mutation ($id: ID!) { leaveConversation(input: {conversationId: $id}) { conversationId } }";
    bob.query(leave, json!({"id": group})).await;
    assert_eq!(pending(&bob).await.len(), 0);
    assert_eq!(cancel(&bob, &scheduled["id"]).await.code(), "NOT_FOUND");
    let mut inbox = ada.inbox().await;
    schedule(&ada, &group, "on time", SOON).await;
    assert_eq!(inbox.message().await["body"], "on time");
    assert_eq!(bodies(&ada, &group).await, ["on time"]);
}

#[tokio::test]
async fn several_nodes_send_each_scheduled_message_once_even_if_some_nodes_stop() {
    const MESSAGES: usize = 60;
    let database = TestDatabase::new().await;
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::build().start_on(&database).await);
    }
    let ada = nodes[2].register("ada").await;
    let groups = [ada.create_group("One", &[]).await, ada.create_group("Two", &[]).await];
    let begin = now() + SOON;
    let answers = join_all((0..MESSAGES).map(|i| {
        let at = begin + TimeDelta::milliseconds(i64::try_from(i * 20).unwrap());
        let ada = ada.on(&nodes[i % 2]);
        let group = &groups[i % 2];
        async move { try_schedule(&ada, group, &format!("{i}"), at).await }
    }))
    .await;
    for answer in answers {
        answer.data();
    }
    // The nodes that scheduled the messages stop while messages are due.
    let sent = async || bodies(&ada, &groups[0]).await.len() + bodies(&ada, &groups[1]).await.len();
    eventually("some messages are sent", async || sent().await > 5).await;
    drop(nodes.remove(0));
    eventually("more messages are sent", async || sent().await > 20).await;
    drop(nodes.remove(0));
    eventually("all messages are sent", async || pending(&ada).await.is_empty()).await;
    let mut sent = [bodies(&ada, &groups[0]).await, bodies(&ada, &groups[1]).await].concat();
    sent.sort_by_key(|body| body.parse::<usize>().unwrap());
    assert_eq!(sent, (0..MESSAGES).map(|i| i.to_string()).collect::<Vec<_>>());
    let query = "{ viewer { conversations { nodes { messages(last: 100) { nodes { body createdAt } } } } } }";
    let data = ada.query(query, json!({})).await;
    let late = data["viewer"]["conversations"]["nodes"].as_array().unwrap().iter().flat_map(|conversation| {
        conversation["messages"]["nodes"].as_array().unwrap().iter().map(|message| {
            let i: i64 = message["body"].as_str().unwrap().parse().unwrap();
            let at: DateTime<Utc> = message["createdAt"].as_str().unwrap().parse().unwrap();
            at - (begin + TimeDelta::milliseconds(i * 20))
        })
    });
    let mut late: Vec<_> = late.collect();
    late.sort();
    // According to the times in Postgres, no message is sent too early. Two nodes end meanwhile, and one process runs
    // all of them, so the latest message may need longer.
    assert!(late[0] >= TimeDelta::zero() && late[MESSAGES - 1] < TimeDelta::seconds(10), "{late:?}");
    assert!(late[MESSAGES / 2] < PROMISED + ALLOWANCE, "{late:?}");
}

/// A node dies during the transaction that sends a message. Another node sends the message.
#[tokio::test]
async fn a_scheduled_message_is_sent_by_another_node_when_the_sending_node_dies() {
    let database = TestDatabase::new().await;
    let dying = Node::build().start_on(&database).await;
    let ada = dying.register("ada").await;
    let group = ada.create_group("Relay", &[]).await;
    schedule(&ada, &group, "once", TimeDelta::hours(1)).await;
    // The node has locked the scheduled message, and now waits for the lock of the conversation.
    let mut lock = database.connection().await;
    lock.batch_execute("BEGIN; SELECT 1 FROM conversations FOR UPDATE").await.unwrap();
    database.make_scheduled_messages_due().await;
    database.statement_waits_for_lock().await;
    let other = Node::build().start_on(&database).await;
    drop(dying);
    lock.batch_execute("COMMIT").await.unwrap();
    let ada = ada.on(&other);
    eventually("the message is sent", async || pending(&ada).await.is_empty()).await;
    schedule(&ada, &group, "the next", TimeDelta::hours(1)).await;
    database.make_scheduled_messages_due().await;
    eventually("the next message is sent", async || pending(&ada).await.is_empty()).await;
    assert_eq!(bodies(&ada, &group).await, ["once", "the next"]);
}

/// The id of a scheduled message is the `clientId` of the message that is sent, so a message with this `clientId`
/// counts as sent.
#[tokio::test]
async fn a_scheduled_message_is_not_sent_if_a_message_with_its_client_id_exists() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Twice", &[]).await;
    let scheduled = schedule(&ada, &group, "once", TimeDelta::hours(1)).await;
    ada.try_send(&group, "once", scheduled["id"].as_str()).await.data();
    database.make_scheduled_messages_due().await;
    eventually("the scheduled message is gone", async || pending(&ada).await.is_empty()).await;
    assert_eq!(bodies(&ada, &group).await, ["once"]);
}
