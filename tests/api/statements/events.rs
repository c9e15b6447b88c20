//! The number of SQL statements for an event and its viewers.

use futures_util::future::join_all;
use serde_json::json;

use super::{count_statements, statements_while};
use crate::support::{Node, Socket, User};

/// Subscribes each user to the inbox with a selection of fields for added and updated messages.
async fn subscribed(users: &[User], selection: &str) -> Vec<Socket> {
    let query = format!(
        "subscription {{ inbox {{ __typename ... on MessageAdded {{ message {{ body {selection} }} }}
            ... on MessageUpdated {{ message {{ body {selection} }} }} }} }}"
    );
    let mut sockets = join_all(users.iter().map(User::socket)).await;
    for socket in &mut sockets {
        socket.subscribe("it", &query, json!({})).await;
        assert_eq!(socket.receive().await["payload"]["data"]["inbox"]["__typename"], "CaughtUp");
    }
    sockets
}

async fn expect_message_on_all(sockets: &mut [Socket], body: &str) {
    for socket in sockets {
        let event = socket.receive().await["payload"]["data"]["inbox"].clone();
        assert_eq!(event["message"]["body"], body, "{event}");
    }
}

/// A single statement loads the rows that depend on the viewer for all viewers of an event. Another statement checks
/// which viewers may see the event.
#[tokio::test]
async fn the_statement_count_of_an_event_does_not_depend_on_the_number_of_viewers() {
    const PERSONAL: &str = "sender { username viewerIsContact presence { status } } replyTo { body }
        reactions { emoji viewerHasReacted }
        conversation { title viewerMembership { unreadCount lastReadMessage { body } } call { id }
            pinnedMessages { nodes { body } } messages(last: 3) { nodes { number } } }";
    count_statements();
    let node = Node::build().quiet().start_alone().await;
    let ada = node.register("ada").await;
    let (mut costs, mut open) = (Vec::new(), Vec::new());
    for viewers in [2, 25] {
        let users = node.register_many(viewers).await;
        let group = ada.create_group("Viewers", &users.iter().collect::<Vec<_>>()).await;
        let first = ada.send(&group, "first").await;
        let mut sockets = subscribed(&users, PERSONAL).await;
        // After this message the node knows that the document depends on the viewer.
        ada.send(&group, "second").await;
        expect_message_on_all(&mut sockets, "second").await;
        let send = "mutation ($input: SendMessageInput!) { sendMessage(input: $input) { message { id } } }";
        let input = json!({"input": {"conversationId": group, "body": "third", "replyToId": first["id"]}});
        let (added, ()) = statements_while(async {
            ada.query(send, input).await;
            expect_message_on_all(&mut sockets, "third").await;
        })
        .await;
        let edit = "mutation ($id: ID!) { editMessage(input: {messageId: $id, body: \"edited\"}) { message { id } } }";
        let (updated, ()) = statements_while(async {
            ada.query(edit, json!({"id": first["id"]})).await;
            expect_message_on_all(&mut sockets, "edited").await;
        })
        .await;
        costs.push((added, updated));
        // If the sockets closed, the node would store when their users were last seen.
        open.extend(sockets);
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0].0 < 25 && costs[0].1 < 25, "{costs:?}");
}
