//! Rejected requests, and which HTTP streams count as connections for presence.

use serde_json::json;

use super::{Listener, PRESENCE, set_presence, set_typing};
use crate::support::Node;

#[tokio::test]
async fn invalid_and_unauthorized_requests_are_rejected() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let conversation = ada.open_direct(&bob).await;
    for id in [conversation.as_str(), "cnv_00000000000000000000000000"] {
        assert_eq!(set_typing(&eve, id, true).await.code(), "NOT_FOUND");
        assert_eq!(Listener::typing(&eve, id).await.refused().await, "NOT_FOUND");
        assert_eq!(Listener::room(&eve, id).await.refused().await, "NOT_FOUND");
    }
    let answer = set_typing(&ada, "nonsense", true).await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["conversationId"]));
    let answer = set_presence(&ada, "OFFLINE").await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["status"]));
    // `setPresence` does not change the status of a user without a connection.
    assert_eq!(set_presence(&ada, "AWAY").await.data()["setPresence"]["presence"]["status"], "OFFLINE");

    let mut socket = ada.socket().await;
    let unknown = "usr_00000000000000000000000000";
    for (ids, path) in [
        (json!([]), "userIds"),
        (json!(vec![&bob.id; 101]), "userIds"),
        (json!([bob.id, unknown]), "userIds.1"),
        (json!([bob.id, bob.id, "nonsense"]), "userIds.2"),
    ] {
        socket.subscribe("bad", PRESENCE, json!({"ids": ids})).await;
        let message = socket.receive_of("bad").await;
        assert_eq!(message["type"], "error", "{message:#}");
        let extensions = &message["payload"][0]["extensions"];
        assert_eq!(
            (&extensions["code"], &extensions["violations"][0]["path"]),
            (&json!("BAD_USER_INPUT"), &json!(path))
        );
    }
    let mutation = "mutation { setPresence(input: {status: AWAY}) { presence { status } } }";
    assert_eq!(node.call(None, mutation, json!({})).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn an_event_stream_makes_its_user_online() {
    let node = Node::build().flag("--presence-grace=0").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let mut watching = Listener::presence(&bob, &[&ada]).await;
    assert_eq!(watching.status().await, "OFFLINE");
    let request = node.http.post(node.url("/graphql")).header("accept", "text/event-stream");
    let body = json!({"query": "subscription { inbox { __typename } }"});
    let stream = request.bearer_auth(&ada.access_token).json(&body).send().await.unwrap();
    assert_eq!(watching.status().await, "ONLINE");
    drop(stream);
    assert_eq!(watching.status().await, "OFFLINE");
}

#[tokio::test]
async fn a_refused_event_stream_does_not_make_its_user_online() {
    let node = Node::build().flags(&["--presence-grace=0", "--rate-operations=2/1h"]).limited().start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let mut watching = Listener::presence(&bob, &[&ada]).await;
    assert_eq!(watching.status().await, "OFFLINE");
    for _ in 0..2 {
        ada.query("{ serverInfo { version } }", json!({})).await;
    }
    let published = "parlance_live_published_total{kind=\"presence\"}";
    let before = node.metric(published).await;
    let request = node.http.post(node.url("/graphql")).header("accept", "text/event-stream");
    let body = json!({"query": "subscription { inbox { __typename } }"});
    let refused = request.bearer_auth(&ada.access_token).json(&body).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    // The socket of the user causes the only change.
    let _socket = ada.socket().await;
    assert_eq!(watching.status().await, "ONLINE");
    assert_eq!(node.metric(published).await, before + 1);
}
