//! Reactions: each user can add each emoji to a message once.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, Node, User};

const REACTIONS: &str = "reactions { emoji count viewerHasReacted users(first: 2) {
    nodes { id } pageInfo { hasNextPage endCursor }
} }";

/// Twenty emojis, the maximum number of different emojis on a message.
const TWENTY: &str = "😀😁😂🤣😃😄😅😆😉😊😋😎😍😘🥰😗😙😚🙂🤗";

async fn react(user: &User, change: &str, message: &Value, emoji: &str) -> Answer {
    let input = if change == "addReaction" { "AddReactionInput" } else { "RemoveReactionInput" };
    let query =
        format!("mutation ($input: {input}!) {{ {change}(input: $input) {{ message {{ revision {REACTIONS} }} }} }}");
    user.call(&query, json!({"input": {"messageId": message["id"], "emoji": emoji}})).await
}

async fn add(user: &User, message: &Value, emoji: &str) -> Value {
    react(user, "addReaction", message, emoji).await.data()["addReaction"]["message"].clone()
}

async fn remove(user: &User, message: &Value, emoji: &str) -> Value {
    react(user, "removeReaction", message, emoji).await.data()["removeReaction"]["message"].clone()
}

fn kinds(message: &Value) -> Vec<(&str, i64, bool)> {
    let groups = message["reactions"].as_array().unwrap().iter();
    let kind = |group: &'_ Value| (group["count"].as_i64().unwrap(), group["viewerHasReacted"].as_bool().unwrap());
    groups.map(|group| (group["emoji"].as_str().unwrap(), kind(group).0, kind(group).1)).collect()
}

#[tokio::test]
async fn each_user_can_react_once_with_each_emoji() {
    let node = Node::start().await;
    let users = node.register_many(4).await;
    let group = users[0].create_group("Reactions", &users[1..].iter().collect::<Vec<_>>()).await;
    let message = users[0].send(&group, "well?").await;
    let mut socket = users[3].socket().await;
    let updates = "subscription ($id: ID!) { messageUpdated(conversationId: $id) { message {
        revision reactions { emoji count viewerHasReacted }
    } } }";
    socket.subscribe("it", updates, json!({"id": group})).await;
    node.subscription_is_live(&users[3], &group).await;

    add(&users[1], &message, "❤️").await;
    add(&users[0], &message, "👍🏽").await;
    add(&users[0], &message, "❤️").await;
    let first = add(&users[2], &message, "❤️").await;
    // Adding the same emoji without its variation selector, or removing an emoji that was not added, changes nothing.
    assert_eq!(add(&users[2], &message, "❤").await, first);
    assert_eq!(remove(&users[2], &message, "🎉").await, first);
    assert_eq!(kinds(&first), [("❤️", 3, true), ("👍🏽", 1, false)]);
    let page = &first["reactions"][0]["users"];
    assert_eq!(page["nodes"], json!([{"id": users[1].id}, {"id": users[0].id}]));
    assert_eq!(page["pageInfo"]["hasNextPage"], true);
    let query = "query ($id: ID!, $after: String) { node(id: $id) { ... on Message { reactions {
        users(first: 2, after: $after) { nodes { id username } pageInfo { hasNextPage } }
    } } } }";
    let variables = json!({"id": message["id"], "after": page["pageInfo"]["endCursor"]});
    let rest = users[3].query(query, variables).await["node"]["reactions"][0]["users"].clone();
    assert_eq!(rest["nodes"], json!([{"id": users[2].id, "username": users[2].username}]));
    assert_eq!(rest["pageInfo"]["hasNextPage"], false);

    // Emojis are sorted by their first remaining reaction.
    let left = remove(&users[1], &message, "❤️").await;
    assert_eq!(kinds(&left), [("👍🏽", 1, false), ("❤️", 2, false)]);
    remove(&users[0], &message, "👍🏽").await;
    let mut revisions = Vec::new();
    for _ in 0..6 {
        let event = socket.receive_of("it").await["payload"]["data"]["messageUpdated"]["message"].clone();
        revisions.push(event["revision"].as_i64().unwrap());
    }
    // An event may already show later changes, but never an older state.
    assert!(revisions.is_sorted(), "{revisions:?}");
    add(&users[3], &message, "🎉").await;
    let last = socket.receive_of("it").await["payload"]["data"]["messageUpdated"]["message"].clone();
    assert_eq!(kinds(&last), [("❤️", 2, false), ("🎉", 1, true)]);
}

#[tokio::test]
async fn invalid_emojis_and_messages_of_strangers_are_rejected() {
    let node = Node::start().await;
    let (ada, stranger) = (node.register("ada").await, node.register("stranger").await);
    let group = ada.create_group("Refused", &[]).await;
    let message = ada.send(&group, "hello").await;
    for emoji in ["", "a", ":)", "👍👍", "👍 ", "1", "<3", "\0"] {
        for change in ["addReaction", "removeReaction"] {
            let answer = react(&ada, change, &message, emoji).await;
            assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["emoji"]), "{emoji:?}");
        }
    }
    for emoji in ["👨‍👩‍👧‍👦", "🇩🇪", "#️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "🧑🏿‍🚀"]
    {
        add(&ada, &message, emoji).await;
    }
    assert_eq!(react(&stranger, "addReaction", &message, "👍").await.code(), "NOT_FOUND");
    assert_eq!(react(&stranger, "removeReaction", &message, "👍").await.code(), "NOT_FOUND");
}

#[tokio::test]
async fn concurrent_reactions_never_exceed_twenty_emojis_per_message() {
    let node = Node::start().await;
    let users = node.register_many(10).await;
    let group = users[0].create_group("Many", &users[1..].iter().collect::<Vec<_>>()).await;
    let message = users[0].send(&group, "well?").await;
    let emojis: Vec<String> = TWENTY.chars().map(String::from).collect();
    assert_eq!(emojis.len(), 20);
    join_all(emojis[..15].iter().map(|emoji| add(&users[0], &message, emoji))).await;
    // Ten concurrent reactions add new emojis, but the message has room for only five more.
    let more = ["🍏", "🍎", "🍐", "🍊", "🍋", "🍌", "🍉", "🍇", "🍓", "🍈"];
    let answers =
        join_all(users.iter().zip(more).map(|(user, emoji)| react(user, "addReaction", &message, emoji))).await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.body.get("errors").is_some()).collect();
    assert_eq!(refused.len(), 5);
    assert!(refused.iter().all(|answer| answer.violations() == ["emoji"]));
    // Every participant can still add an emoji that is already on the message.
    let full = add(&users[5], &message, &emojis[3]).await;
    assert_eq!(kinds(&full).len(), 20);
    assert_eq!(kinds(&full).iter().filter(|kind| kind.1 == 2).count(), 1);
}
