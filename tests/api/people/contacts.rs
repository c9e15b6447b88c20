//! Contact requests and contacts: sending, accepting, declining and removing.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Inbox, Node, PASSWORD, User};

const CONTACTS: &str = "query ($first: Int = 50, $after: String) { viewer {
    contacts(first: $first, after: $after) { nodes { id viewerIsContact } pageInfo { hasNextPage endCursor } }
} }";
const REQUESTS: &str = "query ($direction: ContactRequestDirection!) { viewer {
    contactRequests(direction: $direction) { nodes { id from { id } to { id } createdAt } }
} }";

async fn ask(user: &User, other: &str) -> Answer {
    let query = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } contact { id } } }";
    user.call(query, json!({"id": other})).await
}

/// Sends a contact request that stays pending. Returns its id.
async fn request_contact(user: &User, other: &User) -> Value {
    let payload = ask(user, &other.id).await.data()["sendContactRequest"].clone();
    assert_eq!(payload["contact"], Value::Null);
    payload["request"]["id"].clone()
}

async fn accept(user: &User, request: &Value) -> Answer {
    let query = "mutation ($id: ID!) { acceptContactRequest(input: {requestId: $id}) { contact { id } } }";
    user.call(query, json!({"id": request})).await
}

async fn decline(user: &User, request: &Value) -> Answer {
    let query = "mutation ($id: ID!) { declineContactRequest(input: {requestId: $id}) { requestId } }";
    user.call(query, json!({"id": request})).await
}

async fn remove(user: &User, other: &User) -> Answer {
    let query = "mutation ($id: ID!) { removeContact(input: {userId: $id}) { user { id viewerIsContact } } }";
    user.call(query, json!({"id": other.id})).await
}

async fn contacts(user: &User) -> Vec<String> {
    let data = user.query(CONTACTS, json!({})).await;
    let nodes = data["viewer"]["contacts"]["nodes"].as_array().unwrap();
    assert!(nodes.iter().all(|node| node["viewerIsContact"] == true), "{nodes:?}");
    nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect()
}

async fn requests(user: &User, direction: &str) -> Vec<Value> {
    let data = user.query(REQUESTS, json!({"direction": direction})).await;
    let nodes = data["viewer"]["contactRequests"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["id"].clone()).collect()
}

async fn expect_contact_change(inbox: &mut Inbox, other: &User) {
    let event = inbox.next().await;
    assert_eq!((&event["__typename"], &event["user"]["id"]), (&json!("ContactsChanged"), &json!(other.id)));
}

/// Checks that no event is pending: creates a group, and asserts that its event is the next event.
async fn expect_no_event(inbox: &mut Inbox, user: &User) {
    let group = user.create_group("Quiet", &[]).await;
    assert_eq!(inbox.next().await["conversation"]["id"], group.as_str());
}

#[tokio::test]
async fn accepting_a_request_makes_both_users_contacts_on_all_devices() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let phone = User::login(&node, &bob.username, PASSWORD).await;
    let mut inboxes = [ada.inbox().await, bob.inbox().await, phone.inbox().await];
    let request = request_contact(&ada, &bob).await;
    assert_eq!((requests(&ada, "OUTGOING").await, requests(&ada, "INCOMING").await), (vec![request.clone()], vec![]));
    assert_eq!((requests(&bob, "OUTGOING").await, requests(&bob, "INCOMING").await), (vec![], vec![request.clone()]));
    // A repeated request is the same request and causes no event.
    assert_eq!(request_contact(&ada, &bob).await, request);

    assert_eq!(accept(&bob, &request).await.data()["acceptContactRequest"]["contact"]["id"], ada.id.as_str());
    assert_eq!((contacts(&ada).await, contacts(&bob).await), (vec![bob.id.clone()], vec![ada.id.clone()]));
    assert_eq!(requests(&ada, "OUTGOING").await, [] as [Value; 0]);
    assert_eq!(requests(&bob, "INCOMING").await, [] as [Value; 0]);
    for (inbox, other) in inboxes.iter_mut().zip([&bob, &ada, &ada]) {
        expect_contact_change(inbox, other).await;
        expect_contact_change(inbox, other).await;
    }
    // A request to a user who is a contact already returns the contact.
    let payload = ask(&ada, &bob.id).await.data()["sendContactRequest"].clone();
    assert_eq!(payload, json!({"request": null, "contact": {"id": bob.id}}));
    assert_eq!(accept(&bob, &request).await.code(), "NOT_FOUND");
    expect_no_event(&mut inboxes[0], &ada).await;
}

#[tokio::test]
async fn a_declined_request_is_deleted_and_can_be_sent_again() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let request = request_contact(&ada, &bob).await;
    let mut inbox = ada.inbox().await;
    assert_eq!(decline(&bob, &request).await.data()["declineContactRequest"]["requestId"], request);
    expect_contact_change(&mut inbox, &bob).await;
    assert_eq!(decline(&bob, &request).await.code(), "NOT_FOUND");
    assert_eq!((requests(&ada, "OUTGOING").await, contacts(&ada).await), (vec![], vec![]));
    assert_ne!(request_contact(&ada, &bob).await, request);
}

#[tokio::test]
async fn two_users_who_send_each_other_requests_become_contacts() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    request_contact(&ada, &bob).await;
    let payload = ask(&bob, &ada.id).await.data()["sendContactRequest"].clone();
    assert_eq!(payload, json!({"request": null, "contact": {"id": ada.id}}));
    assert_eq!((contacts(&ada).await, contacts(&bob).await), (vec![bob.id.clone()], vec![ada.id.clone()]));

    // Two users who send each other requests at the same time also become contacts.
    for _ in 0..10 {
        let (ada, bob) = (node.register("ada").await, node.register("bob").await);
        let both = join_all((0..6).map(|i| if i % 2 == 0 { ask(&ada, &bob.id) } else { ask(&bob, &ada.id) })).await;
        let of = |answer: &Answer| answer.clone().data()["sendContactRequest"]["contact"].is_object();
        assert!(both.iter().any(of), "{both:?}");
        assert_eq!((contacts(&ada).await, contacts(&bob).await), (vec![bob.id.clone()], vec![ada.id.clone()]));
        assert_eq!(requests(&ada, "OUTGOING").await.len() + requests(&ada, "INCOMING").await.len(), 0);
    }
}

#[tokio::test]
async fn exactly_one_of_a_concurrent_accept_and_decline_succeeds() {
    let node = Node::start().await;
    for _ in 0..10 {
        let (ada, bob) = (node.register("ada").await, node.register("bob").await);
        let request = request_contact(&ada, &bob).await;
        let (accepted, declined) = tokio::join!(accept(&bob, &request), decline(&bob, &request));
        let accepted = accepted.body.get("errors").is_none();
        assert_ne!(accepted, declined.body.get("errors").is_none());
        assert_eq!((contacts(&ada).await.len(), contacts(&bob).await.len()), (accepted.into(), accepted.into()));
    }
}

#[tokio::test]
async fn removing_a_contact_removes_it_for_both_users() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let request = request_contact(&ada, &bob).await;
    accept(&bob, &request).await.data();
    let (mut hers, mut his) = (ada.inbox().await, bob.inbox().await);
    let answer = remove(&bob, &ada).await.data();
    assert_eq!(answer["removeContact"]["user"], json!({"id": ada.id, "viewerIsContact": false}));
    expect_contact_change(&mut hers, &bob).await;
    expect_contact_change(&mut his, &ada).await;
    assert_eq!(contacts(&ada).await.len() + contacts(&bob).await.len(), 0);
    // A repeated removal is no error and causes no event.
    remove(&bob, &ada).await.data();
    expect_no_event(&mut hers, &ada).await;
    expect_no_event(&mut his, &bob).await;
}

#[tokio::test]
async fn only_the_recipient_can_answer_a_contact_request_and_other_users_cannot_see_it() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let request = request_contact(&ada, &bob).await;
    let query = "query ($id: ID!) { node(id: $id) { ... on ContactRequest { from { id } to { id } } } }";
    for user in [&ada, &bob] {
        let data = user.query(query, json!({"id": request})).await;
        assert_eq!(data["node"], json!({"from": {"id": ada.id}, "to": {"id": bob.id}}));
    }
    assert_eq!(eve.query(query, json!({"id": request})).await["node"], Value::Null);
    for answer in [accept(&eve, &request).await, decline(&eve, &request).await] {
        assert_eq!(answer.code(), "NOT_FOUND");
    }
    for answer in [accept(&ada, &request).await, decline(&ada, &request).await] {
        assert_eq!(answer.code(), "FORBIDDEN");
    }
    assert_eq!(ask(&ada, &ada.id).await.violations(), ["userId"]);
    let nobody = "usr_00000000000000000000000000";
    assert_eq!(ask(&ada, nobody).await.code(), "NOT_FOUND");
    let anonymous = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } } }";
    assert_eq!(node.call(None, anonymous, json!({"id": bob.id})).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn contacts_are_paged_newest_first() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut others = Vec::new();
    for _ in 0..5 {
        let other = node.register("other").await;
        let request = request_contact(&other, &ada).await;
        accept(&ada, &request).await.data();
        others.push(other.id);
    }
    others.reverse();
    let (mut seen, mut after) = (Vec::new(), Value::Null);
    for more in [true, true, false] {
        let data = ada.query(CONTACTS, json!({"first": 2, "after": after})).await;
        let page = &data["viewer"]["contacts"];
        seen.extend(page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()));
        assert_eq!(page["pageInfo"]["hasNextPage"], more);
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(seen, others);
}
