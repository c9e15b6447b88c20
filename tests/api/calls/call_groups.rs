//! Group calls: joins, declines, and limits on the number of devices.

use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, User, call_sessions as sessions};

/// A decline stops the ring on all devices of the user who declines, but not for other users.
#[tokio::test]
async fn a_group_call_keeps_ringing_for_others_after_a_decline() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let group = ada.create_group("Call me", &[&bob, &eve]).await;
    let (mut his, mut hers) = (tablet.call_events().await, eve.call_events().await);
    let call = ada.start_call(&group).await.call_id();
    his.expect("CallRinging").await;
    hers.expect("CallRinging").await;
    assert_eq!(bob.decline_call(&call).await.call_state(), ("RINGING".to_owned(), Value::Null));
    let left = his.expect("CallLeft").await;
    assert_eq!(left["participant"], json!({"user": {"id": bob.id}, "sessionId": bob.session}));
    assert_eq!(bob.decline_call(&call).await.call_state().0, "RINGING", "a repeated decline changes nothing");
    assert_eq!(eve.accept_call(&call).await.call_state().0, "ONGOING");
    // Other users receive no event for the decline.
    assert_eq!(hers.expect("CallAnswered").await["participant"]["user"]["id"], eve.id.as_str());
    his.expect("CallAnswered").await;
    // A user who has declined can still join, by `acceptCall` or `startCall`.
    let joined = tablet.start_call(&group).await.call();
    assert_eq!(joined["id"], call.as_str());
    assert_eq!(sessions(&joined), [ada.session.as_str(), eve.session.as_str(), tablet.session.as_str()]);
    assert_eq!(bob.accept_call(&call).await.conflict(), "ON_ANOTHER_DEVICE", "a user joins with one device only");
    assert_eq!(ada.leave_call(&call).await.call_state().0, "ONGOING");
    assert_eq!(ada.leave_call(&call).await.call_state().0, "ONGOING", "a repeated leave changes nothing");
    assert_eq!(ada.accept_call(&call).await.call_state().0, "ONGOING", "a device can rejoin");
    tablet.leave_call(&call).await.data();
    ada.leave_call(&call).await.data();
    assert_eq!(eve.find_call(&call).await["endReason"], "HUNG_UP");
}

#[tokio::test]
async fn a_group_call_is_declined_when_all_callees_have_declined() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Not now", &[&bob, &eve]).await;
    let call = ada.start_call(&group).await.call_id();
    bob.decline_call(&call).await.data();
    assert_eq!(eve.decline_call(&call).await.call_state(), ("ENDED".to_owned(), json!("DECLINED")));
    assert_eq!(ada.accept_call(&call).await.conflict(), "CALL_OVER");
}

/// The default limit is eight devices. Each device that joins gets the list of sessions to which it must send offers.
#[tokio::test]
async fn a_mesh_call_refuses_the_ninth_device() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut others = Vec::new();
    for _ in 0..8 {
        others.push(node.register("other").await);
    }
    let group = ada.create_group("Nine", &others.iter().collect::<Vec<_>>()).await;
    let call = ada.start_call(&group).await.call_id();
    let mut inside = vec![ada.session.as_str()];
    let (ninth, others) = others.split_last().unwrap();
    for other in others {
        inside.push(&other.session);
        let joined = other.accept_call(&call).await.call();
        assert_eq!(sessions(&joined), inside, "in the order of their joins");
    }
    let mut waiting = ninth.call_events().await;
    for refused in [ninth.accept_call(&call).await, ninth.start_call(&group).await] {
        assert_eq!(refused.conflict(), "CALL_FULL");
    }
    // The call keeps ringing for the ninth user, who can join when a device leaves.
    assert_eq!(waiting.expect("CallRinging").await["call"]["id"], call.as_str());
    others[0].leave_call(&call).await.data();
    assert_eq!(waiting.expect("CallLeft").await["participant"]["sessionId"], others[0].session.as_str());
    assert_eq!(sessions(&ninth.accept_call(&call).await.call()).len(), 8);
}

#[tokio::test]
async fn settings_limit_the_devices_of_a_mesh_call_and_the_size_of_groups_with_calls() {
    let node = Node::build().flag("--call-max-mesh=2").flag("--call-max-group-size=3").start_alone().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Three", &[&bob, &eve]).await;
    let call = ada.start_call(&group).await.call_id();
    bob.accept_call(&call).await.data();
    let full = eve.accept_call(&call).await;
    assert_eq!((full.conflict(), full.violations()), ("CALL_FULL", vec!["callId"]));
    let dora = node.register("dora").await;
    let larger = ada.create_group("Four", &[&bob, &eve, &dora]).await;
    assert_eq!(eve.start_call(&larger).await.violations(), ["conversationId"]);
    let alone = ada.create_group("Alone", &[]).await;
    assert_eq!(dora.start_call(&larger).await.code(), "BAD_USER_INPUT");
    assert_eq!(ada.start_call(&alone).await.violations(), ["conversationId"]);
    assert_eq!(ada.start_call("cnv_x").await.violations(), ["conversationId"]);
    assert_eq!(ada.accept_call("cal_x").await.violations(), ["callId"]);
}

/// Joins have a rate limit, because each join and each leave sends events to all participants.
#[tokio::test]
async fn call_joins_per_minute_are_limited() {
    let node = Node::build().flag("--call-joins-per-minute=3").start_alone().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Doors", &[&bob, &eve]).await;
    let call = ada.start_call(&group).await.call_id();
    eve.accept_call(&call).await.data();
    for _ in 0..3 {
        bob.accept_call(&call).await.data();
        bob.leave_call(&call).await.data();
    }
    for answer in [bob.accept_call(&call).await, bob.start_call(&group).await] {
        assert_eq!(answer.code(), "RATE_LIMITED");
        assert_eq!(answer.body["errors"][0]["extensions"]["limit"], "CALL_JOINS_PER_MINUTE");
    }
    assert_eq!(ada.find_call(&call).await["participants"].as_array().unwrap().len(), 2);
}

/// A decline does not count against the limit of joins, and the user who declined cannot leave the call.
#[tokio::test]
async fn a_decline_does_not_count_as_a_join() {
    let node = Node::build().flag("--call-joins-per-minute=2").start_alone().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Not now", &[&bob, &eve]).await;
    for _ in 0..2 {
        let call = ada.start_call(&group).await.call_id();
        bob.decline_call(&call).await.data();
        assert_eq!(bob.leave_call(&call).await.conflict(), "NOT_IN_THIS_CALL");
        ada.leave_call(&call).await.data();
    }
    let call = ada.start_call(&group).await.call_id();
    bob.decline_call(&call).await.data();
    assert_eq!(bob.accept_call(&call).await.call_state().0, "ONGOING");
}
