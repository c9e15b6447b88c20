//! Scenarios that must give the same results in memory and through Redis.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Listener, Nodes, SECONDS, Way, presence, set_presence, set_typing, wait_for_last_seen};
use crate::support::{ALLOWANCE, Node, PASSWORD, PATIENCE, TestDatabase, User, eventually, within};

/// Defines two tests for each scenario, in the modules `over_memory` and `over_redis`.
macro_rules! over_each_way {
    ($($scenario:ident)*) => {
        mod over_memory {
            $(#[tokio::test] async fn $scenario() { super::$scenario(crate::live::Way::memory()).await; })*
        }
        mod over_redis {
            $(#[tokio::test] async fn $scenario() { super::$scenario(crate::live::Way::Redis).await; })*
        }
    };
}

over_each_way! {
    typing_is_shown_to_other_participants_and_expires
    typing_ends_with_the_message_on_every_node
    subscribers_receive_presence_changes
    users_without_permission_to_see_presence_see_offline_at_once
    a_reconnect_within_the_grace_period_does_not_change_presence
    subscribers_of_a_room_receive_who_enters_and_leaves
    users_of_a_node_that_dies_become_offline
    users_of_a_node_that_shuts_down_can_reconnect_elsewhere
    a_new_node_receives_the_presence_of_online_users
    a_user_who_is_removed_from_the_conversation_leaves_the_room
}

async fn typing_is_shown_to_other_participants_and_expires(way: Way) {
    // Much longer than the requests of this test, also on a loaded machine.
    const TYPING_TIMEOUT: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_millis(500);
    let Nodes { one, two, database: _database, .. } = way.nodes([TYPING_TIMEOUT.as_secs(), 1, 2]).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut heard = Listener::typing(&bob, &conversation).await;
    let mut inbox = Listener::inbox(&bob).await;
    let mut own = Listener::typing(&ada.on(&two), &conversation).await;
    let event = |typing: bool| json!({"conversation": {"id": conversation}, "user": {"id": ada.id}, "typing": typing});

    let begun = Instant::now();
    let answer = set_typing(&ada, &conversation, true).await.data();
    assert_eq!(answer["setTyping"]["conversationId"], conversation.as_str());
    assert_eq!(heard.next().await, event(true));
    assert_eq!(inbox.next().await["typing"], true);
    // A repeated `setTyping` on another node extends the timeout and sends no event.
    sleep(PAUSE).await;
    set_typing(&ada.on(&two), &conversation, true).await.data();
    assert_eq!(heard.next().await, event(false));
    assert!(begun.elapsed() >= PAUSE + TYPING_TIMEOUT, "{:?}", begun.elapsed());
    assert_eq!(inbox.next().await["typing"], false);

    let started = Instant::now();
    set_typing(&ada, &conversation, true).await.data();
    assert_eq!(heard.next().await, event(true));
    // A later subscriber gets the current state.
    assert_eq!(Listener::typing(&bob.on(&one), &conversation).await.next().await, event(true));
    set_typing(&ada, &conversation, false).await.data();
    assert_eq!(heard.next().await, event(false));
    assert!(started.elapsed() < TYPING_TIMEOUT, "it stopped only after {:?}", started.elapsed());
    // A repeated stop sends no event, so the next event belongs to the next start.
    set_typing(&ada, &conversation, false).await.data();
    set_typing(&ada, &conversation, true).await.data();
    assert_eq!(heard.next().await, event(true));
    // Users do not receive events of their own typing, so the first event belongs to the other user.
    set_typing(&bob, &conversation, true).await.data();
    assert_eq!(own.next().await["user"]["id"], bob.id.as_str());
}

async fn typing_ends_with_the_message_on_every_node(way: Way) {
    let Nodes { one, two, database: _database, .. } = way.nodes([60, 1, 8]).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut here = Listener::typing(&bob.on(&one), &conversation).await;
    let mut there = Listener::typing(&bob, &conversation).await;
    let mut inbox = Listener::inbox(&bob).await;
    for (typing_at, sending_at) in [(&one, &one), (&one, &two), (&two, &one)] {
        set_typing(&ada.on(typing_at), &conversation, true).await.data();
        for listener in [&mut here, &mut there] {
            assert_eq!(listener.next().await["typing"], true);
        }
        assert_eq!(inbox.next().await["typing"], true);
        ada.on(sending_at).send(&conversation, "It is written.").await;
        for listener in [&mut here, &mut there] {
            assert_eq!(within(PATIENCE, "the end of the typing", listener.next()).await["typing"], false);
        }
        // The message and the end of the typing reach the inbox in either order.
        let events = [inbox.next().await, inbox.next().await];
        for (kind, typing) in [("MessageAdded", Value::Null), ("TypingChanged", json!(false))] {
            let is_expected = |event: &Value| event["__typename"] == kind && event["typing"] == typing;
            assert!(events.iter().any(is_expected), "{events:?}");
        }
    }
    // A message of another participant does not end the typing.
    set_typing(&ada, &conversation, true).await.data();
    assert_eq!(there.next().await["typing"], true);
    bob.send(&conversation, "I am faster.").await;
    there.expect_no_event().await;
    // A message that is refused does not end the typing.
    assert_eq!(ada.try_send(&conversation, "", None).await.code(), "BAD_USER_INPUT");
    there.expect_no_event().await;
}

async fn open_sockets(node: &Node) -> u64 {
    node.metric("parlance_sockets_open").await
}

async fn subscribers_receive_presence_changes(way: Way) {
    let Nodes { one, two, database, .. } = way.nodes(SECONDS).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let mut watching = Listener::presence(&bob, &[&ada]).await;
    let mut another = Listener::presence(&bob.on(&one), &[&bob]).await;
    assert_eq!(another.status().await, "ONLINE");
    let first = json!({"user": {"id": ada.id}, "presence": {"status": "OFFLINE", "lastSeenAt": null}});
    assert_eq!(watching.next().await, first);

    let phone = ada.socket().await;
    assert_eq!(watching.status().await, "ONLINE");
    let laptop = User::login(&two, &ada.username, PASSWORD).await;
    let mut laptop_inbox = Listener::inbox(&laptop).await;
    assert_eq!(presence(&ada, &bob).await, json!({"status": "ONLINE", "lastSeenAt": null}));
    // The status belongs to the user and is shown on all devices.
    let answer = set_presence(&ada, "AWAY").await.data();
    assert_eq!(answer["setPresence"]["presence"], json!({"status": "AWAY", "lastSeenAt": null}));
    assert_eq!(watching.status().await, "AWAY");
    assert_eq!(laptop_inbox.next().await["presence"]["status"], "AWAY");
    // Connecting another device does not change the status, so the next status is the one that is set.
    let tablet = ada.on(&two).socket().await;
    set_presence(&laptop, "ONLINE").await.data();
    assert_eq!(watching.status().await, "ONLINE");
    set_presence(&laptop, "AWAY").await.data();
    assert_eq!(watching.status().await, "AWAY");

    drop((phone, laptop_inbox));
    // Waits longer than PRESENCE_GRACE. While one device is connected, the user stays AWAY.
    sleep(Duration::from_millis(1500)).await;
    set_presence(&laptop, "ONLINE").await.data();
    assert_eq!(watching.status().await, "ONLINE");
    set_presence(&laptop, "AWAY").await.data();
    assert_eq!(watching.status().await, "AWAY");
    drop(tablet);
    let gone = watching.next().await;
    assert_eq!(gone["presence"]["status"], "OFFLINE");
    let seen = &gone["presence"]["lastSeenAt"];
    assert!(seen.is_string(), "{gone:#}");
    assert_eq!(presence(&ada, &bob).await["lastSeenAt"], *seen);
    wait_for_last_seen(&database, &ada).await;
    // The status AWAY, which a device had set, was cleared when the last connection closed.
    let _phone = ada.socket().await;
    assert_eq!(watching.status().await, "ONLINE");
    // The next event of the subscription to the other user is this change, so no other event was delivered.
    set_presence(&bob, "AWAY").await.data();
    assert_eq!(another.status().await, "AWAY");
}

async fn users_without_permission_to_see_presence_see_offline_at_once(way: Way) {
    let database = TestDatabase::new().await;
    // Timeouts and polls that are longer than a test waits, so that only an immediate notification is received.
    let build = async || -> Node {
        way.build(&database, [300; 3]).await.flag("--tail-poll-interval=60000").start_on(&database).await
    };
    let (one, two) = (build().await, build().await);
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let _phone = ada.socket().await;
    let mut watching = Listener::presence(&bob, &[&ada]).await;
    watching.expect_online().await;
    for (hide, show) in [
        ("blockUser(input: {userId: $bob}) { user { id } }", "unblockUser(input: {userId: $bob}) { user { id } }"),
        (
            "updatePrivacy(input: {lastSeen: NOBODY}) { viewer { id } }",
            "updatePrivacy(input: {lastSeen: EVERYONE}) { viewer { id } }",
        ),
    ] {
        for (change, status) in [(hide, "OFFLINE"), (show, "ONLINE")] {
            let variable = if change.contains("$bob") { "($bob: ID!)" } else { "" };
            ada.query(&format!("mutation {variable} {{ {change} }}"), json!({"bob": bob.id})).await;
            assert_eq!(watching.next().await["presence"], json!({"status": status, "lastSeenAt": null}));
        }
    }
    // A room does not show users who block each other to each other.
    let cem = two.register("cem").await;
    let group = ada.create_group("Three", &[&bob, &cem]).await;
    ada.query("mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }", json!({"id": bob.id})).await;
    let mut hers = Listener::room(&ada, &group).await;
    assert_eq!(hers.snapshot().await, [ada.id.as_str()]);
    let mut his = Listener::room(&bob, &group).await;
    assert_eq!(his.snapshot().await, [bob.id.as_str()]);
    let _third = Listener::room(&cem, &group).await;
    hers.expect_change("RoomEntered", &cem).await;
}

async fn a_reconnect_within_the_grace_period_does_not_change_presence(way: Way) {
    // Much longer than a reconnect, also on a loaded machine.
    const GRACE: Duration = Duration::from_secs(4);
    let Nodes { one, two, database: _database, .. } = way.nodes([2, GRACE.as_secs(), 2]).await;
    let no_socket = async || eventually("the socket is closed", async || open_sockets(&one).await == 0).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let socket = ada.socket().await;
    let mut watching = Listener::presence(&bob, &[&ada]).await;
    watching.expect_online().await;
    set_presence(&ada, "AWAY").await.data();
    assert_eq!(watching.status().await, "AWAY");
    drop(socket);
    no_socket().await;
    let socket = ada.socket().await;
    // Waits until PRESENCE_GRACE since the disconnect is over.
    sleep(GRACE).await;
    drop(socket);
    no_socket().await;
    // A reconnect through the other node keeps the status AWAY.
    let _socket = ada.on(&two).socket().await;
    sleep(GRACE + Duration::from_millis(500)).await;
    assert_eq!(presence(&ada, &bob.on(&one)).await["status"], "AWAY");
    set_presence(&ada.on(&two), "ONLINE").await.data();
    assert_eq!(watching.status().await, "ONLINE", "nothing changed before");
}

async fn subscribers_of_a_room_receive_who_enters_and_leaves(way: Way) {
    let Nodes { one, two, database: _database, .. } = way.nodes(SECONDS).await;
    let (ada, bob, cem) = (one.register("ada").await, two.register("bob").await, two.register("cem").await);
    let group = ada.create_group("Room", &[&bob, &cem]).await;
    let mut first = Listener::room(&ada, &group).await;
    assert_eq!(first.snapshot().await, std::slice::from_ref(&ada.id));
    let mut second = Listener::room(&bob, &group).await;
    first.expect_change("RoomEntered", &bob).await;
    let mut users = second.snapshot().await;
    if users.len() == 1 {
        second.expect_change("RoomEntered", &ada).await;
        users.push(ada.id.clone());
    }
    users.sort();
    let mut both = [ada.id.clone(), bob.id.clone()];
    both.sort();
    assert_eq!(users, both);

    // A second device of a user in the room causes no event, on whichever node it is.
    let mut device = Listener::room(&bob.on(&one), &group).await;
    assert_eq!(device.snapshot().await.len(), 2);
    let mut tablet = Listener::room(&bob, &group).await;
    assert_eq!(tablet.snapshot().await.len(), 2);
    drop(second);
    drop(tablet);
    eventually("the sockets are closed", async || open_sockets(&two).await == 0).await;
    let _third = Listener::room(&cem, &group).await;
    first.expect_change("RoomEntered", &cem).await;
    // When the client completes the subscription, the user leaves the room, although the socket stays open.
    device.socket.send(json!({"type": "complete", "id": "it"})).await;
    first.expect_change("RoomLeft", &bob).await;
}

async fn users_of_a_node_that_dies_become_offline(way: Way) {
    let Nodes { one, two, database, .. } = way.nodes(SECONDS).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut watching = Listener::presence(&bob, &[&ada]).await;
    assert_eq!(watching.status().await, "OFFLINE");
    let mut room = Listener::room(&bob, &conversation).await;
    room.snapshot().await;
    let _there = Listener::room(&ada, &conversation).await;
    assert_eq!(watching.status().await, "ONLINE");
    room.expect_change("RoomEntered", &ada).await;
    let killed = Instant::now();
    one.kill();
    assert_eq!(watching.status().await, "OFFLINE");
    room.expect_change("RoomLeft", &ada).await;
    let took = killed.elapsed();
    assert!(took >= Duration::from_secs(1), "a node was treated as dead too early");
    // The limit is PRESENCE_NODE_TTL and a quarter of it.
    assert!(took < Duration::from_millis(2500) + ALLOWANCE, "{took:?}");
    // A surviving node stores `last_seen_at`.
    wait_for_last_seen(&database, &ada).await;
}

async fn users_of_a_node_that_shuts_down_can_reconnect_elsewhere(way: Way) {
    let Nodes { one, two, database, .. } = way.nodes([2, 6, 60]).await;
    let (ada, bob, cem) = (one.register("ada").await, one.register("bob").await, two.register("cem").await);
    let _sockets = (ada.socket().await, bob.socket().await);
    let mut of_ada = Listener::presence(&cem, &[&ada]).await;
    let mut of_bob = Listener::presence(&cem, &[&bob]).await;
    for watching in [&mut of_ada, &mut of_bob] {
        watching.expect_online().await;
    }
    one.app.close().await;
    let _back = ada.on(&two).socket().await;
    let gone = of_bob.next().await;
    assert_eq!(gone["presence"]["status"], "OFFLINE");
    wait_for_last_seen(&database, &bob).await;
    set_presence(&ada.on(&two), "AWAY").await.data();
    assert_eq!(of_ada.status().await, "AWAY", "nothing changed before");
}

async fn a_new_node_receives_the_presence_of_online_users(way: Way) {
    let Nodes { one, two, way, database } = way.nodes(SECONDS).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut there = Listener::room(&ada, &conversation).await;
    there.snapshot().await;
    let _also = bob.socket().await;
    let three = way.build(&database, SECONDS).await.start_on(&database).await;
    let status = async || presence(&ada, &bob.on(&three)).await["status"].clone();
    eventually("the new node knows who is online", async || status().await == "ONLINE").await;
    let mut room = Listener::room(&bob.on(&three), &conversation).await;
    assert_eq!(room.snapshot().await.len(), 2);
}

async fn a_user_who_is_removed_from_the_conversation_leaves_the_room(way: Way) {
    let Nodes { one, two, database: _database, .. } = way.nodes(SECONDS).await;
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let group = ada.create_group("Leaving", &[&bob]).await;
    let mut there = Listener::room(&ada, &group).await;
    there.snapshot().await;
    let mut room = Listener::room(&bob, &group).await;
    room.snapshot().await;
    there.expect_change("RoomEntered", &bob).await;
    let typing = Listener::typing(&bob, &group).await;
    let query = "mutation ($id: ID!, $user: ID!) {
        removeParticipant(input: {conversationId: $id, userId: $user}) { conversation { id } }
    }";
    ada.query(query, json!({"id": group, "user": bob.id})).await;
    assert_eq!(typing.refused().await, "NOT_FOUND");
    there.expect_change("RoomLeft", &bob).await;
    let end = within(PATIENCE, "the end of the subscription", async {
        loop {
            let message = room.socket.receive_of("it").await;
            if message["type"] == "error" {
                return message;
            }
        }
    });
    assert_eq!(end.await["payload"][0]["extensions"]["code"], "NOT_FOUND");
    assert_eq!(set_typing(&bob, &group, true).await.code(), "NOT_FOUND");
}
