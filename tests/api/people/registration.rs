//! Registration: the modes of the setting REGISTRATION, and the invite codes of `parlance invite`.

use chrono::TimeDelta;
use futures_util::future::join_all;
use parlance::clock::Clock;
use parlance::domain::people::registration_invites::{self, NewRegistrationInvite};
use parlance::random::Random;
use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, TestDatabase, unique};

async fn register_as(node: &Node, username: &str, invite: Option<&str>) -> Answer {
    let query = "mutation ($input: RegisterInput!) { register(input: $input) { viewer { user { username } } } }";
    let input = json!({"username": username, "password": PASSWORD, "invite": invite});
    node.call(None, query, json!({"input": input})).await
}

async fn register(node: &Node, invite: Option<&str>) -> Answer {
    register_as(node, &format!("user_{}", &unique()[..8]), invite).await
}

async fn code(database: &TestDatabase, uses: i32) -> String {
    let new = NewRegistrationInvite { uses, expires_in: 7, note: Some("for the team".to_owned()) };
    registration_invites::create(&database.url, new, Clock::system().now(), &Random::system()).await.unwrap()
}

async fn uses(database: &TestDatabase) -> Vec<(i32, i32)> {
    let invites = registration_invites::list(&database.url).await.unwrap();
    invites.iter().map(|invite| (invite.uses, invite.max_uses)).collect()
}

async fn mode(node: &Node) -> Value {
    node.call(None, "{ serverInfo { registration } }", json!({})).await.data()["serverInfo"]["registration"].clone()
}

#[tokio::test]
async fn registration_is_open_by_default() {
    let node = Node::start().await;
    assert_eq!(mode(&node).await, "OPEN");
    register(&node, None).await.data();
    register(&node, Some("of no use here")).await.data();
}

#[tokio::test]
async fn a_closed_server_rejects_new_accounts_and_allows_logins() {
    let database = TestDatabase::new().await;
    let open = Node::build().start_on(&database).await;
    let ada = open.register("ada").await;
    let code = code(&database, 1).await;
    let node = Node::build().flag("--registration=closed").start_on(&database).await;
    assert_eq!(mode(&node).await, "CLOSED");
    for invite in [None, Some(code.as_str())] {
        assert_eq!(register(&node, invite).await.code(), "FORBIDDEN");
    }
    // The error does not reveal whether the username is taken.
    assert_eq!(register_as(&node, &ada.username, None).await.code(), "FORBIDDEN");
    crate::support::User::login(&node, &ada.username, PASSWORD).await;
    assert_eq!(uses(&database).await, [(0, 1)]);
}

#[tokio::test]
async fn all_unusable_invite_codes_get_the_same_error() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--registration=invite").start_on(&database).await;
    assert_eq!(mode(&node).await, "INVITE");
    let (spent, revoked, expired) = (code(&database, 1).await, code(&database, 1).await, code(&database, 1).await);
    register(&node, Some(&format!(" {spent}\n"))).await.data();
    assert!(registration_invites::revoke(&database.url, &revoked).await.unwrap());
    assert!(!registration_invites::revoke(&database.url, &revoked).await.unwrap());

    let missing = register(&node, None).await;
    assert_eq!((missing.code(), missing.violations()), ("BAD_USER_INPUT", vec!["invite"]));
    let long = "x".repeat(100_000);
    let unknown = format!("{}A", &spent[..spent.len() - 1]);
    for invite in ["", "\0", "unknown", &unknown, &long, &spent, &revoked] {
        assert_eq!(register(&node, Some(invite)).await.body, missing.body, "{invite:.40}");
    }
    let later = Clock::off_by(TimeDelta::days(7) + TimeDelta::seconds(60));
    let later = Node::build().flag("--registration=invite").clock(later).start_on(&database).await;
    assert_eq!(register(&later, Some(&expired)).await.body, missing.body);
    register(&node, Some(&expired)).await.data();
}

#[tokio::test]
async fn concurrent_registrations_never_exceed_max_uses() {
    let database = TestDatabase::new().await;
    let node = || Node::build().flag("--registration=invite").start_on(&database);
    let nodes = [node().await, node().await];
    let code = code(&database, 5).await;
    let answers = join_all((0..20).map(|place| register(&nodes[place % 2], Some(&code)))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.body.get("errors").is_none());
    assert_eq!(made.len(), 5);
    assert!(refused.iter().all(|answer| answer.violations() == ["invite"]), "{refused:?}");
    assert_eq!(uses(&database).await, [(5, 5)]);
}

#[tokio::test]
async fn a_failed_registration_does_not_count_as_a_use_of_the_invite() {
    let database = TestDatabase::new().await;
    let node = Node::build().flag("--registration=invite").start_on(&database).await;
    let code = code(&database, 2).await;
    register_as(&node, "ada", Some(&code)).await.data();
    let taken = register_as(&node, "ada", Some(&code)).await;
    assert_eq!((taken.code(), taken.violations()), ("CONFLICT", vec!["username"]));
    assert_eq!(register_as(&node, "a", Some(&code)).await.violations(), ["username"]);
    assert_eq!(uses(&database).await, [(1, 2)]);
    // Without a code, the error does not reveal whether the username is taken.
    assert_eq!(register_as(&node, "ada", None).await.violations(), ["invite"]);
}

#[tokio::test]
async fn invite_codes_are_stored_as_hashes_and_can_be_revoked_by_id() {
    let database = TestDatabase::new().await;
    let code = code(&database, 3).await;
    let invites = registration_invites::list(&database.url).await.unwrap();
    let stored = format!("{:?}", invites[0]);
    assert!(!stored.contains(&code) && stored.contains("for the team"), "{stored}");
    assert_eq!(invites[0].code_hash.len(), 32);
    let id = registration_invites::id(&invites[0]);
    assert!(!registration_invites::revoke(&database.url, &id[..11]).await.unwrap());
    assert!(registration_invites::revoke(&database.url, &id).await.unwrap());
    assert!(registration_invites::list(&database.url).await.unwrap().is_empty());
    let node = Node::build().flag("--registration=invite").start_on(&database).await;
    assert_eq!(register(&node, Some(&code)).await.violations(), ["invite"]);
}

/// Every user can create unlimited invites to groups. Such an invite must not allow a registration.
#[tokio::test]
async fn a_group_invite_cannot_be_used_to_register() {
    let database = TestDatabase::new().await;
    let ada = Node::build().start_on(&database).await.register("ada").await;
    let node = Node::build().flag("--registration=invite").start_on(&database).await;
    let ada = ada.on(&node);
    let group = ada.create_group("Group", &[]).await;
    let invite = ada.create_invite(&group, json!({})).await.data()["createInvite"]["invite"]["code"].clone();
    assert_eq!(register(&node, invite.as_str()).await.violations(), ["invite"]);
}
