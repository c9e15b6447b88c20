//! Call signals: a signal reaches exactly the addressed device, in order, or the sender gets an error.

use std::time::{Duration, Instant};

use diesel::QueryableByName;
use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, CallEvents, Node, PASSWORD, TestDatabase, User, eventually};

const OFFER: &str =
    "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=x: \"quoted\" \u{e9} \\n\r\n";
const CANDIDATE: &str = "candidate:842163049 1 udp 1677729535 203.0.113.7 50000 typ srflx raddr 0.0.0.0 rport 0";

/// Two users, Ada and Bob, in one call.
struct Scene {
    node: Node,
    ada: User,
    bob: User,
    call: String,
}

async fn scene(node: Node) -> Scene {
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let call = ada.start_call(&ada.open_direct(&bob).await).await.call_id();
    bob.accept_call(&call).await.data();
    Scene { node, ada, bob, call }
}

/// Waits for the next signal and returns its candidate.
async fn candidate(events: &mut CallEvents) -> String {
    let event = events.expect("CallSignalReceived").await;
    event["signal"]["candidate"]["candidate"].as_str().unwrap().to_owned()
}

fn numbered(number: usize) -> String {
    format!("candidate:{number} 1 udp 2113937151 192.0.2.1 54400 typ host")
}

#[track_caller]
fn limit(answer: &Answer) -> &str {
    assert_eq!(answer.code(), "RATE_LIMITED");
    assert!(answer.body["errors"][0]["extensions"]["retryAfter"].as_i64().unwrap() > 0);
    answer.body["errors"][0]["extensions"]["limit"].as_str().unwrap()
}

#[tokio::test]
async fn signals_arrive_unchanged() {
    let Scene { node, ada, bob, call } = scene(Node::start().await).await;
    let mut events = bob.call_events().await;
    ada.send_offer(&call, &bob, OFFER).await.data();
    let full = json!({"candidate": CANDIDATE, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "x+/Y"});
    ada.send_signal(&call, &bob, json!({"candidate": full})).await.data();
    let end = json!({"candidate": "", "sdpMid": null, "sdpMLineIndex": null, "usernameFragment": null});
    ada.send_signal(&call, &bob, json!({"candidate": end})).await.data();
    let rollback = json!({"type": "ROLLBACK", "sdp": ""});
    ada.send_signal(&call, &bob, json!({"description": rollback})).await.data();
    let mut ids = Vec::new();
    for signal in [
        json!({"description": {"type": "OFFER", "sdp": OFFER}, "candidate": null}),
        json!({"description": null, "candidate": full}),
        json!({"description": null, "candidate": end}),
        json!({"description": rollback, "candidate": null}),
    ] {
        let event = events.expect("CallSignalReceived").await;
        assert_eq!(event["signal"], signal);
        assert_eq!(event["from"], json!({"user": {"id": ada.id}, "sessionId": ada.session}));
        assert_eq!(event["call"]["id"], call.as_str());
        ids.push(event["id"].as_str().unwrap().parse::<i64>().unwrap());
    }
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
    drop(node);
}

/// Signals are not delivered to other devices of the user, to inboxes, or to other participants of the call.
#[tokio::test]
async fn signals_reach_only_the_addressed_device() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let group = ada.create_group("Three", &[&bob, &eve]).await;
    let call = ada.start_call(&group).await.call_id();
    for user in [&bob, &eve] {
        user.accept_call(&call).await.data();
    }
    let mut inboxes = [bob.inbox().await, tablet.inbox().await];
    let mut others = [tablet.call_events().await, eve.call_events().await, ada.call_events().await];
    let mut events = bob.call_events().await;
    ada.send_offer(&call, &bob, OFFER).await.data();
    eve.send_candidate(&call, &bob, CANDIDATE).await.data();
    for from in [&ada, &eve] {
        let event = events.expect("CallSignalReceived").await;
        assert_eq!(event["from"]["sessionId"], from.session.as_str());
    }
    eve.leave_call(&call).await.data();
    for other in &mut others {
        other.expect("CallLeft").await;
    }
    for inbox in &mut inboxes {
        assert_eq!(inbox.next().await["__typename"], "CallLeft");
    }
}

#[tokio::test]
async fn signals_between_two_nodes_arrive_in_order_in_both_directions() {
    let database = TestDatabase::new().await;
    let build = async || {
        let node = Node::build().flag("--call-signals-per-second=1000").redis(&database.name).await;
        node.start_on(&database).await
    };
    let (one, two) = (build().await, build().await);
    let (ada, bob) = (one.register("ada").await, two.register("bob").await);
    let call = ada.start_call(&ada.open_direct(&bob).await).await.call_id();
    bob.accept_call(&call).await.data();
    let (mut hers, mut his) = (ada.call_events().await, bob.call_events().await);
    for number in 0..100 {
        ada.on(if number % 2 == 0 { &one } else { &two }).send_candidate(&call, &bob, &numbered(number)).await.data();
        bob.send_candidate(&call, &ada, &numbered(number)).await.data();
    }
    for number in 0..100 {
        assert_eq!([candidate(&mut hers).await, candidate(&mut his).await], [numbered(number), numbered(number)]);
    }
}

/// A phone that a push notification wakes may accept the call before it subscribes.
#[tokio::test]
async fn signals_wait_for_a_device_that_has_not_subscribed_yet() {
    let Scene { node, ada, bob, call } = scene(Node::start().await).await;
    for number in 0..20 {
        ada.send_candidate(&call, &bob, &numbered(number)).await.data();
    }
    let mut events = bob.call_events().await;
    let mut handed_over = Vec::new();
    for number in 0..22 {
        if number >= 20 {
            ada.send_candidate(&call, &bob, &numbered(number)).await.data();
        }
        let event = events.expect("CallSignalReceived").await;
        assert_eq!(event["signal"]["candidate"]["candidate"], numbered(number));
        handed_over.push(event);
    }
    // The server does not know whether the signals arrived. A new subscription gets them again, with the same ids.
    drop(events);
    ada.send_candidate(&call, &bob, &numbered(22)).await.data();
    let mut again = bob.call_events().await;
    for before in handed_over {
        assert_eq!(again.expect("CallSignalReceived").await, before);
    }
    assert_eq!(candidate(&mut again).await, numbered(22));
    drop(node);
}

/// A phone that has lost its network keeps its socket until the server misses a pong.
#[tokio::test]
async fn a_signal_sent_into_a_dead_socket_is_delivered_again() {
    let Scene { node, ada, bob, call } = scene(Node::start().await).await;
    let mut dead = bob.call_events().await;
    ada.send_candidate(&call, &bob, CANDIDATE).await.data();
    assert_eq!(candidate(&mut dead).await, CANDIDATE);
    // This wait is shorter than the ping interval, so the server does not know yet that the socket is dead.
    tokio::time::sleep(Duration::from_secs(22)).await;
    assert_eq!(candidate(&mut bob.call_events().await).await, CANDIDATE);
    drop((node, dead));
}

#[tokio::test]
async fn pending_signals_are_limited_in_number_and_expire() {
    let database = TestDatabase::new().await;
    let node = Node::build().flags(&["--call-max-pending-signals=3", "--call-signals-per-second=1000"]);
    let Scene { node, ada, bob, call } = scene(node.start_on(&database).await).await;
    for number in 0..3 {
        ada.send_candidate(&call, &bob, &numbered(number)).await.data();
    }
    let full = ada.send_candidate(&call, &bob, &numbered(3)).await;
    assert_eq!(limit(&full), "CALL_MAX_PENDING_SIGNALS");
    // The limit applies to each recipient, so signals in the other direction are accepted.
    bob.send_candidate(&call, &ada, CANDIDATE).await.data();
    // Expired signals make room for new ones. The signals are older now than CALL_SIGNAL_TTL, which is 90 seconds.
    let age = diesel::sql_query("UPDATE call_signals SET created_at = created_at - interval '91 seconds'");
    age.execute(&mut database.connection().await).await.unwrap();
    eventually("the signals expire", async || {
        let later = ada.send_candidate(&call, &bob, &numbered(4)).await;
        let is_sent = later.body.get("errors").is_none();
        assert!(is_sent || limit(&later) == "CALL_MAX_PENDING_SIGNALS");
        is_sent
    })
    .await;
    assert_eq!(candidate(&mut bob.call_events().await).await, numbered(4));
    drop(node);
}

/// The limit of this test is 128 KiB: two descriptions of the maximum size.
#[tokio::test]
async fn pending_signals_are_limited_in_bytes() {
    let node = Node::build().flag("--call-max-pending-bytes=131072").start_alone().await;
    let Scene { node, ada, bob, call } = scene(node).await;
    let large = format!("v=0\r\n{}", "a".repeat(64 * 1024 - 5));
    for _ in 0..2 {
        ada.send_offer(&call, &bob, &large).await.data();
    }
    let full = ada.send_candidate(&call, &bob, CANDIDATE).await;
    assert_eq!(limit(&full), "CALL_MAX_PENDING_BYTES");
    // The limit applies to each recipient, so signals in the other direction are accepted.
    bob.send_offer(&call, &ada, &large).await.data();
    drop(node);
}

/// The server reads pending signals in pages of 32.
#[tokio::test]
async fn many_pending_signals_arrive_once_and_in_order() {
    let node = Node::build().flag("--call-signals-per-second=1000").start_alone().await;
    let Scene { node, ada, bob, call } = scene(node).await;
    // 64 signals fill exactly two pages.
    for number in 0..64 {
        ada.send_candidate(&call, &bob, &numbered(number)).await.data();
    }
    let mut events = bob.call_events().await;
    for number in 0..64 {
        assert_eq!(candidate(&mut events).await, numbered(number));
    }
    for number in 64..100 {
        ada.send_candidate(&call, &bob, &numbered(number)).await.data();
        assert_eq!(candidate(&mut events).await, numbered(number));
    }
    drop(node);
}

#[tokio::test]
async fn signals_per_second_of_a_device_are_limited() {
    let node = Node::build().flag("--call-signals-per-second=1").start_alone().await;
    let Scene { node, ada, bob, call } = scene(node).await;
    let began = Instant::now();
    let answers = join_all((0..20).map(|_| ada.send_candidate(&call, &bob, CANDIDATE))).await;
    // A burst of four seconds is allowed, and one more signal per second.
    let allowed = 5 + usize::try_from(began.elapsed().as_secs()).unwrap();
    let (sent, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.body.get("errors").is_none());
    assert!((4..=allowed).contains(&sent.len()), "{} were sent, and {allowed} are allowed", sent.len());
    for answer in refused {
        assert_eq!(limit(answer), "CALL_SIGNALS_PER_SECOND");
    }
    bob.send_candidate(&call, &ada, CANDIDATE).await.data();
    drop(node);
}

#[tokio::test]
async fn only_devices_in_the_call_signal_each_other() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let direct = ada.open_direct(&bob).await;
    let call = ada.start_call(&direct).await.call_id();
    // The call still rings, so Bob is not in it.
    assert_eq!(ada.send_offer(&call, &bob, OFFER).await.code(), "NOT_FOUND");
    assert_eq!(bob.send_offer(&call, &ada, OFFER).await.code(), "FORBIDDEN");
    bob.accept_call(&call).await.data();
    assert_eq!(ada.send_offer(&call, &tablet, OFFER).await.code(), "NOT_FOUND");
    assert_eq!(tablet.send_offer(&call, &ada, OFFER).await.code(), "FORBIDDEN");
    assert_eq!(eve.send_offer(&call, &ada, OFFER).await.code(), "NOT_FOUND");
    assert_eq!(ada.send_offer(&call, &eve, OFFER).await.code(), "NOT_FOUND");
    assert_eq!(ada.send_offer(&call, &ada, OFFER).await.violations(), ["toSessionId"]);
    assert_eq!(ada.send_offer("cal_x", &bob, OFFER).await.violations(), ["callId"]);
    bob.send_offer(&call, &ada, OFFER).await.data();
    bob.leave_call(&call).await.data();
    assert_eq!(ada.send_offer(&call, &bob, OFFER).await.conflict(), "CALL_OVER");
}

#[tokio::test]
async fn malformed_descriptions_and_candidates_are_refused() {
    let Scene { node, ada, bob, call } = scene(Node::start().await).await;
    let description = |kind: &str, sdp: &str| json!({"description": {"type": kind, "sdp": sdp}});
    let sdp = "signal.description.sdp";
    let long = format!("v=0\r\n{}", "a".repeat(64 * 1024));
    for (kind, text) in [("OFFER", "hello"), ("ANSWER", ""), ("OFFER", "v=0"), ("OFFER", "v=0\r\n\0"), ("OFFER", &long)]
    {
        assert_eq!(ada.send_signal(&call, &bob, description(kind, text)).await.violations(), [sdp], "{text:.20}");
    }
    // A description of the maximum size is accepted.
    ada.send_signal(&call, &bob, description("OFFER", &long[..64 * 1024])).await.data();
    let full = |field: &str, value: Value| {
        let mut candidate = json!({"candidate": CANDIDATE});
        candidate[field] = value;
        json!({"candidate": candidate})
    };
    for (field, value) in [
        ("candidate", json!("candidate:")),
        ("candidate", json!("a=candidate:1 1 udp 1 192.0.2.1 1 typ host")),
        ("candidate", json!(format!("{CANDIDATE} {}", "x".repeat(1024)))),
        ("candidate", json!(format!("{CANDIDATE}\r\na=evil"))),
        ("sdpMid", json!("x".repeat(257))),
        ("sdpMLineIndex", json!(-1)),
        ("sdpMLineIndex", json!(65_536)),
        ("usernameFragment", json!("x\0")),
    ] {
        let answer = ada.send_signal(&call, &bob, full(field, value)).await;
        assert_eq!(answer.violations(), [format!("signal.candidate.{field}")]);
    }
    // A signal has either a description or a candidate.
    for signal in [json!({}), json!({"description": {"type": "OFFER", "sdp": OFFER}, "candidate": {"candidate": ""}})] {
        let answer = ada.send_signal(&call, &bob, signal).await;
        assert!(["GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT"].contains(&answer.code()), "{:#}", answer.body);
    }
    drop(node);
}

#[tokio::test]
async fn signals_are_deleted_when_the_sender_or_recipient_leaves_the_call() {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Three", &[&bob, &eve]).await;
    let call = ada.start_call(&group).await.call_id();
    for user in [&bob, &eve] {
        user.accept_call(&call).await.data();
    }
    for (from, to) in [(&ada, &bob), (&bob, &ada), (&eve, &ada)] {
        from.send_offer(&call, to, OFFER).await.data();
    }
    bob.leave_call(&call).await.data();
    // A device that rejoins gets no signals that were sent before it rejoined.
    bob.accept_call(&call).await.data();
    let mut events = bob.call_events().await;
    eve.send_candidate(&call, &bob, CANDIDATE).await.data();
    assert_eq!(candidate(&mut events).await, CANDIDATE);
    let mut hers = ada.call_events().await;
    assert_eq!(hers.expect("CallSignalReceived").await["from"]["sessionId"], eve.session.as_str());
    for user in [&ada, &bob] {
        user.leave_call(&call).await.data();
    }
    let query = diesel::sql_query("SELECT count(*) FROM call_signals");
    assert_eq!(query.get_result::<Count>(&mut database.connection().await).await.unwrap().count, 0);
}
