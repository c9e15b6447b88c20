//! Search in messages: matching, order, filters, and messages that are hidden from the viewer.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use parlance::ids::{ConversationId, UserId};
use serde_json::{Value, json};

use crate::support::{Answer, Node, TestDatabase, User};

const SEARCH: &str = "query ($query: String!, $conversation: ID, $sender: ID, $first: Int, $after: String) {
    searchMessages(query: $query, conversationId: $conversation, senderId: $sender, first: $first, after: $after) {
        nodes { id body sender { id } conversation { id } } pageInfo { hasNextPage endCursor }
    }
}";

async fn search(user: &User, variables: Value) -> Answer {
    user.indexed().await;
    user.call(SEARCH, variables).await
}

fn bodies(data: &Value) -> Vec<&str> {
    let nodes = data["searchMessages"]["nodes"].as_array().unwrap();
    nodes.iter().map(|node| node["body"].as_str().unwrap()).collect()
}

async fn found(user: &User, query: &str) -> Vec<String> {
    let data = search(user, json!({"query": query})).await.data();
    bodies(&data).into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn all_words_must_match_and_the_last_one_can_be_a_prefix() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    for body in ["The Café opens at nine", "a cafeteria, late", "Don't open it: e-mail (late)!", "www.example.org/map"]
    {
        ada.send(&conversation, body).await;
    }
    assert_eq!(found(&bob, "cafe").await, ["a cafeteria, late", "The Café opens at nine"], "newest first");
    assert_eq!(found(&bob, "CAFÉ nine").await, ["The Café opens at nine"]);
    assert_eq!(found(&bob, "nine cafe").await, ["The Café opens at nine"], "the order of words does not matter");
    assert_eq!(found(&bob, "ope nine").await, [""; 0], "only the last word can be a prefix");
    assert_eq!(found(&bob, "late open").await, ["Don't open it: e-mail (late)!"]);
    assert_eq!(found(&bob, "mail").await, ["Don't open it: e-mail (late)!"]);
    assert_eq!(found(&bob, "example").await, ["www.example.org/map"]);
    assert_eq!(found(&bob, "pens").await, [""; 0], "the middle of a word does not match");
}

#[tokio::test]
async fn scripts_without_spaces_match_any_substring() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let (chinese, japanese, korean) = ("我们明天去北京大学吧", "明日はテストがあります。", "내일 한국어 시험이 있어요");
    for body in [chinese, japanese, korean, "ﾊﾝｶｸ and ＷＩＤＥ"] {
        ada.send(&conversation, body).await;
    }
    for query in ["北京", "北京大学", "京大", "北", "吧", "明天去"] {
        assert_eq!(found(&bob, query).await, [chinese], "{query}");
    }
    for query in ["テスト", "スト", "明日", "あります", "が"] {
        assert_eq!(found(&bob, query).await, [japanese], "{query}");
    }
    for query in ["한국어", "국어", "시험", "요", "한국어 시험"] {
        assert_eq!(found(&bob, query).await, [korean], "{query}");
    }
    assert_eq!(found(&bob, "明").await, [japanese, chinese]);
    assert_eq!(found(&bob, "上海").await, [""; 0]);
    assert_eq!(found(&bob, "ハンカク wide").await, ["ﾊﾝｶｸ and ＷＩＤＥ"], "half and full width are equal");
}

#[tokio::test]
async fn search_results_can_be_paged_and_filtered_by_conversation_and_sender() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let (direct, group) = (ada.open_direct(&bob).await, ada.create_group("Both", &[&bob]).await);
    for i in 0..5 {
        ada.send(&direct, &format!("ticket {i}")).await;
        bob.send(&group, &format!("ticket {}", i + 5)).await;
    }
    let bodies_of = async |variables: Value| {
        let data = search(&ada, variables).await.data();
        bodies(&data).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let in_direct = bodies_of(json!({"query": "ticket", "conversation": direct})).await;
    assert_eq!(in_direct, ["ticket 4", "ticket 3", "ticket 2", "ticket 1", "ticket 0"]);
    let of_bob = bodies_of(json!({"query": "ticket", "sender": bob.id})).await;
    assert_eq!(of_bob, ["ticket 9", "ticket 8", "ticket 7", "ticket 6", "ticket 5"]);
    assert_eq!(bodies_of(json!({"query": "ticket", "sender": bob.id, "conversation": direct})).await, [""; 0]);

    let (mut after, mut pages) = (Value::Null, Vec::new());
    for more in [true, true, false] {
        let data = search(&ada, json!({"query": "ticket", "first": 4, "after": after})).await.data();
        pages.push(bodies(&data).into_iter().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(data["searchMessages"]["pageInfo"]["hasNextPage"], more);
        after = data["searchMessages"]["pageInfo"]["endCursor"].clone();
    }
    let sizes: Vec<_> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [4, 4, 2]);
    let expected: Vec<_> = (0..5).rev().flat_map(|i| [format!("ticket {}", i + 5), format!("ticket {i}")]).collect();
    assert_eq!(pages.concat(), expected);
}

#[tokio::test]
async fn messages_hidden_from_the_viewer_are_never_found() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob, eve) = (node.register("ada").await, node.register("bob").await, node.register("eve").await);
    let group = ada.create_group("Old", &[&bob, &eve]).await;
    ada.send(&group, "secret before").await;
    ada.send(&group, "secret after").await;
    assert_eq!(found(&eve, "secret").await.len(), 2);

    let mallory = node.register("mallory").await;
    assert_eq!(found(&mallory, "secret").await, [""; 0]);
    let answer = search(&mallory, json!({"query": "secret", "conversation": group})).await;
    assert_eq!(answer.code(), "NOT_FOUND");
    let answer = node.call(None, SEARCH, json!({"query": "secret"})).await;
    assert_eq!(answer.code(), "UNAUTHENTICATED");

    // The first message is hidden from this participant.
    let mut connection = database.connection().await;
    let newcomer = "UPDATE participants SET hidden_up_to = 1 WHERE user_id = $1";
    let id = bob.id.parse::<UserId>().unwrap();
    diesel::sql_query(newcomer).bind::<SqlUuid, _>(id).execute(&mut connection).await.unwrap();
    assert_eq!(found(&bob, "secret").await, ["secret after"]);
    // A user who has left finds nothing.
    eve.leave(&group).await.data();
    assert_eq!(found(&eve, "secret").await, [""; 0]);
    // A tombstone has no body, so it matches no words.
    let tombstones = "UPDATE messages SET body = NULL, deleted_at = now() WHERE body = 'secret after'";
    connection.batch_execute(tombstones).await.unwrap();
    assert_eq!(found(&ada, "secret").await, ["secret before"]);
}

#[tokio::test]
async fn special_characters_in_a_query_are_treated_as_text() {
    let node = Node::start().await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    ada.send(&conversation, "plain words here").await;
    for query in ["", "   ", "!", "&|!():*<->", "'", "\\", "\u{0}", "\u{200b}", "%s%n"] {
        let found = found(&ada, query).await;
        assert!(found.is_empty() || query == "%s%n", "{query:?} {found:?}");
    }
    for query in
        ["words' | 'x", "plain:*", "(words)", "\"plain words\"", "plain\u{0}words", "here -- ;", "words \\", "%words"]
    {
        let answer = search(&ada, json!({"query": query})).await;
        assert!(answer.body.get("errors").is_none(), "{query:?} {:#}", answer.body);
    }
    assert_eq!(found(&ada, "plain\u{0}words").await, ["plain words here"]);
    assert_eq!(found(&ada, "\"plain\" & (words)").await, ["plain words here"]);
    assert_eq!(found(&ada, &"x".repeat(8000)).await, [""; 0]);
    assert_eq!(found(&ada, &"北".repeat(8000)).await, [""; 0]);
    assert_eq!(found(&ada, &"a ".repeat(4000)).await, [""; 0]);
    let answer = search(&ada, json!({"query": "x".repeat(8001)})).await;
    assert_eq!((answer.code(), answer.violations()), ("BAD_USER_INPUT", vec!["query"]));
    let answer = search(&ada, json!({"query": "x", "after": "nonsense"})).await;
    assert_eq!(answer.code(), "BAD_USER_INPUT");
    // Only the beginning of a long word is indexed. A message whose body is one long word can be stored and found.
    let long = "y".repeat(8000);
    ada.send(&conversation, &long).await;
    assert_eq!(found(&ada, &long).await.len(), 1);
}

#[derive(QueryableByName)]
struct Line {
    #[diesel(sql_type = Text, column_name = "QUERY PLAN")]
    line: String,
}

async fn plan(
    connection: &mut AsyncPgConnection,
    user: UserId,
    conversation: Option<ConversationId>,
    sender: Option<UserId>,
) -> String {
    let lines: Vec<Line> = diesel::sql_query(format!("EXPLAIN {}", parlance::store::messaging::search::statement()))
        .bind::<SqlUuid, _>(user)
        .bind::<Text, _>("'%tickets':*")
        .bind::<Nullable<SqlUuid>, _>(conversation)
        .bind::<Nullable<SqlUuid>, _>(sender)
        .bind::<Nullable<Timestamptz>, _>(None::<chrono::DateTime<chrono::Utc>>)
        .bind::<Nullable<SqlUuid>, _>(None::<UserId>)
        .bind::<BigInt, _>(21)
        .load(connection)
        .await
        .unwrap();
    lines.into_iter().map(|line| line.line + "\n").collect()
}

#[tokio::test]
async fn searches_use_the_index() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let first = ada.send(&conversation, "tickets").await;
    let mut connection = database.connection().await;
    let (user, id) = (ada.id.parse().unwrap(), conversation.parse().unwrap());
    let more = "INSERT INTO messages (id, conversation_id, number, revision, sender_id, kind, body, created_at)
        SELECT gen_random_uuid(), conversation_id, 1 + i, 1 + i, sender_id, 'TEXT', 'words and more ' || i, now()
        FROM messages, generate_series(1, 5000) AS i;
        UPDATE search_state SET rebuilding = 'MESSAGES'";
    // The index is used both before and after ANALYZE.
    for statement in [more, "ANALYZE"] {
        connection.batch_execute(statement).await.unwrap();
        // The event of the receipt wakes the indexer, which also does the rebuild.
        bob.mark_read(&first).await.data();
        ada.indexed().await;
        for (conversation, sender) in [(None, None), (Some(id), None), (None, Some(user))] {
            let plan = plan(&mut connection, user, conversation, sender).await;
            assert!(plan.contains("Bitmap Index Scan on search_index_words"), "{statement}\n{plan}");
        }
    }
    assert_eq!(found(&bob, "more 4999").await, ["words and more 4999"]);
}
