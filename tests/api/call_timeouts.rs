//! What ends by itself: a ring that nobody answers, and the part of a device that is gone; whichever node dies.

use std::time::{Duration, Instant};

use diesel::sql_query;
use diesel_async::RunQueryDsl as _;
use serde_json::json;
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
#[cfg(target_os = "linux")]
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
#[cfg(target_os = "linux")]
use tokio::net::TcpStream;

use crate::support::{CallEvents, Node, NodeBuilder, PASSWORD, PATIENCE, TestDatabase, User};

async fn node(database: &TestDatabase, flags: &[&str]) -> Node {
    let builder = flags.iter().fold(Node::build(), |builder: NodeBuilder, flag| builder.flag(flag));
    builder.redis(&database.name).await.start_on(database).await
}

/// The end, whatever comes before.
async fn end(events: &mut CallEvents) -> String {
    loop {
        let event = events.next().await;
        if event["__typename"] == "CallEnded" {
            return event["call"]["endReason"].as_str().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn a_call_that_nobody_answers_is_missed() {
    let node = Node::build().flag("--call-ring-timeout=1").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let (mut hers, mut his) = (ada.call_events().await, bob.call_events().await);
    let began = Instant::now();
    let call = ada.start_call(&direct).await.call_id();
    his.expect("CallRinging").await;
    assert_eq!([end(&mut hers).await, end(&mut his).await], ["MISSED", "MISSED"]);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(5), "{took:?}");
    assert_eq!(bob.accept_call(&call).await.conflict(), "CALL_OVER");
    assert_eq!(bob.told(&direct).await[0][3], "Missed video call");
    // Also one that rings for nobody.
    let query = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    bob.query(query, json!({"id": ada.id})).await;
    ada.start_call(&direct).await.data();
    assert_eq!(end(&mut hers).await, "MISSED");
}

/// Nobody hears of it but the caller; nodes look for it all the same, however seldom they look at the tail.
#[tokio::test]
async fn who_rings_in_vain_is_not_taken_for_gone() {
    let database = TestDatabase::new().await;
    let node = node(&database, &["--call-absence-timeout=3", "--tail-poll-interval=60000"]).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let query = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    bob.query(query, json!({"id": ada.id})).await;
    let _connected = ada.call_events().await;
    ada.start_call(&direct).await.data();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let seen = "UPDATE call_participants SET seen_at = seen_at WHERE seen_at > now() - interval '2 seconds'";
    assert_eq!(sql_query(seen).execute(&mut database.connection().await).await.unwrap(), 1);
}

/// One that is answered goes on, and rings for the others no longer than it may.
#[tokio::test]
async fn in_a_group_only_the_ring_ends() {
    let node = Node::build().flag("--call-ring-timeout=1").start_alone().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Late", &[&bob, &eve]).await;
    let call = ada.start_call(&group).await.call();
    let id = call["id"].as_str().unwrap();
    let mut rung = eve.call_events().await;
    bob.accept_call(id).await.data();
    let query = "query ($id: ID!) { node(id: $id) { ... on Call { createdAt ringsUntil } } }";
    let times = ada.query(query, json!({"id": id})).await["node"].clone();
    let time = |field: &str| times[field].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!((time("ringsUntil") - time("createdAt")).num_seconds(), 1);
    rung.expect("CallRinging").await;
    rung.expect("CallAnswered").await;
    let silenced = rung.expect("CallEnded").await;
    assert_eq!((&silenced["call"]["id"], &silenced["call"]["state"]), (&json!(id), &json!("ONGOING")));
    // Then she subscribes too late, and hears the next call first.
    let mut late = eve.call_events().await;
    let direct = ada.open_direct(&eve).await;
    ada.leave_call(id).await.data();
    late.expect("CallLeft").await;
    late.expect("CallEnded").await;
    ada.start_call(&direct).await.data();
    late.expect("CallRinging").await;
}

#[tokio::test]
async fn a_call_is_missed_though_the_node_that_began_it_dies() {
    let database = TestDatabase::new().await;
    let flags = ["--call-ring-timeout=2"];
    let (one, two) = (node(&database, &flags).await, node(&database, &flags).await);
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let mut his = bob.call_events().await;
    let call = ada.start_call(&direct).await.call_id();
    his.expect("CallRinging").await;
    one.kill();
    assert_eq!(end(&mut his).await, "MISSED");
    assert_eq!(bob.find_call(&call).await["endReason"], "MISSED");
    assert_eq!(bob.told(&direct).await.len(), 1);
}

#[tokio::test]
async fn who_has_no_connection_for_so_long_has_left() {
    let database = TestDatabase::new().await;
    let flags = ["--call-absence-timeout=2"];
    let (one, two) = (node(&database, &flags).await, node(&database, &flags).await);
    let (ada, bob, eve) = (one.register("ada").await, two.register("bob").await, one.register("eve").await);
    let group = ada.create_group("Trains", &[&bob, &eve]).await;
    let (mut hers, his, others) = (ada.call_events().await, bob.call_events().await, eve.call_events().await);
    let call = ada.start_call(&group).await.call_id();
    for user in [&bob, &eve] {
        user.accept_call(&call).await.data();
        assert_eq!(hers.expect("CallAnswered").await["participant"]["sessionId"], user.session.as_str());
    }
    // Whoever comes back in time, through whichever node, has never been away.
    drop(his);
    let his = bob.on(&one).call_events().await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(ada.find_call(&call).await["participants"].as_array().unwrap().len(), 3);

    let began = Instant::now();
    drop(others);
    assert_eq!(hers.expect("CallLeft").await["participant"]["sessionId"], eve.session.as_str());
    let took = began.elapsed();
    // Never before its time; a third of it and a look later at most, on a machine that has time for it.
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
    drop(his);
    assert_eq!(hers.expect("CallLeft").await["participant"]["sessionId"], bob.session.as_str());
    assert_eq!(end(&mut hers).await, "FAILED");
    assert!(ada.told(&group).await.last().unwrap()[3].as_str().unwrap().ends_with("connection lost"));
}

/// The node takes the connections of both along; the other one sees to what is left.
#[tokio::test]
async fn a_call_fails_whose_node_dies_with_both_connections() {
    let database = TestDatabase::new().await;
    let flags = ["--call-absence-timeout=2"];
    let (one, two) = (node(&database, &flags).await, node(&database, &flags).await);
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let sockets = (ada.call_events().await, bob.call_events().await);
    let call = ada.start_call(&direct).await.call_id();
    bob.accept_call(&call).await.data();
    let tablet = User::login(&two, &bob.username, PASSWORD).await;
    let mut heard = tablet.call_events().await;
    drop(sockets);
    one.kill();
    assert_eq!(end(&mut heard).await, "FAILED");
    assert_eq!(bob.on(&two).find_call(&call).await["participants"], json!([]));
}

/// Devices come back once there is a node to come back to.
#[tokio::test]
async fn a_call_outlives_a_restart_of_all_nodes() {
    let database = TestDatabase::new().await;
    let flags = ["--call-absence-timeout=2"];
    let one = node(&database, &flags).await;
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let sockets = (ada.call_events().await, bob.call_events().await);
    let call = ada.start_call(&direct).await.call_id();
    bob.accept_call(&call).await.data();
    one.kill();
    drop(sockets);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let two = node(&database, &flags).await;
    let (ada, bob) = (ada.on(&two), bob.on(&two));
    // Only one of them comes back at once.
    let mut hers = ada.call_events().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let his = bob.call_events().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(ada.find_call(&call).await["participants"].as_array().unwrap().len(), 2);
    // Whoever is gone from then on is so.
    drop(his);
    assert_eq!(end(&mut hers).await, "FAILED");
}

#[tokio::test]
async fn who_signs_out_has_left() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let direct = ada.open_direct(&bob).await;
    let mut hers = ada.call_events().await;
    let call = ada.start_call(&direct).await.call_id();
    bob.accept_call(&call).await.data();
    let revoke = "mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId } }";
    let began = Instant::now();
    tablet.query(revoke, json!({"id": bob.session})).await;
    assert_eq!(end(&mut hers).await, "HUNG_UP");
    assert!(began.elapsed() < Duration::from_secs(10), "long before it would have been missed");
}

/// It has lost its network: what the server sends is dropped, and nothing is answered. An event stream has no pings.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_is_gone_without_a_word_has_left_though_an_event_stream_was_open() {
    // BPF_RET: of each packet that comes in nothing is kept.
    const DROP_ALL: SockFilter = SockFilter::new(6, 0, 0, 0);
    let flags = ["--socket-ping-interval=1", "--socket-pong-timeout=2", "--call-absence-timeout=1"];
    let node = flags.iter().fold(Node::build(), |builder, flag| builder.flag(flag)).start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let stream = event_stream(&node, &bob).await;
    let mut hers = ada.call_events().await;
    let call = ada.start_call(&ada.open_direct(&bob).await).await.call_id();
    bob.accept_call(&call).await.data();
    hers.expect("CallAnswered").await;
    let early = tokio::time::timeout(Duration::from_secs(3), hers.next()).await;
    assert!(early.is_err(), "as long as it is open he is there: {early:?}");
    SockRef::from(&stream).attach_filter(&[DROP_ALL]).unwrap();
    // By itself TCP would try for a quarter of an hour.
    let left = tokio::time::timeout(PATIENCE, hers.expect("CallLeft")).await.unwrap();
    assert_eq!(left["participant"]["sessionId"], bob.session.as_str());
    assert_eq!(end(&mut hers).await, "FAILED");
}

/// An event stream of the user's calls, which is live.
#[cfg(target_os = "linux")]
async fn event_stream(node: &Node, user: &User) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let body = json!({"query": "subscription { callEvents { __typename } }"}).to_string();
    let (token, length) = (&user.access_token, body.len());
    let head = format!(
        "POST /graphql HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    let (mut read, mut buffer) = (String::new(), [0; 4096]);
    while !read.contains("CallsCaughtUp") {
        let count = stream.read(&mut buffer).await.unwrap();
        assert_ne!(count, 0, "{read}");
        read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    stream
}
