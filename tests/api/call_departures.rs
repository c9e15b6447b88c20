//! Whoever is out of a call through no doing of their device hears of it.

use serde_json::{Value, json};

use crate::support::{CallEvents, Node, PASSWORD, User};

/// Camera and microphone go off, and what rings stops; of the conversation they see nothing any more.
#[tokio::test]
async fn who_is_removed_hears_that_they_are_out_of_its_call() {
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
    let left = out_of(&mut hers, "CallLeft").await;
    assert_eq!(left["participant"]["sessionId"], eve.session.as_str());
    let over = out_of(&mut rung, "CallEnded").await;
    for event in [&left, &over] {
        assert_eq!(event["call"]["id"], call.as_str());
        assert_eq!((&event["call"]["conversation"], &event["call"]["participants"]), (&Value::Null, &json!([])));
    }
    assert_eq!(ada.find_call(&call).await["state"], "ONGOING");
    // Also who goes of their own accord, on all of their devices.
    bob.leave(&group).await.data();
    assert_eq!(out_of(&mut his, "CallLeft").await["participant"]["sessionId"], bob.session.as_str());
}

/// The others close their connections to it, though there is nobody any more whom it was of.
#[tokio::test]
async fn the_others_hear_that_a_deleted_account_has_left() {
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
    while inbox.next().await["__typename"] != "CallSessionGone" {}
    // Whoever catches up hears of no answer of an account that is gone.
    let missed = bob.inbox_after(before.as_deref()).await.missed().await;
    let of_calls: Vec<_> = missed.iter().map(|event| event["__typename"].as_str().unwrap()).collect();
    assert_eq!(of_calls.iter().filter(|kind| **kind == "CallAnswered").count(), 1, "Bob's own: {of_calls:?}");
    assert_eq!(of_calls.iter().filter(|kind| **kind == "CallSessionGone").count(), 1, "{of_calls:?}");
    let inside = ada.find_call(&call).await["participants"].clone();
    let session = |user: &User| json!({"user": {"id": user.id}, "sessionId": user.session});
    assert_eq!(inside, json!([session(&ada), session(&bob)]));
    ada.leave_call(&call).await.data();
    his.expect("CallLeft").await;
    his.expect("CallEnded").await;
}

/// The next event of this type for whom the conversation is none of theirs.
async fn out_of(events: &mut CallEvents, kind: &str) -> Value {
    loop {
        let event = events.next().await;
        if event["__typename"] == kind && event["call"]["conversation"].is_null() {
            return event;
        }
    }
}
