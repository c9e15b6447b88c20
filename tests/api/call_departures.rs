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

/// The next event of this type for whom the conversation is none of theirs.
async fn out_of(events: &mut CallEvents, kind: &str) -> Value {
    loop {
        let event = events.next().await;
        if event["__typename"] == kind && event["call"]["conversation"].is_null() {
            return event;
        }
    }
}
