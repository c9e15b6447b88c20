//! Two nodes that share one Postgres and one Redis.

use futures_util::future::join_all;
use serde_json::json;

use crate::support::{Node, PASSWORD, TestDatabase, User};

async fn two_nodes(database: &TestDatabase) -> [Node; 2] {
    let build = async || Node::build().redis(&database.name).await.start_on(database).await;
    [build().await, build().await]
}

#[tokio::test]
async fn clients_of_both_nodes_receive_the_same_events_in_one_order() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inboxes = [ada.inbox().await, ada.on(&two).inbox().await, bob.inbox().await, bob.on(&one).inbox().await];
    let senders = [&ada, &bob, &ada.on(&two), &bob.on(&one)];
    join_all((0..80).map(|i| senders[i % 4].send(&conversation, "across"))).await;
    let mut heard = Vec::new();
    for inbox in &mut inboxes {
        let mut events = Vec::new();
        for number in 1..=80 {
            let event = inbox.next().await;
            assert_eq!(event["message"]["number"], number);
            events.push(event);
        }
        heard.push(events);
    }
    assert!(heard.iter().all(|events| *events == heard[0]));
}

#[tokio::test]
async fn a_stream_resumed_on_another_node_delivers_exactly_the_missed_events() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let cursor = bob.cursor_after_message(&ada, &conversation).await;
    for i in 0..10 {
        ada.on(if i % 2 == 0 { &one } else { &two }).send(&conversation, &format!("missed {i}")).await;
    }
    let mut inbox = bob.on(&two).inbox_after(cursor.as_deref()).await;
    let missed = inbox.missed().await;
    let bodies: Vec<_> = missed.iter().map(|event| event["message"]["body"].as_str().unwrap()).collect();
    assert_eq!(bodies, (0..10).map(|i| format!("missed {i}")).collect::<Vec<_>>());
    ada.send(&conversation, "live").await;
    assert_eq!(inbox.message().await["body"], "live");
}

#[tokio::test]
async fn a_session_revoked_on_one_node_ends_on_the_other_node_at_once() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let phone = one.register("ada").await;
    let laptop = User::login(&two, &phone.username, PASSWORD).await;
    let inbox = laptop.inbox().await;
    phone.query("mutation { revokeOtherSessions { sessionIds } }", json!({})).await;
    // The closed socket shows that the node knows the revocation.
    assert_eq!(inbox.socket.closed().await, 4403);
    let answer = laptop.call("{ viewer { id } }", json!({})).await;
    assert_eq!(answer.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn messages_after_a_rename_show_the_new_name_on_every_node() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut inboxes = [bob.inbox().await, bob.on(&two).inbox().await];
    for name in ["Ada", "Augusta", "Countess"] {
        let rename = "mutation ($name: String!) { updateProfile(input: {displayName: $name}) { viewer { id } } }";
        ada.on(&two).query(rename, json!({"name": name})).await;
        for text in ["first", "second"] {
            ada.send(&conversation, text).await;
            for inbox in &mut inboxes {
                let message = inbox.message().await;
                assert_eq!((&message["body"], &message["sender"]["displayName"]), (&json!(text), &json!(name)));
            }
        }
    }
}

#[tokio::test]
async fn servers_with_different_redis_prefixes_do_not_share_events() {
    let (first, second) = (TestDatabase::new().await, TestDatabase::new().await);
    let here = Node::build().redis(&first.name).await.start_on(&first).await;
    let there = Node::build().redis(&second.name).await.start_on(&second).await;
    let (ada, eve) = (here.register("ada").await, there.register("eve").await);
    let mut inbox = eve.inbox().await;
    for i in 0..5 {
        ada.create_group(&format!("Here {i}"), &[]).await;
    }
    let group = eve.create_group("There", &[]).await;
    assert_eq!(inbox.next().await["conversation"]["id"], group.as_str());
}

#[tokio::test]
async fn sends_with_one_client_id_on_several_nodes_create_one_message() {
    let database = TestDatabase::new().await;
    let [one, two] = two_nodes(&database).await;
    let ada = one.register("ada").await;
    let (here, there) = (ada.create_group("Here", &[]).await, ada.create_group("There", &[]).await);
    let devices = [ada.clone(), ada.on(&two)];

    let answers = join_all((0..20).map(|i| devices[i % 2].try_send(&here, "once", Some("once")))).await;
    for answer in answers {
        assert_eq!(answer.data()["sendMessage"]["message"]["number"], 1);
    }
    // Two concurrent sends to two conversations on two nodes: one succeeds, one is rejected, and the numbers have no
    // gap.
    for i in 0..20 {
        let id = format!("race-{i}");
        let both = tokio::join!(
            devices[0].try_send(&here, "race", Some(&id)),
            devices[1].try_send(&there, "race", Some(&id)),
        );
        let refused: Vec<_> = [&both.0, &both.1].into_iter().filter(|a| a.body.get("errors").is_some()).collect();
        assert_eq!(refused.len(), 1, "{both:#?}");
        assert_eq!(refused[0].code(), "CONFLICT");
    }
    let (a, b) = (ada.send(&here, "last").await, ada.send(&there, "last").await);
    assert_eq!(a["number"].as_i64().unwrap() + b["number"].as_i64().unwrap(), 1 + 20 + 2);
}
