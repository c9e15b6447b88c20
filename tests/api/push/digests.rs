//! Digests: e-mails about unread messages to users who are not online, which the recipient can turn off by one click.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use serde_json::json;

use super::set_name;
use crate::support::{Node, NodeBuilder, TestDatabase, User, eventually};

const PUBLIC_URL: &str = "https://chat.example.org";
const DIGEST: &str = "unread message";

/// Builds a node that sends a digest of messages that are older than a second.
fn digesting() -> NodeBuilder {
    let public_url = format!("--public-url={PUBLIC_URL}");
    Node::pushing().receive_notices().flag("--email-digest-after=1").flag(&public_url)
}

/// Registers an account with this verified e-mail address.
async fn with_email(node: &Node, name: &str, email: &str) -> User {
    let user = node.register(name).await;
    user.verify(node, email).await;
    user
}

/// Returns the path and the query of the link in the header List-Unsubscribe.
fn link(mail: &str) -> String {
    let header = mail.split_once("List-Unsubscribe: <").unwrap_or_else(|| panic!("{mail}")).1;
    let url: String = header.split('>').next().unwrap().split_whitespace().collect();
    url.strip_prefix(PUBLIC_URL).unwrap_or_else(|| panic!("{url}")).to_owned()
}

#[tokio::test]
async fn a_digest_reports_unread_messages_once() {
    let node = digesting().start_alone().await;
    let ada = with_email(&node, "ada", "ada@example.org").await;
    let cem = with_email(&node, "cem", "cem@example.org").await;
    let bob = node.register("bob").await;
    set_name(&bob, "Bob").await;
    let (chat, group) = (ada.open_direct(&bob).await, bob.create_group("Family", &[&ada]).await);
    // Otherwise the digest could be sent before the last message.
    ada.set_notifications(json!({"emailDigests": false})).await.data();
    let read = bob.send(&group, "already read").await;
    ada.mark_read(&read).await.data();
    bob.send(&chat, "old news").await;
    bob.send(&chat, "latest news").await;
    bob.send(&group, "Dinner?").await;
    ada.set_notifications(json!({"emailDigests": true})).await.data();
    let mail = node.notices().next_with("ada@example.org", &[DIGEST]).await.text;
    for text in ["3 unread messages", "Bob", "latest news", "Family", "Bob: Dinner?", &ada.username] {
        assert!(mail.contains(text), "{text} in {mail}");
    }
    assert!(!mail.contains("already read") && !mail.contains("old news"), "{mail}");
    assert!(mail.contains("List-Unsubscribe-Post: List-Unsubscribe=One-Click"), "{mail}");
    // A digest to another user shows that the server has looked for users again.
    bob.send(&cem.open_direct(&bob).await, "to cem").await;
    node.notices().next_with("cem@example.org", &["1 unread message"]).await;
    assert_eq!(node.notices().unread("ada@example.org"), 0);
}

#[tokio::test]
async fn a_digest_obeys_settings_mutes_levels_and_blocks() {
    let node = digesting().start_alone().await;
    let ada = with_email(&node, "ada", "ada@example.org").await;
    let (bob, eve) = (node.register("bob").await, node.register("eve").await);
    set_name(&bob, "Bob").await;
    let [muted, level, blocked] = [
        bob.create_group("Muted", &[&ada]).await,
        bob.create_group("Level", &[&ada]).await,
        eve.create_group("Blocked", &[&ada]).await,
    ];
    let chat = ada.open_direct(&bob).await;
    ada.set_membership(&muted, json!({"mutedUntil": "2999-01-01T00:00:00Z"})).await;
    ada.set_membership(&level, json!({"notificationLevel": "NOTHING"})).await;
    let block = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    ada.query(block, json!({"id": eve.id})).await;
    for (sender, conversation) in [(&bob, &muted), (&bob, &level), (&eve, &blocked)] {
        sender.send(conversation, "not in the digest").await;
    }
    ada.set_notifications(json!({"content": "SENDER"})).await.data();
    bob.send(&chat, "secret").await;
    let mail = node.notices().next_with("ada@example.org", &[DIGEST]).await.text;
    assert!(mail.contains("1 unread message") && mail.contains("Bob"), "{mail}");
    for hidden in ["secret", "not in the digest", "Muted", "Level", "Blocked"] {
        assert!(!mail.contains(hidden), "{hidden} in {mail}");
    }
}

#[tokio::test]
async fn with_the_content_nothing_a_digest_has_only_the_number() {
    let node = digesting().flag("--push-content=nothing").start_alone().await;
    let ada = with_email(&node, "ada", "ada@example.org").await;
    let bob = node.register("bob").await;
    set_name(&bob, "Bob Builder").await;
    bob.send(&ada.open_direct(&bob).await, "secret").await;
    let mail = node.notices().next_with("ada@example.org", &[DIGEST]).await.text;
    assert!(mail.contains("1 unread message") && !mail.contains("secret") && !mail.contains("Builder"), "{mail}");
}

#[tokio::test]
async fn a_user_without_a_verified_address_or_without_digests_gets_none() {
    let node = digesting().start_alone().await;
    let (bob, marker) = (node.register("bob").await, with_email(&node, "marker", "marker@example.org").await);
    let declined = with_email(&node, "declined", "declined@example.org").await;
    declined.set_notifications(json!({"emailDigests": false})).await.data();
    let read = with_email(&node, "read", "read@example.org").await;
    read.set_notifications(json!({"emailDigests": false})).await.data();
    let online = with_email(&node, "online", "online@example.org").await;
    let _socket = online.socket().await;
    for user in [&declined, &read, &online, &marker] {
        let message = bob.send(&user.open_direct(&bob).await, "hello").await;
        if user.id == read.id {
            user.mark_read(&message).await.data();
            user.set_notifications(json!({"emailDigests": true})).await.data();
        }
    }
    node.notices().next_with("marker@example.org", &[DIGEST]).await;
    // The digests of all users of a page are queued together, and a further search for users finds nobody else.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for address in ["declined@example.org", "read@example.org", "online@example.org"] {
        assert_eq!(node.notices().unread(address), 0, "{address}");
    }
}

#[tokio::test]
async fn one_click_without_a_sign_in_turns_digests_off() {
    let database = TestDatabase::new().await;
    let node = digesting().start_on(&database).await;
    let ada = with_email(&node, "ada", "ada@example.org").await;
    let bob = node.register("bob").await;
    let chat = ada.open_direct(&bob).await;
    bob.send(&chat, "hello").await;
    let mail = node.notices().next_with("ada@example.org", &[DIGEST]).await.text;
    let url = node.url(&link(&mail));
    let digests = async || {
        let data = ada.query("{ viewer { notificationSettings { emailDigests } } }", json!({})).await;
        data["viewer"]["notificationSettings"]["emailDigests"] == true
    };
    // Mail filters open links, so only a POST request has an effect.
    let page = node.http.get(&url).send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(page.text().await.unwrap().contains("<form"));
    assert!(digests().await);
    let post = async |url: &str| {
        let request = node.http.post(url).header("content-type", "application/x-www-form-urlencoded");
        request.body("List-Unsubscribe=One-Click").send().await.unwrap().status().as_u16()
    };
    // A mail program may send the request twice.
    assert_eq!([post(&url).await, post(&url).await], [200, 200]);
    assert!(!digests().await);
    let base = node.url("/notifications/unsubscribe");
    for wrong in [base.clone(), format!("{base}?token="), format!("{base}?token=abc"), format!("{url}A")] {
        assert_eq!(post(&wrong).await, 404, "{wrong}");
    }
    // The link only turns digests off. It signs nobody in, and the settings turn digests on again.
    ada.set_notifications(json!({"emailDigests": true})).await.data();
    assert!(digests().await);
    let later = "UPDATE notification_settings SET digested_up_to = digested_up_to - interval '1 hour'";
    bob.send(&chat, "another one").await;
    database.connection().await.batch_execute(later).await.unwrap();
    let again = node.notices().next_with("ada@example.org", &["2 unread messages"]).await.text;
    assert_eq!(link(&again), link(&mail), "links of former e-mails work as long as the account exists");
}

#[tokio::test]
async fn two_nodes_send_one_digest() {
    let database = TestDatabase::new().await;
    let build = async || digesting().redis(&database.name).await.start_on(&database).await;
    let nodes = [build().await, build().await];
    let mut users = Vec::new();
    for number in 0..5 {
        let email = format!("user{number}@example.org");
        let user = nodes[0].register("user").await;
        user.verify(&nodes[0], &email).await;
        users.push((user, email));
    }
    let bob = nodes[1].register("bob").await;
    for (user, _) in &users {
        bob.send(&user.open_direct(&bob).await, "hello").await;
    }
    let received = |email: &str| nodes.iter().map(|node| node.notices().unread(email)).sum::<usize>();
    eventually("each user has a digest", async || users.iter().all(|(_, email)| received(email) > 0)).await;
    // Both nodes look for users every second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(users.iter().all(|(_, email)| received(email) == 1));
}
