//! Privacy settings, and what they forbid to other users.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{Answer, Node, PASSWORD, TestDatabase, User};

const SETTINGS: &str = "{ viewer { privacy { lastSeen readReceipts groupAdds discoverableByContactPoint } } }";

async fn set(user: &User, input: Value) -> Value {
    let query = "mutation ($input: UpdatePrivacyInput!) { updatePrivacy(input: $input) {
        viewer { privacy { lastSeen readReceipts groupAdds discoverableByContactPoint } }
    } }";
    user.query(query, json!({"input": input})).await["updatePrivacy"]["viewer"]["privacy"].clone()
}

async fn make_contacts(one: &User, other: &User) {
    let query = "mutation ($id: ID!) { sendContactRequest(input: {userId: $id}) { contact { id } } }";
    one.query(query, json!({"id": other.id})).await;
    other.query(query, json!({"id": one.id})).await;
}

async fn block(user: &User, other: &User) {
    let query = "mutation ($id: ID!) { blockUser(input: {userId: $id}) { user { id } } }";
    user.query(query, json!({"id": other.id})).await;
}

async fn group(creator: &User, others: &[&User]) -> Answer {
    let query = "mutation ($input: CreateGroupInput!) { createGroup(input: $input) { conversation { id } } }";
    let ids: Vec<_> = others.iter().map(|user| user.id.as_str()).collect();
    creator.call(query, json!({"input": {"title": "Group", "participantIds": ids}})).await
}

#[tokio::test]
async fn privacy_settings_allow_everything_by_default_and_change_independently() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let phone = User::login(&node, &ada.username, PASSWORD).await;
    let open = json!({
        "lastSeen": "EVERYONE", "readReceipts": true, "groupAdds": "EVERYONE", "discoverableByContactPoint": "EVERYONE",
    });
    assert_eq!(ada.query(SETTINGS, json!({})).await["viewer"]["privacy"], open);
    assert_eq!(set(&ada, json!({})).await, open);
    set(&ada, json!({"lastSeen": "NOBODY"})).await;
    set(&ada, json!({"readReceipts": false, "groupAdds": null})).await;
    let changed = set(&ada, json!({"groupAdds": "CONTACTS", "discoverableByContactPoint": "NOBODY"})).await;
    let expected = json!({
        "lastSeen": "NOBODY", "readReceipts": false, "groupAdds": "CONTACTS", "discoverableByContactPoint": "NOBODY",
    });
    assert_eq!(changed, expected);
    assert_eq!(phone.query(SETTINGS, json!({})).await["viewer"]["privacy"], expected);
    let anonymous = "mutation { updatePrivacy(input: {lastSeen: NOBODY}) { viewer { id } } }";
    assert_eq!(node.call(None, anonymous, json!({})).await.code(), "UNAUTHENTICATED");
}

#[tokio::test]
async fn the_setting_group_adds_decides_who_can_add_a_user_to_groups() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    make_contacts(&ada, &bob).await;
    group(&eve, &[&ada]).await.data();
    set(&ada, json!({"groupAdds": "CONTACTS"})).await;
    group(&bob, &[&ada]).await.data();
    let refused = group(&eve, &[&bob, &ada]).await;
    assert_eq!(refused.code(), "FORBIDDEN");
    set(&ada, json!({"groupAdds": "NOBODY"})).await;
    assert_eq!(group(&bob, &[&ada]).await.code(), "FORBIDDEN");
    // The setting does not affect groups that the user creates.
    group(&ada, &[&ada, &bob]).await.data();
    // The setting also applies when users are added to existing groups, but not to users who are participants already.
    let add = "mutation ($group: ID!, $ids: [ID!]!) { addParticipants(input: {conversationId: $group, userIds: $ids}) {
        conversation { participantCount }
    } }";
    let there = bob.create_group("There", &[&eve]).await;
    let answer = bob.call(add, json!({"group": there, "ids": [eve.id, ada.id]})).await;
    assert_eq!(answer.code(), "FORBIDDEN");
    set(&ada, json!({"groupAdds": "CONTACTS"})).await;
    bob.call(add, json!({"group": there, "ids": [eve.id, ada.id]})).await.data();
    // A user who is blocked gets the same error, so that the error does not reveal the block.
    set(&ada, json!({"groupAdds": "EVERYONE"})).await;
    block(&ada, &eve).await;
    assert_eq!(group(&eve, &[&bob, &ada]).await.body, refused.body);
}

#[tokio::test]
async fn search_by_contact_point_finds_users_who_allow_it() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let update = "mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { viewer { id } } }";
    ada.query(update, json!({"input": {"email": "Countess@example.org", "phone": "+441632960001"}})).await;
    database.verify_contact_points(&ada.username).await;
    make_contacts(&ada, &bob).await;
    let search = async |user: &User, query: &str| {
        let document = "query ($query: String!) { searchUsers(query: $query) { nodes { id } } }";
        let data = user.query(document, json!({"query": query})).await;
        data["searchUsers"]["nodes"].as_array().unwrap().clone()
    };
    let exact = ["countess@example.org", " COUNTESS@example.org ", "+44 1632 960001", "+44 (1632) 960-001"];
    for (setting, contact_finds, stranger_finds) in
        [("EVERYONE", true, true), ("CONTACTS", true, false), ("NOBODY", false, false)]
    {
        set(&ada, json!({"discoverableByContactPoint": setting})).await;
        for query in exact {
            let found = |finds: bool| if finds { vec![json!({"id": ada.id})] } else { vec![] };
            assert_eq!(search(&bob, query).await, found(contact_finds), "{setting} {query}");
            assert_eq!(search(&eve, query).await, found(stranger_finds), "{setting} {query}");
        }
    }
    // A search finds a user only by the exact contact point.
    set(&ada, json!({"discoverableByContactPoint": "EVERYONE"})).await;
    for query in ["countess@example", "countess@", "@example.org", "+4416329600", "441632960001", "%@example.org"] {
        assert_eq!(search(&bob, query).await, [] as [Value; 0], "{query}");
    }
    // A blocked user does not count as a contact.
    set(&ada, json!({"discoverableByContactPoint": "CONTACTS"})).await;
    block(&ada, &bob).await;
    assert_eq!(search(&bob, exact[0]).await, [] as [Value; 0]);
}

#[tokio::test]
async fn the_setting_last_seen_decides_who_can_see_when_a_user_was_online() {
    let node = Node::start().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    make_contacts(&ada, &bob).await;
    let id = |user: &User| user.id.parse::<parlance::ids::UserId>().unwrap();
    let all = [id(&ada), id(&bob), id(&eve)];
    let seen = async |user: &User| {
        let pairs = all.map(|other| (id(user), other));
        let seen = node.app.privacy().may_see_last_seen(&pairs).await.ok().unwrap();
        seen.into_iter().map(|(_, other)| other).collect::<HashSet<_>>()
    };
    assert_eq!(seen(&eve).await, HashSet::from(all));
    set(&ada, json!({"lastSeen": "CONTACTS"})).await;
    assert_eq!(seen(&bob).await, HashSet::from(all));
    assert_eq!(seen(&eve).await, HashSet::from([id(&bob), id(&eve)]));
    set(&ada, json!({"lastSeen": "NOBODY"})).await;
    assert_eq!(seen(&bob).await, HashSet::from([id(&bob), id(&eve)]));
    assert_eq!(seen(&ada).await, HashSet::from(all), "a user can see their own");
    // A block hides each of the two users from the other.
    block(&eve, &bob).await;
    assert_eq!(seen(&bob).await, HashSet::from([id(&bob)]));
    assert_eq!(seen(&eve).await, HashSet::from([id(&eve)]));
    for (user, apart) in [(&eve, id(&bob)), (&bob, id(&eve))] {
        assert_eq!(node.app.privacy().blocked_either_way(id(user), &all).await.ok().unwrap(), HashSet::from([apart]));
    }
}
