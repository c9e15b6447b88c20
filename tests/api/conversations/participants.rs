//! Leaving a group and removing participants, and the events that subscriptions receive.

use serde_json::{Value, json};

use crate::support::{Answer, Node, User};

const MESSAGES: &str = "subscription ($id: ID, $after: String) { messageAdded(conversationId: $id, after: $after) {
    cursor message { body }
} }";

async fn remove(by: &User, group: &str, user: &User) -> Answer {
    let query = "mutation ($group: ID!, $user: ID!) {
        removeParticipant(input: {conversationId: $group, userId: $user}) { conversation { participantCount } }
    }";
    by.call(query, json!({"group": group, "user": user.id})).await
}

async fn leave(user: &User, group: &str) -> Answer {
    let query = "mutation ($group: ID!) { leaveConversation(input: {conversationId: $group}) { conversationId } }";
    user.call(query, json!({"group": group})).await
}

async fn roles(viewer: &User, group: &str) -> Value {
    let query = "query ($id: ID!) { conversation(id: $id) { participants { nodes { role user { id } } } } }";
    viewer.query(query, json!({"id": group})).await["conversation"]["participants"]["nodes"].clone()
}

#[tokio::test]
async fn a_removed_participant_receives_no_more_events_and_keeps_the_socket() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Leaving", &[&bob]).await;
    let other = ada.create_group("Staying", &[&bob]).await;
    let mut inbox = bob.inbox().await;
    let mut socket = bob.socket().await;
    for (id, conversation) in [("group", Some(&group)), ("other", Some(&other)), ("all", None)] {
        socket.subscribe(id, MESSAGES, json!({"id": conversation, "after": inbox.cursor})).await;
    }
    // When the streams have delivered a message, they are live.
    for (conversation, id) in [(&group, "group"), (&other, "other")] {
        ada.send(conversation, "before").await;
        assert_eq!(socket.receive_of(id).await["type"], "next");
        assert_eq!(socket.receive_of("all").await["type"], "next");
        inbox.message().await;
    }
    let answer = remove(&ada, &group, &bob).await.data();
    assert_eq!(answer["removeParticipant"]["conversation"]["participantCount"], 1);

    let over = socket.receive_of("group").await;
    assert_eq!((&over["type"], &over["payload"][0]["extensions"]["code"]), (&json!("error"), &json!("NOT_FOUND")));
    let event = inbox.next().await;
    assert_eq!((&event["__typename"], &event["conversationId"]), (&json!("ConversationRemoved"), &json!(group)));
    ada.send(&group, "behind the back").await;
    ada.send(&other, "after").await;
    for id in ["other", "all"] {
        assert_eq!(socket.receive_of(id).await["payload"]["data"]["messageAdded"]["message"]["body"], "after");
    }
    assert_eq!(inbox.message().await["body"], "after");
    let query = "query ($id: ID!) { conversation(id: $id) { id } }";
    assert_eq!(bob.query(query, json!({"id": group})).await["conversation"], Value::Null);
    assert_eq!(bob.try_send(&group, "still here?", None).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn a_stream_resumed_after_a_removal_delivers_only_the_removal() {
    let node = Node::build().flag("--catch-up-page=2").start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Meanwhile", &[&bob]).await;
    let cursor = bob.cursor_after_message(&ada, &group).await;
    ada.send(&group, "one").await;
    ada.send(&group, "two").await;
    remove(&ada, &group, &bob).await.data();
    ada.send(&group, "three").await;

    let missed = bob.inbox_after(cursor.as_deref()).await.missed().await;
    // The messages must not be delivered: their `conversation` field would lead to all messages, including "three".
    let seen: Vec<_> = missed.iter().map(|event| (&event["__typename"], &event["conversationId"])).collect();
    assert_eq!(seen, [(&json!("ConversationRemoved"), &json!(group))]);
    // After the removal, the user cannot open a stream of this conversation.
    let mut socket = bob.socket().await;
    socket.subscribe("m", MESSAGES, json!({"id": group, "after": cursor})).await;
    assert_eq!(socket.receive_of("m").await["payload"][0]["extensions"]["code"], "NOT_FOUND");
}

#[tokio::test]
async fn when_the_owner_leaves_the_others_are_notified_and_one_becomes_the_owner() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Handing over", &[&bob, &cem]).await;
    let mut inbox = bob.inbox().await;
    assert_eq!(leave(&ada, &group).await.data()["leaveConversation"]["conversationId"], group.as_str());
    let event = inbox.next().await;
    assert_eq!(event["__typename"], "ConversationUpdated");
    assert_eq!(event["conversation"]["participantCount"], 2);
    let roles_now = roles(&bob, &group).await;
    assert_eq!(roles_now[0]["role"], "OWNER");
    assert_eq!(roles_now[1]["role"], "MEMBER");
    // The last participant can leave too.
    leave(&bob, &group).await.data();
    leave(&cem, &group).await.data();
    assert_eq!(leave(&cem, &group).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn only_permitted_users_can_remove_participants_and_only_participants_can_leave() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let stranger = node.register("stranger").await;
    let group = ada.create_group("Rules", &[&bob, &cem]).await;
    assert_eq!(remove(&bob, &group, &cem).await.code(), "FORBIDDEN");
    assert_eq!(remove(&bob, &group, &ada).await.code(), "FORBIDDEN");
    assert_eq!(remove(&stranger, &group, &bob).await.code(), "NOT_FOUND");
    assert_eq!(remove(&ada, &group, &stranger).await.code(), "NOT_FOUND");
    assert_eq!(remove(&ada, &group, &ada).await.violations(), ["userId"]);
    assert_eq!(leave(&stranger, &group).await.code(), "NOT_FOUND");
    let direct = ada.open_direct(&bob).await;
    assert_eq!(leave(&ada, &direct).await.violations(), ["conversationId"]);
    assert_eq!(remove(&ada, &direct, &bob).await.violations(), ["conversationId"]);
    assert_eq!(roles(&ada, &group).await.as_array().unwrap().len(), 3);
}
