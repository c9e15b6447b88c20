//! Events for devices that have left a call because their user was removed, left the group or deleted the account.

use serde_json::{Value, json};

use crate::support::{CallEvents, Node, PASSWORD, PATIENCE, User, within};

/// Because of these events the devices stop media and rings. The events do not show the conversation.
#[tokio::test]
async fn removed_users_receive_the_end_of_the_call_or_ring() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (eve, fay) = (node.register("eve").await, node.register("fay").await);
    let group = ada.create_group("Secret", &[&bob, &eve, &fay]).await;
    let tablet = User::login(&node, &bob.username, PASSWORD).await;
    let mut his = tablet.call_events().await;
    let (mut hers, mut rung) = (eve.call_events().await, fay.call_events().await);
    let call = ada.start_call(&group).await.call_id();
    for user in [&bob, &eve] {
        user.accept_call(&call).await.data();
    }
    ada.remove(&group, &eve).await.data();
    ada.remove(&group, &fay).await.data();
    let left = next_without_conversation(&mut hers, "CallLeft").await;
    assert_eq!(left["participant"]["sessionId"], eve.session.as_str());
    let over = next_without_conversation(&mut rung, "CallEnded").await;
    for event in [&left, &over] {
        assert_eq!(event["call"]["id"], call.as_str());
        assert_eq!((&event["call"]["conversation"], &event["call"]["participants"]), (&Value::Null, &json!([])));
    }
    assert_eq!(ada.find_call(&call).await["state"], "ONGOING");
    // A user who leaves the group receives the event too, on all devices.
    bob.leave(&group).await.data();
    assert_eq!(next_without_conversation(&mut his, "CallLeft").await["participant"]["sessionId"], bob.session.as_str());
}

/// The other devices must close their peer connections. The event contains only the session id, because the user no
/// longer exists.
#[tokio::test]
async fn other_devices_receive_call_session_gone_when_a_participant_deletes_the_account() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Three", &[&bob, &eve]).await;
    let before = bob.inbox().await.cursor;
    let call = ada.start_call(&group).await.call_id();
    for user in [&bob, &eve] {
        user.accept_call(&call).await.data();
    }
    let (mut hers, mut his, mut inbox) = (ada.call_events().await, bob.call_events().await, bob.inbox().await);
    eve.delete_account(Some(PASSWORD)).await.data();
    for events in [&mut hers, &mut his] {
        let left = events.expect("CallSessionGone").await;
        assert_eq!(left["sessionId"], eve.session.as_str());
        assert_eq!((&left["call"]["id"], &left["call"]["state"]), (&json!(call), &json!("ONGOING")));
    }
    inbox.skip_to("CallSessionGone").await;
    // A resumed stream leaves out the CallAnswered of the deleted account.
    let missed = bob.inbox_after(before.as_deref()).await.missed().await;
    let of_calls: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(of_calls.iter().filter(|kind| **kind == "CallAnswered").count(), 1, "only Bob's own: {of_calls:?}");
    assert_eq!(of_calls.iter().filter(|kind| **kind == "CallSessionGone").count(), 1, "{of_calls:?}");
    let inside = ada.find_call(&call).await["participants"].clone();
    let session = |user: &User| json!({"user": {"id": user.id}, "sessionId": user.session});
    assert_eq!(inside, json!([session(&ada), session(&bob)]));
    ada.leave_call(&call).await.data();
    his.expect("CallLeft").await;
    his.expect("CallEnded").await;
}

/// Waits for the next event of this type whose call has no conversation, and returns it. Skips other events.
async fn next_without_conversation(events: &mut CallEvents, kind: &str) -> Value {
    within(2 * PATIENCE, kind, async {
        loop {
            let event = events.next().await;
            if event["__typename"] == kind && event["call"]["conversation"].is_null() {
                return event;
            }
        }
    })
    .await
}
