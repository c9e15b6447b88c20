//! Services that hang, nodes that die, two nodes, and large groups: each device gets its push, and gets it once.

use std::collections::BTreeSet;
use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{SETTINGS, World};
use crate::support::push::{Device, PushService, Reply};
use crate::support::{
    ALLOWANCE, Node, NodeProcess, PASSWORD, PATIENCE, TestDatabase, User, eventually, eventually_within, unique,
};

/// Maximum time from a message to its push.
const PROMISED: Duration = Duration::from_secs(2);
/// Maximum time for SEND_TIMEOUT and the first retry, and PATIENCE.
const AFTER_A_HANG: Duration = PATIENCE.saturating_add(Duration::from_secs(20));
/// Time after which another node sends a delivery that was claimed and not finished.
const CLAIM: Duration = Duration::from_secs(30);

/// Registers a browser for each user.
async fn browsers(users: &[User], service: &PushService) -> Vec<Device> {
    stream::iter(users).map(|user| user.browser(service)).buffered(8).collect().await
}

/// Waits until each device has got this number of pushes.
async fn all_have(devices: &[Device], count: usize) {
    eventually("all devices have their pushes", async || devices.iter().all(|device| device.total() >= count)).await;
}

/// The hanging service has more devices than the node sends pushes at the same time.
#[tokio::test]
async fn a_service_that_hangs_does_not_delay_the_others() {
    let world = World::new().await;
    let slow = PushService::start().await;
    let users = world.node.register_many(4).await;
    let mut hanging = Vec::new();
    for user in &users {
        for _ in 0..20 {
            let device = user.browser(&slow).await;
            device.always_reply(Some(Reply::Hang));
            hanging.push(device);
        }
    }
    let group = world.bob.create_group("Group", &users.iter().chain([&world.ada]).collect::<Vec<_>>()).await;
    for body in ["first", "second", "third"] {
        let start = Instant::now();
        world.bob.send(&group, body).await;
        let push = world.phone.expect("message").await;
        assert!(push.text("body").ends_with(body), "{:#}", push.payload);
        assert!(push.at - start < PROMISED + ALLOWANCE, "{:?}", push.at - start);
    }
    assert!(hanging.iter().any(|device| device.total() > 0));
}

#[tokio::test]
async fn a_push_whose_service_hangs_is_sent_again() {
    let world = World::new().await;
    world.phone.reply(&[Reply::Hang]);
    world.bob.send(&world.chat, "hello").await;
    assert_eq!(world.phone.expect("message").await.status, None);
    eventually_within(AFTER_A_HANG, "the second attempt", async || world.phone.total() == 2).await;
    assert_eq!(world.phone.expect("message").await.text("body"), "hello");
    world.expect_silence().await;
}

/// The service has received all pushes, and has answered none, when the node dies.
#[tokio::test]
async fn another_node_sends_the_pushes_of_a_node_that_was_killed() {
    let database = TestDatabase::new().await;
    let mut killed = NodeProcess::start_with(&database, 0, &SETTINGS).await;
    let service = PushService::start().await;
    let mut users = Vec::new();
    for name in ["bob", "one", "two", "three", "four", "five", "six", "seven", "eight"] {
        users.push(User::register(killed.api(), &format!("{name}_{}", &unique()[..8]), PASSWORD).await);
    }
    let (bob, others) = users.split_first().unwrap();
    let devices = browsers(others, &service).await;
    let group = bob.create_group("Group", &others.iter().collect::<Vec<_>>()).await;
    for device in &devices {
        device.always_reply(Some(Reply::Hang));
    }
    bob.send(&group, "in flight").await;
    all_have(&devices, 1).await;
    killed.kill().await;
    for device in &devices {
        device.always_reply(None);
    }
    let node = Node::pushing().redis(&database.name).await.start_on(&database).await;
    // Otherwise the claims end after half a minute.
    let end = "UPDATE push_deliveries SET claimed_until = now()";
    database.connection().await.batch_execute(end).await.unwrap();
    all_have(&devices, 2).await;
    node.pushes_settled().await;
    for device in &devices {
        let pushes = device.unread();
        assert!(pushes.iter().all(|push| push.text("body").ends_with("in flight")));
        assert_eq!(pushes.len(), 2, "one push was doubled by one crash");
        assert_eq!(pushes[0].header("topic"), pushes[1].header("topic"), "the device shows one of them");
    }
    bob.on(&node).send(&group, "after the crash").await;
    all_have(&devices, 3).await;
}

/// The node dies before it has planned the pushes.
#[tokio::test]
async fn a_message_that_was_not_planned_before_a_crash_is_planned_by_another_node() {
    let database = TestDatabase::new().await;
    let mut killed = NodeProcess::start_with(&database, 0, &SETTINGS).await;
    let service = PushService::start().await;
    let bob = User::register(killed.api(), &format!("bob_{}", &unique()[..8]), PASSWORD).await;
    let ada = User::register(killed.api(), &format!("ada_{}", &unique()[..8]), PASSWORD).await;
    let phone = ada.browser(&service).await;
    let chat = bob.open_direct(&ada).await;
    let mut holder = database.connection().await;
    holder.batch_execute("BEGIN; SELECT FROM consumers WHERE name = 'push' FOR UPDATE").await.unwrap();
    bob.send(&chat, "not planned yet").await;
    killed.kill().await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    let node = Node::pushing().redis(&database.name).await.start_on(&database).await;
    assert_eq!(phone.expect("message").await.text("body"), "not planned yet");
    node.pushes_settled().await;
    assert_eq!(phone.total(), 1);
}

#[tokio::test]
async fn two_nodes_send_each_push_once() {
    const GROUPS: usize = 25;

    let database = TestDatabase::new().await;
    let build = async || Node::pushing().redis(&database.name).await.start_on(&database).await;
    let nodes = [build().await, build().await];
    let service = PushService::start().await;
    let bob = nodes[0].register("bob").await;
    let users = nodes[1].register_many(4).await;
    let devices = browsers(&users, &service).await;
    let mut groups = Vec::new();
    for number in 0..GROUPS {
        groups.push(bob.create_group(&format!("Group {number}"), &users.iter().collect::<Vec<_>>()).await);
    }
    let senders = nodes.each_ref().map(|node| bob.on(node));
    join_all(groups.iter().enumerate().map(|(place, group)| senders[place % 2].send(group, "hello"))).await;
    all_have(&devices, GROUPS).await;
    nodes[0].pushes_settled().await;
    for device in &devices {
        let pushes = device.unread();
        let conversations: BTreeSet<_> = pushes.iter().map(|push| push.text("conversationId")).collect();
        assert_eq!((pushes.len(), conversations.len()), (GROUPS, GROUPS));
    }
}

/// Postgres ends the connections of the node again and again while it plans and sends.
#[tokio::test]
async fn no_push_is_lost_when_connections_to_postgres_are_cut() {
    let world = World::new().await;
    let users = world.node.register_many(5).await;
    let devices = browsers(&users, &world.service).await;
    let group = world.bob.create_group("Group", &users.iter().collect::<Vec<_>>()).await;
    let mut connection = world.database.connection().await;
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    for number in 0..10 {
        // The sender retries with the same `clientId`, as clients do.
        eventually("the message is sent", async || {
            let answer =
                world.bob.attempt_send(&group, &format!("message {number}"), &format!("client-{number}")).await;
            answer.is_ok_and(|answer| answer.body.get("errors").is_none())
        })
        .await;
        connection.batch_execute(cut).await.unwrap();
    }
    // If the answer to a claim is lost, the claim ends by itself.
    eventually_within(CLAIM + AFTER_A_HANG, "all devices show the last message", async || {
        devices.iter().all(|device| device.last().is_some_and(|push| push.text("body").ends_with("message 9")))
    })
    .await;
}

#[tokio::test]
async fn all_participants_of_a_large_group_get_their_push() {
    const PARTICIPANTS: usize = 200;

    let world = World::new().await;
    let users = world.node.register_many(PARTICIPANTS).await;
    let devices = browsers(&users, &world.service).await;
    let group = world.bob.create_group("Large", &users.iter().collect::<Vec<_>>()).await;
    world.bob.send(&group, "to everyone").await;
    eventually_within(AFTER_A_HANG, "all devices have their push", async || {
        devices.iter().all(|device| device.total() > 0)
    })
    .await;
    world.node.pushes_settled().await;
    for device in &devices {
        let pushes = device.unread();
        assert_eq!(pushes.len(), 1);
        assert!(pushes[0].text("body").ends_with("to everyone"), "{:#}", pushes[0].payload);
    }
    world.phone.expect_none();
}
