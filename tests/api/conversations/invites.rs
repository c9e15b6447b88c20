//! Invites: joining a group by a code.

use chrono::TimeDelta;
use diesel_async::SimpleAsyncConnection as _;
use futures_util::future::join_all;
use parlance::clock::Clock;
use serde_json::{Value, json};

use crate::support::{Answer, Node, TestDatabase, User};

async fn invite(by: &User, group: &str, limits: Value) -> Value {
    by.create_invite(group, limits).await.data()["createInvite"]["invite"].clone()
}

async fn preview(by: &User, code: &Value) -> Answer {
    by.call("query ($code: String!) { invite(code: $code) { title participantCount } }", json!({"code": code})).await
}

async fn uses(by: &User, invite: &Value) -> Value {
    let query = "query ($id: ID!) { node(id: $id) { ... on Invite { uses } } }";
    by.query(query, json!({"id": invite["id"]})).await["node"]["uses"].clone()
}

async fn revoke(by: &User, invite: &Value) -> Answer {
    let query = "mutation ($id: ID!) { revokeInvite(input: {inviteId: $id}) { inviteId } }";
    by.call(query, json!({"id": invite["id"]})).await
}

#[tokio::test]
async fn an_invite_code_shows_a_preview_of_the_group_and_lets_users_join() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Open house", &[&bob]).await;
    ada.send(&group, "before").await;
    let mut others = bob.inbox().await;
    let made = invite(&ada, &group, json!({})).await;
    assert_eq!((&made["uses"], &made["maxUses"], &made["expiresAt"]), (&json!(0), &Value::Null, &Value::Null));
    assert_eq!((&made["createdBy"]["id"], &made["conversation"]["id"]), (&json!(ada.id), &json!(group)));
    let code = made["code"].as_str().unwrap();
    assert!(code.len() >= 22 && code.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)), "{code}");
    assert_ne!(invite(&ada, &group, json!({})).await["code"], made["code"]);

    // Before the join, the code shows a preview and nothing else.
    let data = preview(&cem, &made["code"]).await.data();
    assert_eq!(data["invite"], json!({"title": "Open house", "participantCount": 2}));
    let query = "query ($id: ID!) { conversation(id: $id) { id } }";
    assert_eq!(cem.query(query, json!({"id": group})).await["conversation"], Value::Null);

    let mut devices = [cem.inbox().await, cem.inbox().await];
    let data = cem.join(&made["code"]).await.data();
    let expected = json!({"id": group, "participantCount": 3, "viewerMembership": {"role": "MEMBER"}});
    assert_eq!(data["joinByInvite"]["conversation"], expected);
    for inbox in &mut devices {
        for kind in ["ConversationAdded", "ConversationUpdated", "MessageAdded"] {
            assert_eq!(inbox.next().await["__typename"], kind);
        }
    }
    // The first two events belong to the two invites, the others to the join.
    for kind in ["ConversationUpdated", "ConversationUpdated", "ConversationUpdated", "MessageAdded"] {
        assert_eq!(others.next().await["__typename"], kind);
    }
    assert_eq!(bob.system_events(&group).await, [json!(["PARTICIPANT_JOINED", cem.id, null, null])]);
    // A join by a user who is a participant already does not count as a use.
    cem.join(&made["code"]).await.data();
    ada.join(&made["code"]).await.data();
    assert_eq!(uses(&ada, &made).await, 1);
    assert_eq!(ada.roles(&group).await.len(), 3);
    assert_eq!(ada.system_events(&group).await.len(), 1);
}

#[tokio::test]
async fn only_users_who_may_invite_see_and_revoke_invites() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let stranger = node.register("stranger").await;
    let group = ada.create_group("Doors", &[&bob, &cem]).await;
    ada.set_role(&group, &bob, "ADMIN").await.data();
    let made = invite(&bob, &group, json!({})).await;
    for (user, expected) in [(&ada, json!(0)), (&bob, json!(0)), (&cem, Value::Null), (&stranger, Value::Null)] {
        assert_eq!(uses(user, &made).await, expected);
    }
    for user in [&cem, &stranger] {
        assert_eq!(revoke(user, &made).await.code(), "NOT_FOUND");
    }
    // A former admin has only the permissions of a member.
    ada.set_role(&group, &bob, "MEMBER").await.data();
    assert_eq!(uses(&bob, &made).await, Value::Null);
    assert_eq!(revoke(&bob, &made).await.code(), "NOT_FOUND");
    assert_eq!(revoke(&ada, &made).await.data()["revokeInvite"]["inviteId"], made["id"]);
    assert_eq!(revoke(&ada, &made).await.code(), "NOT_FOUND");
    assert_eq!(uses(&ada, &made).await, Value::Null);
}

#[tokio::test]
async fn expired_used_up_revoked_and_unknown_codes_are_refused() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Closed", &[]).await;
    let expired = invite(&ada, &group, json!({"expiresAt": Clock::system().now() + TimeDelta::hours(1)})).await;
    database.connection().await.batch_execute("UPDATE invites SET expires_at = now()").await.unwrap();
    let once = invite(&ada, &group, json!({"maxUses": 1})).await;
    let revoked = invite(&ada, &group, json!({})).await;
    let later =
        invite(&ada, &group, json!({"expiresAt": Clock::system().now() + TimeDelta::hours(1), "maxUses": 9})).await;
    revoke(&ada, &revoked).await.data();
    bob.join(&once["code"]).await.data();
    // A repeated join succeeds, because the client may not have received the response to the first join.
    bob.join(&once["code"]).await.data();
    let codes = [&expired["code"], &once["code"], &revoked["code"]];
    let made_up =
        [json!("AAAAAAAAAAAAAAAAAAAAAAAA"), json!(""), json!("\0"), json!("no code"), json!("x".repeat(5000))];
    for code in codes.into_iter().chain(&made_up) {
        assert_eq!(preview(&cem, code).await.code(), "NOT_FOUND", "{code}");
        assert_eq!(cem.join(code).await.code(), "NOT_FOUND", "{code}");
    }
    assert_eq!(ada.roles(&group).await.len(), 2);

    let query = "query ($code: String!) { invite(code: $code) { title } }";
    assert_eq!(node.call(None, query, json!({"code": later["code"]})).await.code(), "UNAUTHENTICATED");
    let query = "mutation ($code: String!) { joinByInvite(input: {code: $code}) { conversation { id } } }";
    assert_eq!(node.call(None, query, json!({"code": later["code"]})).await.code(), "UNAUTHENTICATED");
    cem.join(&later["code"]).await.data();

    let past = Clock::system().now() - TimeDelta::seconds(1);
    let answer = ada.create_invite(&group, json!({"expiresAt": past, "maxUses": 0})).await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["expiresAt", "maxUses"]));
}

#[tokio::test]
async fn concurrent_joins_never_exceed_max_uses() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let group = ada.create_group("Five seats", &[]).await;
    let made = invite(&ada, &group, json!({"maxUses": 5})).await;
    let users = node.register_many(20).await;
    let answers = join_all(users.iter().map(|user| user.join(&made["code"]))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert_eq!(refused.len(), 15);
    assert!(refused.iter().all(|answer| answer.code() == "NOT_FOUND"));
    assert_eq!(uses(&ada, &made).await, 5);
    assert_eq!(ada.roles(&group).await.len(), 6);
    let query = "query ($id: ID!) { conversation(id: $id) { participantCount } }";
    assert_eq!(ada.query(query, json!({"id": group})).await["conversation"]["participantCount"], 6);
    // Concurrent joins of one user count as one use.
    let more = invite(&ada, &group, json!({"maxUses": 5})).await;
    let last = node.register("last").await;
    for answer in join_all((0..10).map(|_| last.join(&more["code"]))).await {
        answer.data();
    }
    assert_eq!(uses(&ada, &more).await, 1);
}

#[tokio::test]
async fn a_refused_join_of_a_full_group_does_not_count_as_a_use_of_the_invite() {
    let node = Node::build().flag("--max-group-size=2").start_alone().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Two", &[]).await;
    let made = invite(&ada, &group, json!({})).await;
    bob.join(&made["code"]).await.data();
    let answer = cem.join(&made["code"]).await;
    assert_eq!(answer.code(), "CONFLICT");
    assert_eq!(uses(&ada, &made).await, 1);
    bob.leave(&group).await.data();
    cem.join(&made["code"]).await.data();
    assert_eq!(uses(&ada, &made).await, 2);
}

async fn list(by: &User, group: &str, first: i32, after: &Value) -> Answer {
    let query = "query ($id: ID!, $first: Int, $after: String) { conversation(id: $id) { id
        invites(first: $first, after: $after) {
            nodes { id code uses maxUses expiresAt createdAt createdBy { id } }
            pageInfo { hasNextPage endCursor }
        }
    } }";
    by.call(query, json!({"id": group, "first": first, "after": after})).await
}

#[tokio::test]
async fn the_invites_of_a_group_are_listed_newest_first() {
    let node = Node::start().await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("Doors", &[&bob, &cem]).await;
    ada.set_role(&group, &bob, "ADMIN").await.data();
    let once = invite(&ada, &group, json!({"maxUses": 1})).await;
    let tomorrow = Clock::system().now() + TimeDelta::days(1);
    let timed = invite(&bob, &group, json!({"expiresAt": tomorrow})).await;
    let revoked = invite(&bob, &group, json!({})).await;
    invite(&ada, &ada.create_group("Elsewhere", &[]).await, json!({})).await;
    revoke(&ada, &revoked).await.data();
    node.register("dee").await.join(&once["code"]).await.data();

    for admin in [&ada, &bob] {
        let page = list(admin, &group, 1, &Value::Null).await.data()["conversation"]["invites"].clone();
        let first = &page["nodes"][0];
        assert_eq!((&first["id"], &first["code"], &first["uses"]), (&timed["id"], &timed["code"], &json!(0)));
        assert_eq!((&first["createdBy"]["id"], &first["expiresAt"]), (&json!(bob.id), &timed["expiresAt"]));
        assert!(first["createdAt"].is_string());
        assert_eq!(page["pageInfo"]["hasNextPage"], true);
        let rest =
            list(admin, &group, 5, &page["pageInfo"]["endCursor"]).await.data()["conversation"]["invites"].clone();
        // The list includes the used-up invite, but not the revoked invite.
        assert_eq!(rest["nodes"].as_array().unwrap().len(), 1);
        let used = &rest["nodes"][0];
        assert_eq!((&used["id"], &used["uses"], &used["maxUses"]), (&once["id"], &json!(1), &json!(1)));
        assert_eq!(rest["pageInfo"]["hasNextPage"], false);
    }
    let refused = list(&cem, &group, 5, &Value::Null).await;
    assert_eq!(refused.code(), "FORBIDDEN");
    assert_eq!(refused.body["data"]["conversation"], json!({"id": group, "invites": null}));
    let direct = ada.open_direct(&bob).await;
    let empty = list(&ada, &direct, 5, &Value::Null).await.data();
    assert_eq!(empty["conversation"]["invites"]["nodes"], json!([]));
    for (first, after) in [(0, Value::Null), (101, Value::Null), (5, json!("no cursor"))] {
        assert_eq!(list(&ada, &group, first, &after).await.code(), "BAD_USER_INPUT");
    }
}
