//! Stored unread counts: after random actions they equal the counts that are computed from the messages.

use diesel::sql_types::{BigInt, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use parlance::random::Random;
use serde_json::{Value, json};

use crate::support::{Node, TestDatabase, User};

/// The stored counts (fields `kept_…`) of a participant, and the same counts computed from the messages.
#[derive(Debug, QueryableByName)]
struct Counts {
    #[diesel(sql_type = Text)]
    username: String,
    #[diesel(sql_type = BigInt)]
    unread: i64,
    #[diesel(sql_type = BigInt)]
    mentions: i64,
    #[diesel(sql_type = Integer)]
    kept_unread: i32,
    #[diesel(sql_type = Integer)]
    kept_mentions: i32,
}

async fn check(conn: &mut AsyncPgConnection, step: &str) {
    let rows: Vec<Counts> = sql_query(
        "SELECT username, kept.unread_mentions AS kept_mentions,
             last_message_number - last_read_number - uncounted AS kept_unread,
             count(messages.id) AS unread,
             count(messages.id) FILTER (WHERE mentions_all OR EXISTS (
                 SELECT 1 FROM mentions WHERE message_id = messages.id AND user_id = kept.user_id
             )) AS mentions
         FROM participants AS kept
         JOIN users ON users.id = kept.user_id
         JOIN conversations ON conversations.id = kept.conversation_id
         LEFT JOIN messages ON messages.conversation_id = kept.conversation_id
             AND number > last_read_number
             AND sender_id IS DISTINCT FROM kept.user_id AND messages.kind <> 'SYSTEM' AND messages.deleted_at IS NULL
             AND NOT EXISTS (
                 SELECT 1 FROM message_hidden AS hidden WHERE hidden.user_id = kept.user_id AND message_id = messages.id
             )
         GROUP BY kept.conversation_id, kept.user_id, users.id, conversations.id",
    )
    .load(conn)
    .await
    .unwrap();
    for row in rows {
        let (unread, mentions) = (i64::from(row.kept_unread), i64::from(row.kept_mentions));
        assert_eq!((unread, mentions), (row.unread, row.mentions), "{} after {step}", row.username);
    }
}

/// A message, and the index of its sender in `users`.
struct Sent {
    sender: usize,
    id: Value,
}

/// Calls a mutation that the server may refuse. Panics on errors other than NOT_FOUND and BAD_USER_INPUT.
async fn change(user: &User, mutation: &str, input: Value) {
    let (name, field) = (format!("{}Input", mutation[..1].to_uppercase() + &mutation[1..]), "message { id }");
    let query = format!("mutation ($input: {name}!) {{ {mutation}(input: $input) {{ {field} }} }}");
    let answer = user.call(&query, json!({"input": input})).await;
    if answer.body.get("errors").is_some() {
        assert!(["NOT_FOUND", "BAD_USER_INPUT"].contains(&answer.code()), "{}", answer.body);
    }
}

#[tokio::test]
async fn stored_counts_are_exact_after_random_actions() {
    const STEPS: usize = 150;
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let mut conn = database.connection().await;
    let seed: [u8; 8] = Random::system().bytes();
    let mut state = u64::from_be_bytes(seed) | 1;
    // The random numbers come from Xorshift, so that a failure can be reproduced with its seed.
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut users = Vec::new();
    for _ in 0..5 {
        users.push(node.register("user").await);
    }
    let group = users[0].create_group("Counting", &users[1..4].iter().collect::<Vec<_>>()).await;
    let mut inside = vec![0, 1, 2, 3];
    let mut sent: Vec<Sent> = Vec::new();
    for step in 0..STEPS {
        let sender = inside[random(inside.len())];
        let user = &users[sender];
        let other = users[random(users.len())].username.clone();
        let what = match random(14) {
            0..=3 => {
                sent.push(Sent { sender, id: user.send(&group, "plain").await["id"].clone() });
                "a message"
            }
            4 | 5 => {
                sent.push(Sent {
                    sender,
                    id: user.send(&group, &format!("@{other} and @{}", users[0].username)).await["id"].clone(),
                });
                "a mention"
            }
            6 => {
                sent.push(Sent { sender, id: user.send(&group, &format!("@all, @{other}")).await["id"].clone() });
                "a mention of all"
            }
            7..=9 if !sent.is_empty() => {
                let input = json!({"messageId": sent[random(sent.len())].id});
                user.call(
                    "mutation ($input: MarkReadInput!) { markRead(input: $input) { conversation { id } } }",
                    json!({"input": input}),
                )
                .await;
                "a receipt"
            }
            10 if !sent.is_empty() => {
                let message = &sent[random(sent.len())];
                change(&users[message.sender], "deleteMessage", json!({"messageId": message.id})).await;
                "a deletion"
            }
            11 if !sent.is_empty() => {
                let input = json!({"messageId": sent[random(sent.len())].id, "scope": "VIEWER"});
                change(user, "deleteMessage", input).await;
                "hiding"
            }
            12 if !sent.is_empty() => {
                let body = ["plain".to_owned(), format!("@{other}"), "@all".to_owned()][random(3)].clone();
                let message = &sent[random(sent.len())];
                let input = json!({"messageId": message.id, "body": body});
                change(&users[message.sender], "editMessage", input).await;
                "an edit"
            }
            _ if inside.contains(&4) => {
                let leave =
                    "mutation ($id: ID!) { leaveConversation(input: {conversationId: $id}) { conversationId } }";
                users[4].query(leave, json!({"id": group})).await;
                inside.retain(|place| *place != 4);
                "leaving"
            }
            _ => {
                users[0].add_participants(&group, &[&users[4]]).await.data();
                inside.push(4);
                "joining"
            }
        };
        check(&mut conn, &format!("step {step}, {what}, of the seed {seed:?}")).await;
    }
    // The API returns the same counts.
    for place in inside {
        let data = users[place].query("{ viewer { unreadCount } }", json!({})).await;
        assert_eq!(data["viewer"]["unreadCount"], users[place].unread(&group).await);
    }
}

#[tokio::test]
async fn system_messages_and_messages_before_joining_are_never_unread() {
    let database = TestDatabase::new().await;
    let node = Node::build().start_on(&database).await;
    let (ada, bob, cem) = (node.register("ada").await, node.register("bob").await, node.register("cem").await);
    let group = ada.create_group("System", &[&bob]).await;
    ada.send(&group, "one").await;
    ada.add_participants(&group, &[&cem]).await.data();
    assert_eq!((bob.unread(&group).await, cem.unread(&group).await), (1, 0));
    let leave = "mutation ($id: ID!) { leaveConversation(input: {conversationId: $id}) { conversationId } }";
    cem.query(leave, json!({"id": group})).await;
    assert_eq!((ada.unread(&group).await, bob.unread(&group).await), (0, 1));
    ada.add_participants(&group, &[&cem]).await.data();
    let message = ada.send(&group, "two").await;
    assert_eq!((ada.unread(&group).await, bob.unread(&group).await, cem.unread(&group).await), (0, 2, 1));
    cem.mark_read(&message).await.data();
    assert_eq!(cem.unread(&group).await, 0);
}
