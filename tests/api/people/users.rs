//! Search for users, and reading of users by id, by username and through `nodes`.

use serde_json::{Value, json};

use crate::support::{Node, PASSWORD, User};

const SEARCH: &str = "query ($query: String!, $first: Int!, $after: String) {
    searchUsers(query: $query, first: $first, after: $after) {
        nodes { username } edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage endCursor }
    }
}";

fn names(page: &Value) -> Vec<&str> {
    let nodes = page["searchUsers"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["username"].as_str().unwrap()).collect()
}

async fn named(node: &Node, username: &str, display_name: &str) -> User {
    let user = User::register(node, username, PASSWORD).await;
    let rename = "mutation ($name: String!) { updateProfile(input: {displayName: $name}) { viewer { id } } }";
    user.query(rename, json!({"name": display_name})).await;
    user
}

#[tokio::test]
async fn a_user_search_matches_username_prefixes_and_parts_of_display_names() {
    let node = Node::start().await;
    let ada = named(&node, "ada", "Countess of Lovelace").await;
    named(&node, "adamant", "Rock").await;
    named(&node, "grace", "Ada's admirer").await;
    named(&node, "a_b", "Under Score").await;
    named(&node, "axb", "Percent % Sign").await;

    let search = async |query: &str| {
        let data = ada.query(SEARCH, json!({"query": query, "first": 10})).await;
        names(&data).join(" ")
    };
    assert_eq!(search("ada").await, "ada adamant grace");
    assert_eq!(search(" ADA ").await, "ada adamant grace");
    assert_eq!(search("lovel").await, "ada");
    assert_eq!(search("cou").await, "ada");
    assert_eq!(search("a_b").await, "a_b", "an underscore is not a wildcard");
    assert_eq!(search("%%%").await, "", "a percent sign is not a wildcard");
    assert_eq!(search("Percent: Sign!").await, "axb", "signs in names do not matter");
    assert_eq!(search("\\").await, "");
    assert_eq!(search("nobody").await, "");
    // A search that is too short for trigrams matches the beginning of display names.
    assert_eq!(search("ro").await, "adamant");
}

#[tokio::test]
async fn a_user_search_returns_pages() {
    let node = Node::start().await;
    let ada = node.register("ada").await;
    for i in 0..7 {
        User::register(&node, &format!("page{i}"), PASSWORD).await;
    }
    let mut seen = Vec::new();
    let mut after = Value::Null;
    for more in [true, true, false] {
        let data = ada.query(SEARCH, json!({"query": "page", "first": 3, "after": after})).await;
        seen.extend(names(&data).iter().map(ToString::to_string));
        let info = &data["searchUsers"]["pageInfo"];
        assert_eq!(info["hasPreviousPage"], !after.is_null());
        assert_eq!(info["hasNextPage"], more);
        after = info["endCursor"].clone();
    }
    assert_eq!(seen, (0..7).map(|i| format!("page{i}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_field_user_finds_users_by_id_and_by_username() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let query = "query ($by: UserBy!) { user(by: $by) { id username createdAt } }";
    for by in
        [json!({"id": bob.id}), json!({"username": bob.username}), json!({"username": bob.username.to_uppercase()})]
    {
        let data = ada.query(query, json!({"by": by})).await;
        assert_eq!(data["user"]["id"], bob.id.as_str());
        let created_at = data["user"]["createdAt"].as_str().unwrap();
        assert!(created_at.ends_with('Z') && created_at.len() == "2026-11-20T09:30:00.123456Z".len(), "{created_at}");
    }
    let data = ada.query(query, json!({"by": {"username": "nobody"}})).await;
    assert_eq!(data["user"], Value::Null);
}

#[tokio::test]
async fn the_field_nodes_returns_results_in_the_order_of_the_ids() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let message = ada.send(&conversation, "hello").await;
    let data = ada
        .query(
            "query ($id: ID!) { conversation(id: $id) { participants { nodes { id } } } }",
            json!({"id": conversation}),
        )
        .await;
    let participant = &data["conversation"]["participants"]["nodes"][1]["id"];
    let missing = "usr_00000000000000000000000000";
    let ids = json!([bob.id, missing, conversation, message["id"], ada.session, participant]);
    let query = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }";
    let data = ada.query(query, json!({"ids": ids})).await;
    let names: Vec<_> = data["nodes"].as_array().unwrap().iter().map(|node| node["__typename"].as_str()).collect();
    let expected = [Some("User"), None, Some("Conversation"), Some("Message"), Some("Session"), Some("Participant")];
    assert_eq!(names, expected);

    // A malformed id does not affect the results of the other ids.
    let answer = ada.call(query, json!({"ids": [bob.id, "nonsense"]})).await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["ids.1"]));
    assert_eq!(answer.body["data"]["nodes"][0]["id"], bob.id.as_str());
    assert_eq!(answer.body["data"]["nodes"][1], Value::Null);
}
