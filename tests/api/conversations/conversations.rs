//! Creating and listing conversations.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Node, User};

#[tokio::test]
async fn two_users_have_one_direct_conversation() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let first = ada.open_direct(&bob).await;
    assert_eq!(bob.open_direct(&ada).await, first);
    assert_eq!(ada.open_direct(&bob).await, first);
    let query = "query ($id: ID!) { conversation(id: $id) {
        kind title participantCount participants { nodes { role user { id } } }
    } }";
    let data = bob.query(query, json!({"id": first})).await;
    assert_eq!(data["conversation"]["kind"], "DIRECT");
    assert_eq!(data["conversation"]["title"], Value::Null);
    assert_eq!(data["conversation"]["participantCount"], 2);
    assert_eq!(data["conversation"]["participants"]["nodes"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn concurrent_opens_create_one_direct_conversation() {
    let node = Node::start().await;
    for _ in 0..5 {
        let (ada, bob) = (node.register("ada").await, node.register("bob").await);
        let both = (0..10).map(|i| if i % 2 == 0 { ada.open_direct(&bob) } else { bob.open_direct(&ada) });
        let ids = join_all(both).await;
        assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
        let count = "{ viewer { conversations { nodes { id } } } }";
        let data = ada.query(count, json!({})).await;
        assert_eq!(data["viewer"]["conversations"]["nodes"].as_array().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn creating_a_group_makes_the_viewer_its_owner_and_the_others_members() {
    let node = Node::build().flag("--max-group-size=3").start_alone().await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let create = "mutation ($input: CreateGroupInput!) { createGroup(input: $input) { conversation {
        kind title topic participantCount createdBy { id } viewerMembership { role }
        participants { nodes { role user { id } } }
    } } }";
    // The viewer's own id and repeated ids are ignored.
    let ids = json!([bob.id, eve.id, bob.id, ada.id]);
    let input = json!({"title": "  Engines ", "topic": "and looms", "participantIds": ids});
    let data = ada.query(create, json!({"input": input})).await;
    let group = &data["createGroup"]["conversation"];
    assert_eq!(
        (&group["kind"], &group["title"], &group["topic"]),
        (&json!("GROUP"), &json!("Engines"), &json!("and looms"))
    );
    assert_eq!(group["participantCount"], 3);
    assert_eq!(group["createdBy"]["id"], ada.id.as_str());
    assert_eq!(group["viewerMembership"]["role"], "OWNER");
    let nodes = group["participants"]["nodes"].as_array().unwrap();
    let role = |user: &User| nodes.iter().find(|node| node["user"]["id"] == user.id.as_str()).unwrap()["role"].clone();
    assert_eq!((role(&ada), role(&bob), role(&eve)), (json!("OWNER"), json!("MEMBER"), json!("MEMBER")));

    let mallory = node.register("mallory").await;
    let ids = json!([bob.id, eve.id, mallory.id]);
    let answer = ada.call(create, json!({"input": {"title": "Too many", "participantIds": ids}})).await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["participantIds"]));
    let ids = json!([bob.id, "usr_00000000000000000000000000"]);
    let answer = ada.call(create, json!({"input": {"title": "Ghosts", "participantIds": ids}})).await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["participantIds.1"]));
}

#[tokio::test]
async fn conversations_are_listed_by_their_last_activity() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut ids = Vec::new();
    for i in 0..5 {
        ids.push(ada.create_group(&format!("Group {i}"), &[]).await);
    }
    ada.send(&ids[1], "the newest").await;
    let expected = [&ids[1], &ids[4], &ids[3], &ids[2], &ids[0]];

    let query = "query ($after: String, $filter: ConversationFilter) { viewer {
        conversations(first: 2, after: $after, filter: $filter) {
            nodes { id lastMessage { body } } pageInfo { hasNextPage endCursor }
        }
    } }";
    let mut seen = Vec::new();
    let mut after = Value::Null;
    for more in [true, true, false] {
        let data = ada.query(query, json!({"after": after})).await;
        let page = &data["viewer"]["conversations"];
        seen.extend(page["nodes"].as_array().unwrap().iter().map(|node| node["id"].as_str().unwrap().to_owned()));
        assert_eq!(page["pageInfo"]["hasNextPage"], more);
        after = page["pageInfo"]["endCursor"].clone();
    }
    assert_eq!(seen.iter().collect::<Vec<_>>(), expected);

    let bob = node.register("bob").await;
    let direct = bob.open_direct(&ada).await;
    bob.send(&direct, "unread").await;
    let filtered = async |filter: Value| {
        let data = ada.query(query, json!({"filter": filter})).await;
        let nodes = data["viewer"]["conversations"]["nodes"].as_array().unwrap().clone();
        nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(filtered(json!({"kind": "DIRECT"})).await, [direct.as_str()]);
    assert_eq!(filtered(json!({"unreadOnly": true})).await, [direct.as_str()]);
    assert_eq!(filtered(json!({"titleContains": "GROUP 3"})).await, [ids[3].as_str()]);
    assert_eq!(filtered(json!({"titleContains": "%"})).await, [""; 0]);
    assert_eq!(filtered(json!({"kind": null, "unreadOnly": null})).await.len(), 2);
}

/// In this test users join in another order than that of their ids, which is the order of registration.
#[tokio::test]
async fn pages_of_participants_follow_the_order_of_joining() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    let mut others = Vec::new();
    for _ in 0..6 {
        others.push(node.register("member").await);
    }
    let group = ada.create_group("Seven", &[]).await;
    let joined: Vec<_> = [4, 1, 5, 0, 3, 2].iter().map(|&place| &others[place]).collect();
    for user in &joined {
        ada.add_participants(&group, &[user]).await.data();
    }
    let query = "query ($id: ID!, $after: String) { conversation(id: $id) { participants(first: 3, after: $after) {
        nodes { user { id } } pageInfo { hasNextPage endCursor }
    } } }";
    let mut seen = Vec::new();
    let mut after = Value::Null;
    for expected in [3, 3, 1] {
        let data = ada.query(query, json!({"id": group, "after": after})).await;
        let page = &data["conversation"]["participants"];
        let nodes = page["nodes"].as_array().unwrap();
        assert_eq!(nodes.len(), expected);
        assert_eq!(page["pageInfo"]["hasNextPage"], expected == 3);
        seen.extend(nodes.iter().map(|node| node["user"]["id"].as_str().unwrap().to_owned()));
        after = page["pageInfo"]["endCursor"].clone();
    }
    let expected: Vec<_> = [&ada].into_iter().chain(joined).map(|user| user.id.clone()).collect();
    assert_eq!(seen, expected);
}
