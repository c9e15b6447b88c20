//! Groups: their settings, participants, roles and owner.

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl as _;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Node, TestDatabase, User};

#[tokio::test]
async fn a_new_title_sends_events_and_adds_a_system_message() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Engines", &[&bob]).await;
    let mut devices = [bob.inbox().await, bob.inbox().await];

    let data = ada.update_group(&group, json!({"title": "  Looms ", "topic": "and engines"})).await.data();
    let expected = json!({"id": group, "title": "Looms", "topic": "and engines", "historyVisible": true});
    assert_eq!(data["updateGroup"]["conversation"], expected);
    for inbox in &mut devices {
        assert_eq!(inbox.next().await["__typename"], "ConversationUpdated");
        assert_eq!(inbox.next().await["message"]["number"], 1);
    }
    assert_eq!(bob.system_events(&group).await, [json!(["TITLE_CHANGED", ada.id, null, "Looms"])]);

    // Unchanged values cause no event. A changed topic adds no SYSTEM message.
    ada.update_group(&group, json!({"title": "Looms", "topic": "and engines", "historyVisible": true})).await.data();
    ada.update_group(&group, json!({"title": null})).await.data();
    let data = ada.update_group(&group, json!({"topic": null})).await.data();
    assert_eq!(data["updateGroup"]["conversation"]["topic"], Value::Null);
    ada.send(&group, "now").await;
    for inbox in &mut devices {
        assert_eq!(inbox.next().await["__typename"], "ConversationUpdated");
        assert_eq!(inbox.next().await["message"]["body"], "now");
    }

    let answer = ada.update_group(&group, json!({"title": " ", "topic": "x".repeat(501)})).await;
    assert_eq!(answer.violations(), ["title", "topic"]);
    let answer = ada.update_group("msg_00000000000000000000000000", json!({"title": "x"})).await;
    assert_eq!(answer.violations(), ["conversationId"]);
}

#[tokio::test]
async fn a_new_participant_gets_the_group_on_all_devices_and_no_unread_history() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Growing", &[&bob]).await;
    ada.send(&group, "before").await;
    let mut devices = [cem.inbox().await, cem.inbox().await];
    let mut others = bob.inbox().await;

    // Adding users who are participants already is no error and causes no event.
    let data = ada.add_participants(&group, &[&bob, &cem, &cem, &ada]).await.data();
    assert_eq!(data["addParticipants"]["conversation"]["participantCount"], 3);
    for inbox in &mut devices {
        let event = inbox.next().await;
        assert_eq!((&event["__typename"], &event["conversation"]["id"]), (&json!("ConversationAdded"), &json!(group)));
        assert_eq!(inbox.next().await["__typename"], "ConversationUpdated");
        assert_eq!(inbox.next().await["message"]["number"], 2);
    }
    let event = others.next().await;
    assert_eq!(
        (&event["__typename"], &event["conversation"]["participantCount"]),
        (&json!("ConversationUpdated"), &json!(3))
    );
    assert_eq!(others.message().await["number"], 2);
    assert_eq!(cem.system_events(&group).await, [json!(["PARTICIPANT_JOINED", ada.id, cem.id, null])]);
    let unread = cem.unread(&group).await;
    assert!(unread <= 1, "at most the SYSTEM message of the join is unread");
    ada.send(&group, "after").await;
    assert_eq!(cem.unread(&group).await, unread + 1);
    ada.add_participants(&group, &[&bob, &cem]).await.data();
    assert_eq!(cem.system_events(&group).await.len(), 1);
    assert_eq!(ada.roles(&group).await.len(), 3);
}

#[tokio::test]
async fn adding_more_than_ten_participants_adds_one_system_message() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut users = Vec::new();
    for _ in 0..21 {
        users.push(node.register("user").await);
    }
    let users: Vec<_> = users.iter().collect();
    let group = ada.create_group("Crowd", &[]).await;
    ada.add_participants(&group, &users[..10]).await.data();
    assert_eq!(ada.system_events(&group).await.len(), 10);
    ada.add_participants(&group, &users).await.data();
    let told = ada.system_events(&group).await;
    assert_eq!(told[10..], [json!(["PARTICIPANT_JOINED", ada.id, null, "11"])]);
}

#[tokio::test]
async fn adding_participants_respects_the_maximum_group_size_and_refuses_unknown_users() {
    let node = Node::build().flag("--max-group-size=3").start_alone().await;
    let (ada, bob, cem, dora) = (
        node.register("ada").await,
        node.register("bob").await,
        node.register("cem").await,
        node.register("dora").await,
    );
    assert_eq!(ada.query("{ serverInfo { maxGroupSize } }", json!({})).await["serverInfo"]["maxGroupSize"], 3);
    let group = ada.create_group("Three", &[&bob]).await;
    assert_eq!(ada.add_participants(&group, &[&cem, &dora]).await.violations(), ["userIds"]);
    assert_eq!(ada.add_participants(&group, &[&ada, &bob, &cem, &dora]).await.violations(), ["userIds"]);
    let nobody = "usr_00000000000000000000000000";
    assert_eq!(ada.add_ids(&group, json!([cem.id, nobody])).await.violations(), ["userIds.1"]);
    assert_eq!(ada.add_ids(&group, json!([cem.id, "cem"])).await.violations(), ["userIds.1"]);
    assert_eq!(ada.roles(&group).await.len(), 2);
    ada.add_ids(&group, json!([])).await.data();
    assert_eq!(ada.system_events(&group).await, [""; 0]);
    // Concurrent additions do not exceed the maximum size.
    let answers = join_all([&cem, &dora].map(async |user| ada.add_participants(&group, &[user]).await)).await;
    assert_eq!(answers.iter().filter(|answer| answer.body.get("errors").is_some()).count(), 1);
    assert_eq!(ada.roles(&group).await.len(), 3);
}

#[tokio::test]
async fn role_changes_add_system_messages_and_an_owner_can_transfer_ownership() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let stranger = node.register("stranger").await;
    let group = ada.create_group("Roles", &[&bob, &cem]).await;
    let mut inbox = bob.inbox().await;
    ada.set_role(&group, &bob, "ADMIN").await.data();
    for kind in ["MembershipUpdated", "ConversationUpdated", "MessageAdded"] {
        assert_eq!(inbox.next().await["__typename"], kind);
    }
    // Setting the same role again changes nothing.
    ada.set_role(&group, &bob, "ADMIN").await.data();
    let data = ada.set_role(&group, &bob, "OWNER").await.data();
    assert_eq!(data["setParticipantRole"]["conversation"]["viewerMembership"]["role"], "ADMIN");
    let roles = |of: [&str; 3]| {
        let mut roles: Vec<_> =
            [&ada, &bob, &cem].iter().zip(of).map(|(user, role)| (user.id.clone(), role.to_owned())).collect();
        roles.sort();
        roles
    };
    let sorted = async || {
        let mut roles = cem.roles(&group).await;
        roles.sort();
        roles
    };
    assert_eq!(sorted().await, roles(["ADMIN", "OWNER", "MEMBER"]));
    // An owner cannot give up the role without a successor.
    for role in ["ADMIN", "MEMBER"] {
        assert_eq!(bob.set_role(&group, &bob, role).await.violations(), ["role"]);
    }
    bob.set_role(&group, &bob, "OWNER").await.data();
    assert_eq!(bob.set_role(&group, &stranger, "ADMIN").await.code(), "NOT_FOUND");
    bob.set_role(&group, &ada, "MEMBER").await.data();
    assert_eq!(sorted().await, roles(["MEMBER", "OWNER", "MEMBER"]));
    let told = [("ADMIN", &ada, &bob), ("OWNER", &ada, &bob), ("MEMBER", &bob, &ada)];
    let told = told.map(|(role, actor, subject)| json!(["ROLE_CHANGED", actor.id, subject.id, role]));
    assert_eq!(cem.system_events(&group).await, told);
}

#[tokio::test]
async fn concurrent_changes_of_ownership_leave_exactly_one_owner() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut users = Vec::new();
    for _ in 0..6 {
        users.push(node.register("user").await);
    }
    let group = ada.create_group("One owner", &users.iter().collect::<Vec<_>>()).await;
    let answers = join_all(users.iter().map(|user| ada.set_role(&group, user, "OWNER"))).await;
    let codes: Vec<_> =
        answers.iter().map(|answer| answer.body.get("errors").map(|_| answer.code().to_owned())).collect();
    assert_eq!(codes.iter().filter(|code| code.is_none()).count(), 1, "{codes:?}");
    assert!(codes.iter().flatten().all(|code| code == "FORBIDDEN"), "{codes:?}");
    let owner = async || {
        let owners: Vec<_> = ada.roles(&group).await.into_iter().filter(|(_, role)| role == "OWNER").collect();
        assert_eq!(owners.len(), 1, "{owners:?}");
        owners[0].0.clone()
    };
    // The owner transfers the role to `next` and leaves the group at the same time. The new owner is `next`, or Ada,
    // who is an admin.
    let first = owner().await;
    let first = users.iter().find(|user| user.id == first).unwrap();
    let next = users.iter().find(|user| user.id != first.id).unwrap();
    tokio::join!(first.set_role(&group, next, "OWNER"), first.leave(&group));
    owner().await;
}

#[tokio::test]
async fn an_admin_becomes_the_owner_when_the_owner_leaves() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Handing over", &[&bob]).await;
    ada.add_participants(&group, &[&cem]).await.data();
    ada.set_role(&group, &cem, "ADMIN").await.data();
    let mut inbox = cem.inbox().await;
    ada.leave(&group).await.data();
    for kind in ["ConversationUpdated", "MembershipUpdated", "MessageAdded", "MessageAdded"] {
        assert_eq!(inbox.next().await["__typename"], kind);
    }
    let told = bob.system_events(&group).await;
    assert_eq!(told[2], json!(["PARTICIPANT_LEFT", ada.id, null, null]));
    assert_eq!(told[3], json!(["ROLE_CHANGED", ada.id, cem.id, "OWNER"]));
    let owner = |roles: Vec<(String, String)>| roles.into_iter().find(|(_, role)| role == "OWNER").unwrap().0;
    assert_eq!(owner(bob.roles(&group).await), cem.id);
}

/// The order in which the users joined decides. The order of promotions and the order of registrations do not matter.
#[tokio::test]
async fn when_the_owner_leaves_the_longest_standing_admin_or_else_member_becomes_the_owner() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let (dora, eve) = (node.register("dora").await, node.register("eve").await);
    let group = ada.create_group("Handing over", &[]).await;
    for user in [&eve, &dora, &cem, &bob] {
        ada.add_participants(&group, &[user]).await.data();
    }
    // Eve has been in the group longer than the others, but is not an admin.
    for admin in [&bob, &cem, &dora] {
        ada.set_role(&group, admin, "ADMIN").await.data();
    }
    let owner = async || {
        let owners = eve.roles(&group).await.into_iter().filter(|(_, role)| role == "OWNER");
        owners.map(|(id, _)| id).collect::<Vec<_>>()
    };
    for (leaving, successor) in [(&ada, &dora), (&dora, &cem), (&cem, &bob), (&bob, &eve)] {
        leaving.leave(&group).await.data();
        assert_eq!(owner().await, [successor.id.as_str()], "after {} left", leaving.username);
    }
    // If the group has no admin, the longest-standing member becomes the owner.
    for user in [&cem, &ada, &bob] {
        eve.add_participants(&group, &[user]).await.data();
    }
    eve.leave(&group).await.data();
    let roles = ada.roles(&group).await;
    assert_eq!(roles.iter().find(|(_, role)| role == "OWNER").unwrap().0, cem.id);
}

async fn rows(database: &TestDatabase, table: &str) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let query = diesel::sql_query(format!("SELECT count(*) FROM {table}"));
    let row: Row = query.get_result(&mut database.connection().await).await.unwrap();
    row.count
}

#[tokio::test]
async fn a_group_is_deleted_when_its_last_participant_leaves() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Ending", &[&bob]).await;
    let invite = ada.create_invite(&group, json!({})).await.data()["createInvite"]["invite"].clone();
    ada.send(&group, "one").await;
    bob.send(&group, "two").await;
    bob.leave(&group).await.data();
    let mut devices: [_; 2] = [ada.inbox().await, ada.inbox().await];
    ada.leave(&group).await.data();
    for inbox in &mut devices {
        let event = inbox.next().await;
        assert_eq!((&event["__typename"], &event["conversationId"]), (&json!("ConversationRemoved"), &json!(group)));
    }
    for table in ["conversations", "participants", "messages", "invites"] {
        assert_eq!(rows(&database, table).await, 0, "{table}");
    }
    let again: [&User; 2] = [&ada, &bob];
    for user in again {
        assert_eq!(user.leave(&group).await.code(), "NOT_FOUND");
        assert_eq!(user.try_send(&group, "anybody?", None).await.code(), "NOT_FOUND");
        assert_eq!(user.join(&invite["code"]).await.code(), "NOT_FOUND");
    }
    // The writer and the log still work.
    let next = ada.create_group("Next", &[&bob]).await;
    assert_eq!(ada.send(&next, "hello").await["number"], 1);
    assert_eq!(devices[0].message().await["body"], "hello");
}
