//! The number of SQL statements of operations on users, contact points, invites and bans.

use serde_json::json;

use super::{count_statements, statements_of, statements_while};
use crate::support::{Node, TestDatabase, http};

#[tokio::test]
async fn the_statement_count_of_viewer_relations_does_not_depend_on_the_number_of_users() {
    count_statements();
    let node = Node::build().quiet().start_alone().await;
    let ada = node.register("ada").await;
    let query = "{ viewer {
        contacts { nodes { username viewerIsContact viewerHasBlocked } }
        contactRequests { nodes { from { username viewerIsContact viewerHasBlocked } } }
        blockedUsers { nodes { username viewerIsContact viewerHasBlocked } }
    } }";
    let ask = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { request { id } } }";
    let block = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    let others = async || {
        let (contact, asker) = (node.register("contact").await, node.register("asker").await);
        contact.query(ask, json!({"id": ada.id})).await;
        ada.query(ask, json!({"id": contact.id})).await;
        asker.query(ask, json!({"id": ada.id})).await;
        ada.query(block, json!({"id": node.register("blocked").await.id})).await;
    };
    others().await;
    let one = statements_of(&ada, query).await;
    for _ in 1..10 {
        others().await;
    }
    // The expected statements, one each: the viewer, three lists and the users who sent requests. Up to three more
    // statements load the viewer's relations to the users of the lists, because the lists may be loaded one after
    // another.
    let ten = statements_of(&ada, query).await;
    assert!(one <= 8 && ten <= 8, "{one}, and then {ten}");
}

/// The number of statements affects the response time, which must not reveal whether an account has the address.
#[tokio::test]
async fn a_contact_point_in_use_takes_as_many_statements_as_a_free_one() {
    const REGISTER: &str = "mutation ($input: RegisterInput!) { register(input: $input) { viewer { email phone } } }";
    const UPDATE: &str = "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { viewer { email } } }";
    const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";

    count_statements();
    let database = TestDatabase::new().await;
    let node = Node::build().quiet().start_on(&database).await;
    let input = |username: &str, email: &str, phone: &str| {
        let password = crate::support::PASSWORD;
        json!({"input": {"username": username, "password": password, "email": email, "phone": phone}})
    };
    node.call(None, REGISTER, input("verified", "verified@example.org", "+4915100000001")).await.data();
    database.verify_contact_points("verified").await;
    node.call(None, REGISTER, input("claimed", "claimed@example.org", "+4915100000002")).await.data();
    let bob = node.register("bob").await;
    bob.query("{ viewer { id } }", json!({})).await;

    let addresses = [
        ("verified@example.org", "+4915100000001"),
        ("claimed@example.org", "+4915100000002"),
        ("free@example.org", "+4915100000003"),
    ];
    let mut costs = Vec::new();
    for (place, (email, phone)) in addresses.into_iter().enumerate() {
        let registering = node.call(None, REGISTER, input(&format!("user_{place}"), email, phone));
        let (register, answer) = statements_while(registering).await;
        answer.data();
        let changes = json!({"input": {"email": email, "phone": phone}});
        let (update, _) = statements_while(bob.query(UPDATE, changes)).await;
        costs.push((register, update));
    }
    assert!(costs.iter().all(|cost| *cost == costs[0]), "{costs:?}");
    let mut logins = Vec::new();
    for identifier in ["claimed@example.org", "+4915100000002", "nobody@example.org", "+4915100000009", "nobody"] {
        let input = json!({"input": {"identifier": identifier, "password": crate::support::PASSWORD}});
        let (cost, answer) = statements_while(node.call(None, LOGIN, input)).await;
        assert_eq!(answer.code(), "UNAUTHENTICATED");
        logins.push(cost);
    }
    assert_eq!(logins, [1; 5]);
}

/// A name that has to wait must not take longer if an account has it: the server looks for a session in the network.
#[tokio::test]
async fn a_login_that_has_to_wait_takes_as_many_statements_for_every_name() {
    const LOGIN: &str = "mutation ($input: LoginInput!) { login(input: $input) { accessToken } }";

    count_statements();
    let database = TestDatabase::new().await;
    let flags = ["--password-tries-per-account=1", "--password-first-delay=300", "--trusted-proxies=loopback"];
    let node = Node::build().quiet().limited().flags(&flags).start_on(&database).await;
    let ada = node.register("ada").await;
    let claim = "mutation { updateProfile(input: {email: \"ada@example.org\"}) { viewer { id } } }";
    ada.query(claim, json!({})).await;
    database.verify_contact_points(&ada.username).await;
    let mut costs = Vec::new();
    for identifier in [ada.username.as_str(), "ada@example.org", "nobody", "nobody@example.org", "+4915100000009"] {
        for expected in ["UNAUTHENTICATED", "RATE_LIMITED"] {
            let variables = json!({"input": {"identifier": identifier, "password": "wrong"}});
            let request = http::post(&node, &json!({"query": LOGIN, "variables": variables}));
            let sending = http::send(request.header("x-forwarded-for", "203.0.113.7"));
            let (cost, (_, body)) = statements_while(sending).await;
            assert_eq!(body["errors"][0]["extensions"]["code"], expected, "{identifier}: {body:#}");
            costs.push(cost);
        }
    }
    // The account, and for a name that has to wait also the session.
    assert_eq!(costs, [1, 2].repeat(5));
}

/// A request for a code, and a wrong code, must not take longer for an address that an account has.
#[tokio::test]
async fn codes_for_an_address_in_use_take_as_many_statements_as_for_a_free_one() {
    count_statements();
    let node = Node::build().quiet().receive_notices().start_alone().await;
    let ada = node.register("ada").await;
    ada.verify(&node, "verified@example.org").await;
    let claim = "mutation { updateProfile(input: {email: \"claimed@example.org\"}) { viewer { id } } }";
    node.register("eve").await.query(claim, json!({})).await;
    let (mut requests, mut refusals) = (Vec::new(), Vec::new());
    for to in ["verified@example.org", "claimed@example.org", "free@example.org"] {
        for purpose in ["LOGIN", "LOGIN", "RESET_PASSWORD", "RESET_PASSWORD"] {
            let (cost, answer) = statements_while(node.request_code(to, purpose)).await;
            answer.data();
            requests.push(cost);
        }
        let password = crate::support::PASSWORD;
        let (login, answer) = statements_while(node.login_with_code(to, "000000")).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT");
        let (reset, answer) = statements_while(node.reset_password(to, "000000", password)).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT");
        refusals.extend([login, reset]);
    }
    let (never_requested, _) = statements_while(node.login_with_code("new@example.org", "000000")).await;
    refusals.push(never_requested);
    // The lookup of the account, and the code.
    assert_eq!(requests, [2; 12]);
    // The try that is counted.
    assert_eq!(refusals, [1; 7]);
}

#[tokio::test]
async fn the_statement_count_of_invites_and_bans_does_not_depend_on_the_number_of_groups() {
    count_statements();
    let node = Node::build().quiet().start_alone().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let query = "{ viewer { conversations(first: 20) { nodes {
        invites { nodes { code uses createdBy { username } } } bannedUsers { nodes { username } }
    } } } }";
    let group = async || {
        let group = ada.create_group("Group", &[&bob]).await;
        ada.create_invite(&group, json!({})).await.data();
        ada.create_invite(&group, json!({})).await.data();
        ada.ban(&group, &bob).await.data();
    };
    group().await;
    let one = statements_of(&ada, query).await;
    for _ in 0..8 {
        group().await;
    }
    assert_eq!(statements_of(&ada, query).await, one);
    // The expected statements, one each: the viewer, the list, roles and rows of invites, roles and rows of bans, and
    // the creators of the invites.
    assert_eq!(one, 7);
}
