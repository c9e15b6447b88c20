//! `callEvents`: a subscription begins with the current state of calls, then follows their changes.

use std::time::Instant;

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::{Node, PASSWORD, User, call_sessions as sessions};

/// A phone that a push notification wakes opens a new subscription. Neither this subscription nor a resumed inbox
/// delivers the `CallRinging` of a call that no longer rings.
#[tokio::test]
async fn late_subscribers_receive_only_rings_of_calls_that_still_ring() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let (direct, other) = (ada.open_direct(&bob).await, eve.open_direct(&bob).await);
    let cursor = bob.inbox().await.cursor;
    let over = ada.start_call(&direct).await.call_id();
    ada.leave_call(&over).await.data();
    let call = eve.start_call(&other).await.call_id();
    let mut late = bob.call_events().await;
    assert_eq!(late.expect("CallRinging").await["call"]["id"], call.as_str());
    let rung = |events: &[Value]| -> Vec<Value> {
        let rings = events.iter().filter(|event| event["__typename"] == "CallRinging");
        rings.map(|event| event["call"]["id"].clone()).collect()
    };
    let missed = bob.inbox_after(cursor.as_deref()).await.missed().await;
    assert_eq!(rung(&missed), [call.as_str()]);
    let ended = missed.iter().filter(|event| event["__typename"] == "CallEnded").count();
    assert_eq!(ended, 1);
    // A resumed inbox also leaves out the ring if a rendering of the event is cached.
    bob.accept_call(&call).await.data();
    assert_eq!(rung(&tablet.inbox_after(cursor.as_deref()).await.missed().await), Vec::<Value>::new());
    let mut events = tablet.call_events().await;
    bob.leave_call(&call).await.data();
    assert_ne!(events.next().await["__typename"], "CallRinging");
}

/// A page that was reloaded, or whose socket broke, restores its calls from `CallsCaughtUp`.
#[tokio::test]
async fn a_call_subscription_begins_with_the_ringing_calls_and_the_current_call() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let (direct, other) = (ada.open_direct(&bob).await, eve.open_direct(&bob).await);
    let nothing = json!({"__typename": "CallsCaughtUp", "ringing": [], "current": null});
    assert_eq!(bob.call_events().await.caught_up, nothing);
    assert_eq!(bob.current_call().await, Value::Null);
    let call = ada.start_call(&direct).await.call_id();
    let mut rung = bob.call_events().await;
    assert_eq!(rung.caught_up["ringing"], json!([{"id": call}]));
    assert_eq!(rung.expect("CallRinging").await["call"]["id"], call.as_str());
    // While the call rings, it is the current call of the caller.
    assert_eq!(ada.call_events().await.caught_up["current"]["id"], call.as_str());

    bob.accept_call(&call).await.data();
    let second = eve.start_call(&other).await;
    assert_eq!(second.call_state(), ("ENDED".to_owned(), json!("BUSY")));
    for user in [&ada, &bob] {
        let caught_up = user.call_events().await.caught_up;
        assert_eq!(caught_up["ringing"], json!([]));
        assert_eq!(caught_up["current"]["id"], call.as_str());
        assert_eq!(sessions(&caught_up["current"]), [ada.session.as_str(), bob.session.as_str()]);
    }
    // On Bob's other device the call is not the current call, but `viewer.call` shows it.
    assert_eq!(tablet.call_events().await.caught_up, nothing);
    assert_eq!(tablet.current_call().await["id"], call.as_str());
    assert_eq!(eve.current_call().await, Value::Null);
    bob.leave_call(&call).await.data();
    assert_eq!(ada.call_events().await.caught_up, nothing);
    assert_eq!((ada.current_call().await, tablet.current_call().await), (Value::Null, Value::Null));
}

/// If a call ends while a device subscribes, either `CallsCaughtUp` does not contain the call, or `CallEnded` follows.
#[tokio::test]
async fn no_call_change_is_lost_between_the_initial_state_and_live_events() {
    const ROUNDS: u32 = 50;
    let node = Node::build().flag("--call-starts-per-minute=1000").flag("--call-joins-per-minute=1000");
    let node = node.start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let direct = ada.open_direct(&bob).await;
    // The delays below depend on the time that a subscription takes on this machine.
    let began = Instant::now();
    drop(bob.call_events().await);
    let subscribing = began.elapsed();
    let mut shown = 0;
    for round in 0..=ROUNDS {
        let call = ada.start_call(&direct).await.call_id();
        bob.accept_call(&call).await.data();
        // In the first round the call ends before the subscription begins, and in the last round after it is live. In
        // the other rounds the call ends at different moments of subscribing.
        let subscribe = async {
            sleep(subscribing / 2).await;
            bob.call_events().await
        };
        let leave = async {
            sleep(subscribing * round / ROUNDS).await;
            ada.leave_call(&call).await.data()
        };
        let mut events = match round {
            0 => {
                leave.await;
                subscribe.await
            }
            ROUNDS => {
                let events = subscribe.await;
                leave.await;
                events
            }
            _ => tokio::join!(subscribe, leave).0,
        };
        if events.caught_up["current"].is_null() {
            continue;
        }
        shown += 1;
        events.up_to("CallEnded").await;
    }
    assert!((1..=ROUNDS).contains(&shown), "{shown} of {} subscriptions began before the end", ROUNDS + 1);
}
