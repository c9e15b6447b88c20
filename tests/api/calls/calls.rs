//! Call mutations: results, errors, and which devices receive which events.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::support::{Inbox, Node, PASSWORD, User, call_sessions as sessions};

/// Starts a node with limits on call starts and joins that no test reaches.
pub(super) async fn patient_node() -> Node {
    Node::build().flag("--call-starts-per-minute=1000").flag("--call-joins-per-minute=1000").start_alone().await
}

async fn block(user: &User, other: &User) {
    let query = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    user.query(query, json!({"id": other.id})).await;
}

async fn unblock(user: &User, other: &User) {
    let query = "mutation ($id: ID!) { unblockUser(input: {userId: $id}) { user { id } } }";
    user.query(query, json!({"id": other.id})).await;
}

/// Receives `count` events and returns their types.
async fn kinds(inbox: &mut Inbox, count: usize) -> Vec<String> {
    let mut kinds = Vec::new();
    for _ in 0..count {
        kinds.push(inbox.next().await["__typename"].as_str().unwrap().to_owned());
    }
    kinds
}

/// Sends a message, and checks that its event is the next event of the inbox.
async fn expect_no_event_before_message(inbox: &mut Inbox, sender: &User, conversation: &str) {
    sender.send(conversation, "the next").await;
    let event = inbox.next().await;
    assert_eq!(event["message"]["body"], "the next", "{event:#}");
}

#[tokio::test]
async fn all_devices_receive_the_ring_the_answer_and_the_end_of_a_call() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let direct = ada.open_direct(&bob).await;
    let (mut caller, mut phone, mut other) =
        (ada.call_events().await, bob.call_events().await, tablet.call_events().await);
    let mut inbox = tablet.inbox().await;
    let call = ada.start_call(&direct).await.call();
    let id = call["id"].as_str().unwrap();
    assert!(id.starts_with("cal_"), "{id}");
    assert_eq!((&call["kind"], &call["startedBy"]["id"]), (&json!("VIDEO"), &json!(ada.id)));
    assert_eq!((&call["answeredAt"], &call["conversation"]["id"]), (&Value::Null, &json!(direct)));
    assert_eq!(sessions(&call), [ada.session.as_str()]);
    for device in [&mut phone, &mut other] {
        let rung = device.expect("CallRinging").await;
        assert_eq!((&rung["call"]["id"], &rung["call"]["state"]), (&json!(id), &json!("RINGING")));
    }
    assert_eq!(kinds(&mut inbox, 1).await, ["CallRinging"]);
    assert_eq!(bob.call_in(&direct).await["id"], id);
    assert_eq!(bob.find_call(id).await["id"], id);

    let answered = bob.accept_call(id).await.call();
    assert_eq!(sessions(&answered), [ada.session.as_str(), bob.session.as_str()], "the newcomer is last");
    assert!(answered["answeredAt"].is_string());
    // The event shows the caller which device answered, and makes the other device of the callee stop ringing.
    for device in [&mut caller, &mut phone, &mut other] {
        let event = device.expect("CallAnswered").await;
        assert_eq!(event["participant"], json!({"user": {"id": bob.id}, "sessionId": bob.session}));
    }
    assert_eq!(kinds(&mut inbox, 1).await, ["CallAnswered"]);
    let late = tablet.accept_call(id).await;
    assert_eq!((late.conflict(), late.violations()), ("ON_ANOTHER_DEVICE", vec!["callId"]));

    ada.leave_call(id).await.data();
    for device in [&mut caller, &mut phone, &mut other] {
        assert_eq!(device.expect("CallLeft").await["participant"]["sessionId"], ada.session.as_str());
        assert_eq!(device.expect("CallEnded").await["call"]["endReason"], "HUNG_UP");
    }
    assert_eq!(kinds(&mut inbox, 3).await, ["CallLeft", "CallEnded", "MessageAdded"]);
    assert_eq!(ada.call_in(&direct).await, Value::Null);
    assert_eq!(ada.find_call(id).await["participants"], json!([]));
}

#[tokio::test]
async fn each_ended_call_adds_a_system_message() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let cancelled = ada.start_call(&direct).await.call_id();
    ada.leave_call(&cancelled).await.data();
    let declined = bob.start_call(&direct).await.call_id();
    ada.decline_call(&declined).await.data();
    let spoken = ada.start_call(&direct).await.call_id();
    bob.accept_call(&spoken).await.data();
    let ended = bob.leave_call(&spoken).await.call();
    let time = |field: &str| ended[field].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let spoken_text = format!("Video call, {} s", (time("endedAt") - time("answeredAt")).num_seconds());

    let query = "query ($id: ID!) { conversation(id: $id) { messages(last: 10) { nodes {
        kind sender { id } systemEvent { kind text actor { id } call { id endReason } }
    } } viewerMembership { unreadCount } } }";
    let data = bob.query(query, json!({"id": direct})).await;
    let told: Vec<_> = data["conversation"]["messages"]["nodes"].as_array().unwrap().iter().collect();
    let expected = [
        (&ada, "Missed video call", &cancelled, "MISSED"),
        (&bob, "Declined video call", &declined, "DECLINED"),
        (&ada, spoken_text.as_str(), &spoken, "HUNG_UP"),
    ];
    assert_eq!(told.len(), expected.len());
    for (message, (actor, text, call, reason)) in told.iter().zip(expected) {
        let event = json!({
            "kind": "CALL_ENDED", "text": text, "actor": {"id": actor.id}, "call": {"id": call, "endReason": reason}
        });
        assert_eq!(message["systemEvent"], event);
        assert_eq!((&message["kind"], &message["sender"]), (&json!("SYSTEM"), &Value::Null));
    }
    assert_eq!(data["conversation"]["viewerMembership"]["unreadCount"], 0);
}

#[tokio::test]
async fn calling_back_while_the_call_rings_joins_the_same_call() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    let mut caller = ada.call_events().await;
    let (first, second) = (ada.start_call(&direct).await.call(), bob.start_call(&direct).await.call());
    assert_eq!((&second["id"], &second["state"]), (&first["id"], &json!("ONGOING")));
    assert_eq!(second["startedBy"]["id"], ada.id.as_str());
    assert_eq!(caller.expect("CallAnswered").await["participant"]["sessionId"], bob.session.as_str());
}

#[tokio::test]
async fn a_call_to_a_user_in_another_call_ends_as_busy() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let (direct, other) = (ada.open_direct(&bob).await, eve.open_direct(&bob).await);
    let mut hers = bob.call_events().await;
    let call = ada.start_call(&direct).await.call_id();
    hers.expect("CallRinging").await;
    // A ringing call does not make the callee busy: two calls can ring at the same time.
    let waiting = eve.start_call(&other).await;
    assert_eq!(waiting.clone().call_state(), ("RINGING".to_owned(), Value::Null));
    hers.expect("CallRinging").await;
    eve.leave_call(&waiting.call_id()).await.data();
    hers.expect("CallLeft").await;
    hers.expect("CallEnded").await;

    bob.accept_call(&call).await.data();
    hers.expect("CallAnswered").await;
    let refused = eve.start_call(&other).await;
    assert_eq!(refused.clone().call_state(), ("ENDED".to_owned(), json!("BUSY")));
    // The call ends without a ring.
    hers.expect("CallEnded").await;
    assert_eq!(bob.system_events(&other).await.last().unwrap()[3], "Missed video call, busy");
    // A user in a call cannot start another call.
    let answer = bob.start_call(&other).await;
    assert_eq!((answer.conflict(), answer.violations()), ("IN_ANOTHER_CALL", vec!["conversationId"]));
    let group = eve.create_group("All", &[&ada, &bob]).await;
    let answer = eve.start_call(&group).await;
    assert_eq!(answer.call_state(), ("ENDED".to_owned(), json!("BUSY")), "all the others are in another call");
    ada.leave_call(&call).await.data();
    let ringing = eve.start_call(&group).await.call_id();
    let second = bob.start_call(&direct).await.call_id();
    assert_eq!(bob.accept_call(&ringing).await.conflict(), "IN_ANOTHER_CALL", "leave the other call first");
    bob.leave_call(&second).await.data();
    bob.accept_call(&ringing).await.data();
}

#[tokio::test]
async fn a_user_who_leaves_a_group_or_is_removed_leaves_the_call_of_the_group() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Goodbye", &[&bob, &eve]).await;
    let call = ada.start_call(&group).await.call_id();
    for user in [&bob, &eve] {
        user.accept_call(&call).await.data();
    }
    let mut hers = ada.call_events().await;
    ada.remove(&group, &eve).await.data();
    assert_eq!(hers.expect("CallLeft").await["participant"]["sessionId"], eve.session.as_str());
    assert_eq!(eve.leave_call(&call).await.code(), "NOT_FOUND");
    assert_eq!(eve.find_call(&call).await, Value::Null);
    bob.leave(&group).await.data();
    assert_eq!(hers.expect("CallLeft").await["participant"]["sessionId"], bob.session.as_str());
    assert_eq!(hers.expect("CallEnded").await["call"]["endReason"], "HUNG_UP");
}

/// Call events show the conversation, so a removed user who resumes gets no call events, not even the event of the
/// user's own decline.
#[tokio::test]
async fn a_user_removed_while_offline_receives_no_call_events_of_the_conversation() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Secret", &[&bob, &eve]).await;
    let cursor = bob.inbox().await.cursor;
    for answered in [false, true] {
        let call = ada.start_call(&group).await.call_id();
        if answered {
            bob.accept_call(&call).await.data();
        } else {
            bob.decline_call(&call).await.data();
        }
        ada.leave_call(&call).await.data();
    }
    ada.start_call(&group).await.data();
    ada.remove(&group, &bob).await.data();
    let missed = bob.inbox_after(cursor.as_deref()).await.missed().await;
    let kinds: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConversationRemoved"]);
}

#[tokio::test]
async fn account_deletion_ends_the_calls_of_the_user() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let (first, second) = (ada.open_direct(&bob).await, ada.open_direct(&eve).await);
    // The call still rings when the callee deletes the account.
    let call = ada.start_call(&first).await.call_id();
    bob.delete_account(Some(PASSWORD)).await.data();
    assert_eq!(ada.find_call(&call).await["endReason"], "MISSED");
    let call = eve.start_call(&second).await.call_id();
    ada.accept_call(&call).await.data();
    ada.delete_account(Some(PASSWORD)).await.data();
    assert_eq!(eve.find_call(&call).await["endReason"], "HUNG_UP");
    assert_eq!(eve.start_call(&second).await.violations(), ["conversationId"], "no participant is left to call");
}

#[tokio::test]
async fn a_blocked_caller_sees_a_ringing_call_that_rings_for_no_user() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Both", &[&bob]).await;
    let direct = bob.open_direct(&ada).await;
    block(&ada, &bob).await;
    let mut inbox = ada.inbox().await;
    assert_eq!(ada.start_call(&direct).await.code(), "FORBIDDEN", "the blocker cannot call");

    let answer = bob.start_call(&direct).await;
    assert_eq!(answer.clone().call_state(), ("RINGING".to_owned(), Value::Null));
    let call = answer.call_id();
    assert_eq!(bob.call_in(&direct).await["id"], call.as_str());
    assert_eq!((ada.call_in(&direct).await, ada.find_call(&call).await), (Value::Null, Value::Null));
    for answer in [ada.accept_call(&call).await, ada.decline_call(&call).await, ada.leave_call(&call).await] {
        assert_eq!(answer.code(), "NOT_FOUND");
    }
    expect_no_event_before_message(&mut inbox, &bob, &group).await;
    // The blocked caller gets the same result while the blocker is in another call.
    let eve = node.register("eve").await;
    let other = eve.open_direct(&ada).await;
    let second = ada.start_call(&other).await.call_id();
    bob.leave_call(&call).await.data();
    let again = bob.start_call(&direct).await;
    assert_eq!(again.clone().call_state().0, "RINGING");
    bob.leave_call(&again.call_id()).await.data();
    ada.leave_call(&second).await.data();
    let told = ["CALL_ENDED", bob.id.as_str(), "Missed video call"];
    let his = bob.system_events(&direct).await;
    assert_eq!(his.len(), 2);
    assert_eq!([&his[0][0], &his[0][1], &his[0][3]].map(|text| text.as_str().unwrap()), told);
    assert_eq!(ada.system_events(&direct).await, Vec::<Value>::new());

    // When the blocker calls back after the block, she joins the call that still rings.
    let third = bob.start_call(&direct).await.call_id();
    unblock(&ada, &bob).await;
    assert_eq!(ada.start_call(&direct).await.call_id(), third);
    // A group call rings for the blocker too.
    ada.leave_call(&third).await.data();
    block(&ada, &bob).await;
    let mut rings = ada.call_events().await;
    bob.start_call(&group).await.data();
    rings.expect("CallRinging").await;
}

/// The caller's devices receive the same events with and without a block.
#[tokio::test]
async fn a_blocked_caller_receives_the_same_events_as_any_caller() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = bob.open_direct(&ada).await;
    let mut heard = Vec::new();
    for blocked in [false, true] {
        if blocked {
            block(&ada, &bob).await;
        }
        let mut inbox = bob.inbox().await;
        let call = bob.start_call(&direct).await.call_id();
        bob.leave_call(&call).await.data();
        heard.push(kinds(&mut inbox, 4).await);
    }
    assert_eq!(heard[0], ["MembershipUpdated", "CallLeft", "CallEnded", "MessageAdded"]);
    assert_eq!(heard[0], heard[1]);
}

#[tokio::test]
async fn a_block_ends_the_call_with_an_ordinary_end_reason() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    for (caller, answered, reason) in
        [(&bob, false, "DECLINED"), (&bob, true, "HUNG_UP"), (&ada, false, "MISSED"), (&ada, true, "HUNG_UP")]
    {
        let callee = if caller.id == ada.id { &bob } else { &ada };
        let call = caller.start_call(&direct).await.call_id();
        if answered {
            callee.accept_call(&call).await.data();
        }
        let before = bob.system_events(&direct).await.len();
        block(&ada, &bob).await;
        assert_eq!(bob.find_call(&call).await["endReason"], reason);
        assert_eq!(bob.system_events(&direct).await.len(), before + 1);
        unblock(&ada, &bob).await;
    }
}

/// Other users cannot see the call, its existence or its end.
#[tokio::test]
async fn users_outside_the_conversation_cannot_see_a_call() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let (direct, other) = (ada.open_direct(&bob).await, ada.open_direct(&eve).await);
    let (mut inbox, mut events) = (eve.inbox().await, eve.call_events().await);
    let call = ada.start_call(&direct).await.call_id();
    bob.accept_call(&call).await.data();
    assert_eq!(eve.find_call(&call).await, Value::Null);
    let nowhere = eve.accept_call("cal_00000000000000000000000000").await;
    let theirs = eve.accept_call(&call).await;
    assert_eq!((theirs.code(), &theirs.body), ("NOT_FOUND", &nowhere.body));
    assert_eq!(eve.send_candidate(&call, &ada, "").await.code(), "NOT_FOUND");
    let message = ada.system_events(&direct).await;
    assert_eq!(message, Vec::<Value>::new());
    bob.leave_call(&call).await.data();
    expect_no_event_before_message(&mut inbox, &ada, &other).await;
    let mine = ada.start_call(&other).await.call_id();
    assert_eq!(events.expect("CallRinging").await["call"]["id"], mine.as_str(), "no event comes before it");
    let anonymous = "mutation ($id: ID!) { acceptCall(input: {callId: $id}) { call { id } } }";
    assert_eq!(node.call(None, anonymous, json!({"id": mine})).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn call_starts_per_minute_are_limited() {
    let node = Node::build().flag("--call-starts-per-minute=2").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    for _ in 0..2 {
        let call = ada.start_call(&direct).await.call_id();
        ada.leave_call(&call).await.data();
    }
    let answer = ada.start_call(&direct).await;
    assert_eq!(answer.code(), "RATE_LIMITED");
    let extensions = &answer.body["errors"][0]["extensions"];
    assert_eq!(extensions["limit"], "CALL_STARTS_PER_MINUTE");
    assert!((1..=60).contains(&extensions["retryAfter"].as_i64().unwrap()), "{extensions}");
    // `startCall` on a call that exists joins it and is not counted. Each user has a separate limit.
    let call = bob.start_call(&direct).await.call_id();
    assert_eq!(ada.start_call(&direct).await.call_id(), call);
}
