//! Timeouts of calls: unanswered calls end and absent devices leave the call, even if a node dies.

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

use crate::support::{ALLOWANCE, CallEvents, Node, NodeBuilder, PASSWORD, TestDatabase, User, eventually};
#[cfg(target_os = "linux")]
use crate::support::{PATIENCE, within};

/// CALL_ABSENCE_TIMEOUT of tests with two nodes. On a loaded machine a node may mark its devices as seen some seconds
/// late. The other node must not count these devices as absent.
const ABSENCE_TIMEOUT: Duration = Duration::from_secs(4);
const ABSENCE_FLAG: &str = "--call-absence-timeout=4";

async fn node(database: &TestDatabase, flags: &[&str]) -> Node {
    let builder = flags.iter().fold(Node::build(), |builder: NodeBuilder, flag| builder.flag(flag));
    builder.redis(&database.name).await.start_on(database).await
}

/// Skips events up to CallEnded, and returns its end reason.
async fn end(events: &mut CallEvents) -> String {
    let events = events.up_to("CallEnded").await;
    events.last().unwrap()["call"]["endReason"].as_str().unwrap().to_owned()
}

/// Ends the ringing time of all calls now. With a short ring timeout, a call could stop ringing before a loaded machine
/// delivers the ring.
async fn end_ringing_time(database: &TestDatabase) {
    let query = sql_query("UPDATE calls SET rings_until = now() WHERE state <> 'ENDED'");
    query.execute(&mut database.connection().await).await.unwrap();
}

#[tokio::test]
async fn an_unanswered_call_ends_as_missed() {
    let node = Node::build().flag("--call-ring-timeout=1").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let (mut hers, mut his) = (ada.call_events().await, bob.call_events().await);
    let began = Instant::now();
    let call = ada.start_call(&direct).await.call_id();
    assert_eq!([end(&mut hers).await, end(&mut his).await], ["MISSED", "MISSED"]);
    let took = began.elapsed();
    // The timeout is one second, and the node polls the calls at least once per second.
    assert!((Duration::from_secs(1)..Duration::from_secs(3) + ALLOWANCE).contains(&took), "{took:?}");
    assert_eq!(bob.accept_call(&call).await.conflict(), "CALL_OVER");
    assert_eq!(bob.system_events(&direct).await[0][3], "Missed video call");
    // The call of a blocked caller rings for no user, and also ends as MISSED.
    let query = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    bob.query(query, json!({"id": ada.id})).await;
    ada.start_call(&direct).await.data();
    assert_eq!(end(&mut hers).await, "MISSED");
}

/// A call of a blocked caller rings for no user, so no CallRinging event notifies the nodes. The nodes find the call by
/// polling the calls, even if the tail polls rarely.
#[tokio::test]
async fn a_connected_caller_who_is_blocked_does_not_count_as_absent() {
    let database = TestDatabase::new().await;
    let node = node(&database, &["--call-absence-timeout=3", "--tail-poll-interval=60000"]).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let query = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    bob.query(query, json!({"id": ada.id})).await;
    let _connected = ada.call_events().await;
    ada.start_call(&direct).await.data();
    let mut connection = database.connection().await;
    let seen = "SELECT 1 FROM call_participants WHERE left_at IS NULL AND seen_at > joined_at + interval '3 seconds'";
    eventually("the caller is seen after the absence timeout", async || {
        sql_query(seen).execute(&mut connection).await.unwrap() == 1
    })
    .await;
}

/// An answered call continues after the ring timeout, but stops ringing for users who have not answered.
#[tokio::test]
async fn the_ring_timeout_of_an_answered_group_call_ends_only_the_ring() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--call-ring-timeout=300").start_on(&database).await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Late", &[&bob, &eve]).await;
    let call = ada.start_call(&group).await.call();
    let id = call["id"].as_str().unwrap();
    let mut rung = eve.call_events().await;
    bob.accept_call(id).await.data();
    let query = "query ($id: ID!) { node(id: $id) { ... on Call { createdAt ringsUntil } } }";
    let times = ada.query(query, json!({"id": id})).await["node"].clone();
    let time = |field: &str| times[field].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
    assert_eq!((time("ringsUntil") - time("createdAt")).num_seconds(), 300);
    rung.expect("CallRinging").await;
    rung.expect("CallAnswered").await;
    end_ringing_time(&database).await;
    let silenced = rung.expect("CallEnded").await;
    assert_eq!((&silenced["call"]["id"], &silenced["call"]["state"]), (&json!(id), &json!("ONGOING")));
    // A subscription after the timeout gets no ring of this call, but gets the ring of the next call.
    let mut late = eve.call_events().await;
    let direct = ada.open_direct(&eve).await;
    ada.leave_call(id).await.data();
    late.expect("CallLeft").await;
    late.expect("CallEnded").await;
    ada.start_call(&direct).await.data();
    late.expect("CallRinging").await;
}

#[tokio::test]
async fn an_unanswered_call_ends_as_missed_after_the_node_that_started_it_has_died() {
    let database = TestDatabase::new().await;
    let (one, two) = (node(&database, &[]).await, node(&database, &[]).await);
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let mut his = bob.call_events().await;
    let call = ada.start_call(&direct).await.call_id();
    his.expect("CallRinging").await;
    one.kill();
    end_ringing_time(&database).await;
    assert_eq!(end(&mut his).await, "MISSED");
    assert_eq!(bob.find_call(&call).await["endReason"], "MISSED");
    assert_eq!(bob.system_events(&direct).await.len(), 1);
}

#[tokio::test]
async fn a_device_without_a_connection_leaves_the_call_after_the_absence_timeout() {
    let database = TestDatabase::new().await;
    let (one, two) = (node(&database, &[ABSENCE_FLAG]).await, node(&database, &[ABSENCE_FLAG]).await);
    let (ada, bob, eve) = (one.register("ada").await, two.register("bob").await, one.register("eve").await);
    let group = ada.create_group("Trains", &[&bob, &eve]).await;
    let (mut hers, his, others) = (ada.call_events().await, bob.call_events().await, eve.call_events().await);
    let call = ada.start_call(&group).await.call_id();
    for user in [&bob, &eve] {
        user.accept_call(&call).await.data();
        assert_eq!(hers.expect("CallAnswered").await["participant"]["sessionId"], user.session.as_str());
    }
    // A device that reconnects in time, through any node, stays in the call.
    drop(his);
    let his = bob.on(&one).call_events().await;
    // Waits longer than the absence timeout.
    tokio::time::sleep(ABSENCE_TIMEOUT + Duration::from_millis(500)).await;
    assert_eq!(ada.find_call(&call).await["participants"].as_array().unwrap().len(), 3);

    let began = Instant::now();
    drop(others);
    assert_eq!(hers.expect("CallLeft").await["participant"]["sessionId"], eve.session.as_str());
    let took = began.elapsed();
    // The device never leaves before the timeout, and at most a sixth of the timeout plus two seconds later.
    let promised = ABSENCE_TIMEOUT + ABSENCE_TIMEOUT / 6 + Duration::from_secs(2);
    assert!((ABSENCE_TIMEOUT..promised + ALLOWANCE).contains(&took), "{took:?}");
    drop(his);
    assert_eq!(hers.expect("CallLeft").await["participant"]["sessionId"], bob.session.as_str());
    assert_eq!(end(&mut hers).await, "FAILED");
    assert!(ada.system_events(&group).await.last().unwrap()[3].as_str().unwrap().ends_with("connection lost"));
}

/// When the node dies, the connections of both devices end. The other node ends the call.
#[tokio::test]
async fn a_call_ends_as_failed_when_the_node_with_both_connections_dies() {
    let database = TestDatabase::new().await;
    let (one, two) = (node(&database, &[ABSENCE_FLAG]).await, node(&database, &[ABSENCE_FLAG]).await);
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let tablet = User::login(&two, &bob.username, PASSWORD).await;
    let mut heard = tablet.call_events().await;
    let sockets = (ada.call_events().await, bob.call_events().await);
    let call = ada.start_call(&direct).await.call_id();
    bob.accept_call(&call).await.data();
    drop(sockets);
    one.kill();
    assert_eq!(end(&mut heard).await, "FAILED");
    assert_eq!(bob.on(&two).find_call(&call).await["participants"], json!([]));
}

/// A node removes no device within the absence timeout after its start, so that devices can reconnect.
#[tokio::test]
async fn a_call_survives_a_restart_of_all_nodes() {
    let database = TestDatabase::new().await;
    let one = node(&database, &[ABSENCE_FLAG]).await;
    let (ada, bob) = (one.register("ada").await, one.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let sockets = (ada.call_events().await, bob.call_events().await);
    let call = ada.start_call(&direct).await.call_id();
    bob.accept_call(&call).await.data();
    one.kill();
    drop(sockets);
    // The devices were last seen long ago, as if no node had run for a minute.
    let mut connection = database.connection().await;
    let age = "UPDATE call_participants SET seen_at = seen_at - interval '1 minute'";
    sql_query(age).execute(&mut connection).await.unwrap();
    let two = node(&database, &[ABSENCE_FLAG]).await;
    let (ada, bob) = (ada.on(&two), bob.on(&two));
    // The first device reconnects immediately, the second device after the node has polled the calls.
    let mut hers = ada.call_events().await;
    let seen = "SELECT 1 FROM call_participants WHERE left_at IS NULL AND seen_at > now() - interval '30 seconds'";
    eventually("the first device is seen", async || sql_query(seen).execute(&mut connection).await.unwrap() > 0).await;
    let his = bob.call_events().await;
    // Waits until the absence timeout since the start of the node has passed.
    tokio::time::sleep(ABSENCE_TIMEOUT + Duration::from_secs(1)).await;
    assert_eq!(ada.find_call(&call).await["participants"].as_array().unwrap().len(), 2);
    // From now on the node removes absent devices from the call.
    drop(his);
    assert_eq!(end(&mut hers).await, "FAILED");
}

#[tokio::test]
async fn a_device_whose_session_is_revoked_leaves_its_call() {
    // The absence timeout is longer than the time that `end` waits.
    let node = Node::build().flag("--call-absence-timeout=600").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let direct = ada.open_direct(&bob).await;
    let mut hers = ada.call_events().await;
    let call = ada.start_call(&direct).await.call_id();
    bob.accept_call(&call).await.data();
    let revoke = "mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { sessionId } }";
    tablet.query(revoke, json!({"id": bob.session})).await;
    assert_eq!(end(&mut hers).await, "HUNG_UP");
}

/// The client has lost its network: packets of the server are dropped and not acknowledged. An event stream has no
/// pings that would reveal the loss.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_device_whose_event_stream_has_lost_its_network_leaves_the_call() {
    // BPF_RET with a length of 0: drops every incoming packet.
    const DROP_ALL: SockFilter = SockFilter::new(6, 0, 0, 0);
    let flags = ["--socket-ping-interval=1", "--socket-pong-timeout=5", "--call-absence-timeout=1"];
    let node = flags.iter().fold(Node::build(), |builder, flag| builder.flag(flag)).start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let stream = event_stream(&node, &bob).await;
    let mut hers = ada.call_events().await;
    let call = ada.start_call(&ada.open_direct(&bob).await).await.call_id();
    bob.accept_call(&call).await.data();
    hers.expect("CallAnswered").await;
    let early = tokio::time::timeout(Duration::from_secs(3), hers.next()).await;
    assert!(early.is_err(), "he stays in the call while the stream is open: {early:?}");
    SockRef::from(&stream).attach_filter(&[DROP_ALL]).unwrap();
    // The server must notice the loss itself, because by default TCP retransmits for about 15 minutes.
    let left = hers.expect("CallLeft").await;
    assert_eq!(left["participant"]["sessionId"], bob.session.as_str());
    assert_eq!(end(&mut hers).await, "FAILED");
}

/// Opens an event stream of the user's call events, and waits until it is live.
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
    within(PATIENCE, "the event CallsCaughtUp", async {
        while !read.contains("CallsCaughtUp") {
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "{read}");
            read.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    })
    .await;
    stream
}
