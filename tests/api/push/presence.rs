//! A device that is connected and visible gets no push, nor does a user who has the conversation open.

use std::sync::Arc;
use std::time::Duration;

use parlance::live::MemoryExchange;
use parlance::log::MemoryBroker;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::World;
use crate::support::push::{Device, PushService};
use crate::support::{Node, Socket, TestDatabase, User, eventually};

const ROOM: &str = "subscription ($id: ID!) { room(conversationId: $id) { __typename } }";

async fn set_presence(user: &User, status: &str) {
    let query = "mutation ($status: PresenceStatus!) { setPresence(input: {status: $status}) { presence { status } } }";
    user.query(query, json!({"status": status})).await;
}

async fn presence(of: &User, to: &User) -> Value {
    let query = "query ($id: ID!) { user(by: {id: $id}) { presence { status } } }";
    to.query(query, json!({"id": of.id})).await["user"]["presence"]["status"].clone()
}

/// Opens a socket of the user, and waits until the other user sees that the user is connected.
async fn connect(user: &User, other: &User) -> Socket {
    let socket = user.socket().await;
    eventually("the user is online", async || presence(user, other).await == "ONLINE").await;
    socket
}

/// Opens a conversation, and waits until the server knows it.
async fn open_room(user: &User, conversation: &str) -> Socket {
    let mut socket = user.socket().await;
    socket.subscribe("room", ROOM, json!({"id": conversation})).await;
    assert_eq!(socket.receive_of("room").await["payload"]["data"]["room"]["__typename"], "RoomSnapshot");
    socket
}

/// Sends messages until the device gets a push about one of them. The time at which a node learns that a connection has
/// ended is not fixed.
async fn eventually_notified(device: &Device, sender: &User, conversation: &str) {
    eventually("a message is pushed", async || {
        sender.send(conversation, "are you there?").await;
        // Time for the push of this message.
        sleep(Duration::from_millis(250)).await;
        !device.unread().is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_user_who_has_the_conversation_open_is_not_notified_on_any_device() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let room = open_room(&laptop, &world.chat).await;
    world.bob.send(&world.chat, "seen at once").await;
    world.expect_silence().await;
    // Another conversation is not open.
    world.expect_marker().await;
    room.close(1000).await;
    eventually_notified(&world.phone, &world.bob, &world.chat).await;
}

#[tokio::test]
async fn a_conversation_that_is_open_on_a_hidden_page_does_not_count() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let _room = open_room(&laptop, &world.chat).await;
    set_presence(&laptop, "AWAY").await;
    world.bob.send(&world.chat, "on the way").await;
    assert_eq!(world.phone.expect("message").await.text("body"), "on the way");
    set_presence(&laptop, "ONLINE").await;
    world.bob.send(&world.chat, "back at the desk").await;
    world.expect_silence().await;
}

#[tokio::test]
async fn the_end_of_the_room_subscription_closes_the_conversation() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let mut room = open_room(&laptop, &world.chat).await;
    room.send(json!({"id": "room", "type": "complete"})).await;
    eventually_notified(&world.phone, &world.bob, &world.chat).await;
    drop(room);
}

#[tokio::test]
async fn a_visible_device_gets_no_push_and_the_others_do() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let browser = laptop.browser(&world.service).await;
    let _socket = connect(&laptop, &world.bob).await;
    world.bob.send(&world.chat, "hello").await;
    assert_eq!(world.phone.expect("message").await.text("body"), "hello");
    world.expect_silence().await;
    browser.expect_none();
}

#[tokio::test]
async fn a_device_gets_pushes_while_its_page_is_hidden() {
    let world = World::new().await;
    let _socket = connect(&world.ada, &world.bob).await;
    world.bob.send(&world.chat, "visible").await;
    world.expect_silence().await;
    set_presence(&world.ada, "AWAY").await;
    world.bob.send(&world.chat, "hidden").await;
    assert_eq!(world.phone.expect("message").await.text("body"), "hidden");
    set_presence(&world.ada, "ONLINE").await;
    world.bob.send(&world.chat, "visible again").await;
    world.expect_silence().await;
    assert_eq!(world.phone.total(), 1);
}

/// The page of the laptop is hidden, and the one of the phone is not.
#[tokio::test]
async fn away_hides_only_the_page_of_its_session() {
    let world = World::new().await;
    let laptop = world.laptop().await;
    let browser = laptop.browser(&world.service).await;
    let _sockets = [connect(&world.ada, &world.bob).await, connect(&laptop, &world.bob).await];
    set_presence(&laptop, "AWAY").await;
    world.bob.send(&world.chat, "hello").await;
    assert_eq!(browser.expect("message").await.text("body"), "hello");
    world.expect_silence().await;
}

/// The grace period of presence does not hold pushes back: the device cannot show messages in this time.
#[tokio::test]
async fn a_device_gets_pushes_as_soon_as_its_connection_has_ended() {
    let world = World::with(&["--presence-grace=300"]).await;
    let socket = connect(&world.ada, &world.bob).await;
    world.bob.send(&world.chat, "connected").await;
    world.expect_silence().await;
    socket.close(1000).await;
    eventually_notified(&world.phone, &world.bob, &world.chat).await;
}

/// The device is connected to one node, and the other one may send the push.
#[tokio::test]
async fn a_device_that_is_visible_on_another_node_gets_no_push() {
    let database = TestDatabase::new().await;
    let (broker, exchange) = (Arc::new(MemoryBroker::default()), Arc::new(MemoryExchange::default()));
    let build = async || {
        let node = Node::pushing().broker(Arc::clone(&broker) as _).exchange(Arc::clone(&exchange) as _);
        // The end of a connection is then the end of the presence.
        node.flag("--presence-grace=0").start_on(&database).await
    };
    let [one, two] = [build().await, build().await];
    let service = PushService::start().await;
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let chat = ada.open_direct(&bob).await;
    let browser = ada.browser(&service).await;
    for (near, far) in [(&one, &two), (&two, &one)] {
        let expect = async |status: &str| {
            for node in [near, far] {
                eventually(status, async || presence(&ada, &bob.on(node)).await == status).await;
            }
        };
        let socket = ada.on(near).socket().await;
        expect("ONLINE").await;
        bob.on(far).send(&chat, "visible").await;
        one.pushes_settled().await;
        browser.expect_none();
        set_presence(&ada.on(near), "AWAY").await;
        expect("AWAY").await;
        bob.on(far).send(&chat, "hidden").await;
        assert_eq!(browser.expect("message").await.text("body"), "hidden");
        set_presence(&ada.on(near), "ONLINE").await;
        expect("ONLINE").await;
        socket.close(1000).await;
        expect("OFFLINE").await;
        bob.on(far).send(&chat, "gone").await;
        assert_eq!(browser.expect("message").await.text("body"), "gone");
    }
}
