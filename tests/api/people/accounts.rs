//! Registration, login, passwords and the profile.

use serde_json::json;

use crate::support::{Node, PASSWORD, TestDatabase, User};

const REGISTER: &str = "mutation ($input: RegisterInput!) { register(input: $input) {
    viewer { id email phone user { id username displayName } } session { deviceName ipAddress viewerIsCurrent }
} }";
const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { viewer { user { username } } } }";
const UPDATE: &str = "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) {
    viewer { email phone user { username displayName about } }
} }";

#[tokio::test]
async fn registration_creates_an_account_and_signs_it_in() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let input = json!({
        "username": "Ada.L", "password": PASSWORD, "email": " Ada@Example.org ", "phone": "+49 151 1234-5678",
        "displayName": "Ada Lovelace", "deviceName": "Analytical Engine",
    });
    let data = node.call(None, REGISTER, json!({"input": input})).await.data();
    let viewer = &data["register"]["viewer"];
    assert_eq!(viewer["user"]["username"], "ada.l");
    assert_eq!(viewer["user"]["displayName"], "Ada Lovelace");
    assert_eq!(viewer["email"], "ada@example.org");
    assert_eq!(viewer["phone"], "+4915112345678");
    assert!(viewer["id"].as_str().unwrap().starts_with("vwr_"), "{viewer}");
    let session = json!({"deviceName": "Analytical Engine", "ipAddress": "127.0.0.1", "viewerIsCurrent": true});
    assert_eq!(data["register"]["session"], session);

    database.verify_contact_points("ada.l").await;
    for identifier in ["ada.l", "ADA.L", "ada@example.org", "+4915112345678", "\u{202A}+49\u{A0}151/1234.5678\u{202C}"]
    {
        let input = json!({"identifier": identifier, "password": PASSWORD});
        let data = node.call(None, LOGIN, json!({"input": input})).await.data();
        assert_eq!(data["login"]["viewer"]["user"]["username"], "ada.l", "{identifier}");
    }
}

#[tokio::test]
async fn a_taken_username_is_a_conflict() {
    let node = Node::start().await;
    let first = json!({"username": "ada", "password": PASSWORD});
    node.call(None, REGISTER, json!({"input": first})).await.data();
    let second = json!({"username": "ADA", "password": PASSWORD});
    let answer = node.call(None, REGISTER, json!({"input": second})).await;
    assert_eq!((answer.code(), answer.violations()), ("CONFLICT", vec!["username"]));
}

#[tokio::test]
async fn concurrent_registrations_of_one_username_create_one_account() {
    let node = Node::start().await;
    let input = json!({"input": {"username": "ada", "password": PASSWORD}});
    let answers = futures_util::future::join_all((0..10).map(|_| node.call(None, REGISTER, input.clone()))).await;
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.body.get("errors").is_none());
    assert_eq!(made.len(), 1);
    assert!(refused.iter().all(|answer| answer.code() == "CONFLICT"), "{refused:?}");
}

#[tokio::test]
async fn a_weak_password_is_refused() {
    let node = Node::start().await;
    let long = "x".repeat(129);
    for password in ["short1!", "password", "password1", "12345678", "qwertyuiop", "adalovelace", long.as_str()] {
        let input = json!({"username": "adalovelace", "password": password});
        let answer = node.call(None, REGISTER, json!({"input": input})).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT", "{password}");
        assert_eq!(answer.violations(), ["password"], "{password}");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_account_get_the_same_error() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut answers = Vec::new();
    for identifier in [ada.username.as_str(), "nobody.at.all", "nobody@example.org", "\0"] {
        let input = json!({"identifier": identifier, "password": "not the password"});
        let answer = node.call(None, LOGIN, json!({"input": input})).await;
        assert_eq!(answer.code(), "UNAUTHENTICATED");
        answers.push(answer.body);
    }
    assert!(answers.iter().all(|body| *body == answers[0]), "{answers:#?}");
}

#[tokio::test]
async fn changing_the_password_ends_the_other_sessions() {
    let node = Node::start().await;
    let phone = node.register("ada").await;
    let laptop = User::login(&node, &phone.username, PASSWORD).await;
    let change = "mutation ($input: ChangePasswordInput!) { changePassword(input: $input) { viewer { id } } }";
    let new = "an entirely different phrase";

    let wrong = json!({"input": {"currentPassword": "not the password", "newPassword": new}});
    let answer = phone.call(change, wrong).await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["currentPassword"]));
    laptop.query("{ viewer { id } }", json!({})).await;

    let weak = json!({"input": {"currentPassword": PASSWORD, "newPassword": "password"}});
    assert_eq!(phone.call(change, weak).await.violations(), ["newPassword"]);

    phone.query(change, json!({"input": {"currentPassword": PASSWORD, "newPassword": new}})).await;
    phone.query("{ viewer { id } }", json!({})).await;
    assert_eq!(laptop.call("{ viewer { id } }", json!({})).await.code(), "UNAUTHENTICATED");

    let old = node.call(None, LOGIN, json!({"input": {"identifier": phone.username, "password": PASSWORD}})).await;
    assert_eq!(old.code(), "UNAUTHENTICATED");
    User::login(&node, &phone.username, new).await;
}

#[tokio::test]
async fn update_profile_changes_only_the_given_fields() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let input = json!({"displayName": "Countess", "about": "Enchantress of numbers", "email": "ada@example.org"});
    let data = ada.query(UPDATE, json!({"input": input})).await;
    let viewer = &data["updateProfile"]["viewer"];
    assert_eq!(viewer["user"]["displayName"], "Countess");
    assert_eq!(viewer["user"]["username"], ada.username);
    assert_eq!(viewer["email"], "ada@example.org");

    let data = ada.query(UPDATE, json!({"input": {"about": null, "username": "countess"}})).await;
    let viewer = &data["updateProfile"]["viewer"];
    assert_eq!(viewer["user"]["about"], json!(null));
    assert_eq!(viewer["user"]["username"], "countess");
    assert_eq!(viewer["email"], "ada@example.org");

    let data = ada.query(UPDATE, json!({"input": {}})).await;
    assert_eq!(data["updateProfile"]["viewer"]["user"]["username"], "countess");

    let bob = node.register("bob").await;
    let answer = bob.call(UPDATE, json!({"input": {"username": "countess"}})).await;
    assert_eq!((answer.code(), answer.violations()), ("CONFLICT", vec!["username"]));
    let answer = bob.call(UPDATE, json!({"input": {"displayName": null, "phone": "0151"}})).await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["displayName"]));
}

/// Password hashes are computed by few threads with a bounded queue. When the queue is full, logins get UNAVAILABLE,
/// and the node still answers other requests.
#[tokio::test]
async fn logins_get_unavailable_when_the_password_queue_is_full() {
    let node = Node::build().real_hashes().flag("--password-threads=1").flag("--password-queue=3");
    let node = node.start_alone().await;
    let ada = node.register("ada").await;
    let input = json!({"input": {"identifier": ada.username, "password": PASSWORD}});
    let storm = futures_util::future::join_all((0..100).map(|_| node.call(None, LOGIN, input.clone())));
    let (answers, viewer) = tokio::join!(storm, ada.query("{ viewer { id } }", json!({})));
    assert!(viewer["viewer"]["id"].is_string());
    let refused = answers.iter().filter(|answer| answer.body.get("errors").is_some());
    assert!(refused.clone().count() > 0, "the queue was never full");
    assert!(refused.clone().all(|answer| answer.code() == "UNAVAILABLE"));
    assert!(answers.len() - refused.count() >= 4);
}
