//! Removals and bans. A removed user cannot rejoin a group by an old invite. A banned user cannot rejoin by any invite.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Node, User};

async fn code(by: &User, group: &str) -> Value {
    by.create_invite(group, json!({})).await.data()["createInvite"]["invite"]["code"].clone()
}

async fn preview(by: &User, code: &Value) -> Answer {
    by.call("query ($code: String!) { invite(code: $code) { title } }", json!({"code": code})).await
}

async fn banned(by: &User, group: &str) -> Answer {
    let query = "query ($id: ID!) { conversation(id: $id) { id bannedUsers { nodes { id } } } }";
    by.call(query, json!({"id": group})).await
}

async fn banned_ids(by: &User, group: &str) -> Vec<String> {
    let data = banned(by, group).await.data();
    let nodes = data["conversation"]["bannedUsers"]["nodes"].as_array().unwrap().clone();
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that the user can neither join by the code nor preview the group, and gets the error of an unknown code.
async fn assert_no_way_in(user: &User, code: &Value) {
    let made_up = json!("AAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(user.join(code).await.body, user.join(&made_up).await.body);
    assert_eq!(user.join(code).await.code(), "NOT_FOUND");
    assert_eq!(preview(user, code).await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn a_removed_member_rejoins_only_by_a_newer_invite() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Group", &[&bob, &cem]).await;
    let old = code(&ada, &group).await;
    ada.remove(&group, &bob).await.data();
    assert_no_way_in(&bob, &old).await;
    assert_eq!(banned_ids(&ada, &group).await, [""; 0], "removed, and not banned");
    // The code still works for other users.
    node.register("dee").await.join(&old).await.data();
    let new = code(&ada, &group).await;
    assert_eq!(preview(&bob, &new).await.data()["invite"]["title"], "Group");
    bob.join(&new).await.data();
    // When the user rejoins, the removal ends and the old invite works again.
    bob.leave(&group).await.data();
    bob.join(&old).await.data();
    // A user who leaves does not count as removed, so the old invite still works.
    cem.leave(&group).await.data();
    cem.join(&old).await.data();
}

#[tokio::test]
async fn a_banned_user_cannot_rejoin_until_the_ban_is_lifted() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Group", &[&bob]).await;
    let old = code(&ada, &group).await;
    let mut inbox = bob.inbox().await;
    ada.ban(&group, &bob).await.data();
    inbox.expect("ConversationRemoved").await;
    let new = code(&ada, &group).await;
    for code in [&old, &new] {
        assert_no_way_in(&bob, code).await;
    }
    assert_eq!(banned_ids(&ada, &group).await, [bob.id.as_str()]);
    assert_eq!(ada.system_events(&group).await.last().unwrap(), &json!(["PARTICIPANT_REMOVED", ada.id, bob.id, null]));

    ada.unban(&group, &bob).await.data();
    assert_eq!(banned_ids(&ada, &group).await, [""; 0]);
    assert_eq!(ada.unban(&group, &bob).await.code(), "NOT_FOUND");
    // Without the ban the user still counts as removed, so the older invite does not work.
    assert_no_way_in(&bob, &old).await;
    bob.join(&new).await.data();
}

#[tokio::test]
async fn adding_a_user_lifts_the_ban() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let group = ada.create_group("Group", &[&bob]).await;
    let old = code(&ada, &group).await;
    ada.ban(&group, &bob).await.data();
    ada.add_participants(&group, &[&bob]).await.data();
    assert_eq!(banned_ids(&ada, &group).await, [""; 0]);
    bob.leave(&group).await.data();
    bob.join(&old).await.data();
}

#[tokio::test]
async fn a_ban_needs_permission_and_applies_to_one_group() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Group", &[&bob, &cem]).await;
    let other = ada.create_group("Other", &[]).await;
    let elsewhere = code(&ada, &other).await;
    ada.set_role(&group, &cem, "ADMIN").await.data();
    // A user can ban only participants whom the user is allowed to remove.
    for (by, whom, expected) in [(&bob, &cem, "FORBIDDEN"), (&cem, &ada, "FORBIDDEN"), (&bob, &bob, "BAD_USER_INPUT")] {
        assert_eq!(by.ban(&group, whom).await.code(), expected);
    }
    cem.ban(&group, &bob).await.data();
    bob.join(&elsewhere).await.data();
    // A banned admin loses the role, and so cannot lift bans.
    ada.ban(&group, &cem).await.data();
    for answer in [cem.unban(&group, &bob).await, cem.unban(&group, &cem).await] {
        assert_eq!(answer.code(), "NOT_FOUND");
    }
    assert_eq!(banned_ids(&ada, &group).await, [cem.id.as_str(), bob.id.as_str()], "newest first");
    bob.delete_account(Some(crate::support::PASSWORD)).await.data();
    assert_eq!(banned_ids(&ada, &group).await, [cem.id.as_str()]);
}

#[tokio::test]
async fn only_users_who_may_lift_bans_see_banned_users() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Group", &[&bob, &cem]).await;
    ada.ban(&group, &cem).await.data();
    let answer = banned(&bob, &group).await;
    assert_eq!(answer.code(), "FORBIDDEN");
    assert_eq!(answer.body["data"]["conversation"], json!({"id": group, "bannedUsers": null}));
    let direct = ada.open_direct(&bob).await;
    assert_eq!(banned_ids(&ada, &direct).await, [""; 0]);
    // The list of banned users has pages.
    let more = node.register_many(3).await;
    ada.add_participants(&group, &more.iter().collect::<Vec<_>>()).await.data();
    for user in &more {
        ada.ban(&group, user).await.data();
    }
    let query = "query ($id: ID!, $after: String) { conversation(id: $id) {
        bannedUsers(first: 3, after: $after) { nodes { id } pageInfo { hasNextPage endCursor } }
    } }";
    let first = ada.query(query, json!({"id": group})).await["conversation"]["bannedUsers"].clone();
    assert_eq!(first["nodes"], json!([{"id": more[2].id}, {"id": more[1].id}, {"id": more[0].id}]));
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    let rest = json!({"id": group, "after": first["pageInfo"]["endCursor"]});
    assert_eq!(ada.query(query, rest).await["conversation"]["bannedUsers"]["nodes"], json!([{"id": cem.id}]));
}

/// The order of a concurrent join and ban does not matter: the user is not a participant afterwards.
#[tokio::test]
async fn a_ban_wins_over_concurrent_joins() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let users = node.register_many(5).await;
    let group = ada.create_group("Group", &users.iter().collect::<Vec<_>>()).await;
    let code = code(&ada, &group).await;
    let races = users.iter().map(async |user| {
        let joins = join_all((0..3).map(|_| user.join(&code)));
        let (banned, _) = tokio::join!(ada.ban(&group, user), joins);
        banned.data();
    });
    join_all(races).await;
    assert_eq!(ada.roles(&group).await, [(ada.id.clone(), "OWNER".to_owned())]);
    for user in &users {
        assert_no_way_in(user, &code).await;
    }
}
