//! `parlance seed` fills a database with consistent data that a server can use.

use clap::Parser;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl as _;
use parlance::clock::Clock;
use parlance::config::Auth;
use parlance::domain::seed::{self, Plan, SeedError, Seeded};
use parlance::random::Random;
use serde_json::json;

use crate::support::{Node, TestDatabase, User};

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    plan: Plan,
    #[command(flatten)]
    auth: Auth,
}

async fn fill(database: &TestDatabase, flags: &[&str]) -> Result<Seeded, SeedError> {
    let mut flags = Flags::parse_from(["parlance"].iter().chain(flags));
    // All seeded users share one password hash. The cheapest cost keeps the tests fast.
    (flags.auth.password_memory_kib, flags.auth.password_passes) = (64, 1);
    seed::fill(&database.url, &flags.plan, &flags.auth, Clock::system(), Random::system(), |_| {}).await
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

#[derive(QueryableByName)]
struct Digest {
    #[diesel(sql_type = Text)]
    digest: String,
}

async fn count(database: &TestDatabase, query: &str) -> i64 {
    let query = diesel::sql_query(format!("SELECT count(*) FROM {query}"));
    query.get_result::<Count>(&mut database.connection().await).await.unwrap().count
}

/// Queries for rows that violate an invariant. Each query must find no rows.
const RULES: [&str; 12] = [
    "conversations c WHERE last_message_number <> (SELECT count(*) FROM messages WHERE conversation_id = c.id)
        OR last_message_number <> (SELECT coalesce(max(number), 0) FROM messages WHERE conversation_id = c.id)",
    "conversations c JOIN messages m ON m.conversation_id = c.id AND m.number = c.last_message_number
        WHERE m.id <> c.last_message_id OR m.created_at <> c.last_activity_at OR c.revision < m.revision",
    "conversations c WHERE last_message_number > 0 AND last_message_id IS NULL",
    "conversations c WHERE participant_count <> (SELECT count(*) FROM participants WHERE conversation_id = c.id)",
    "conversations c WHERE kind = 'GROUP'
        AND 1 <> (SELECT count(*) FROM participants WHERE conversation_id = c.id AND role = 'OWNER')",
    "conversations c WHERE kind = 'DIRECT' AND 2 <> (SELECT count(*) FROM participants
        WHERE conversation_id = c.id AND role = 'MEMBER' AND user_id IN (direct_low, direct_high))",
    "participants p WHERE uncounted <> (SELECT count(*) FROM messages
        WHERE conversation_id = p.conversation_id AND sender_id = p.user_id AND number > p.last_read_number)",
    "participants p JOIN conversations c ON c.id = p.conversation_id
        WHERE NOT (0 <= last_read_number AND last_read_number <= last_delivered_number
            AND last_delivered_number <= last_message_number)",
    "messages m WHERE NOT EXISTS (SELECT FROM participants
        WHERE conversation_id = m.conversation_id AND user_id = m.sender_id)",
    "(SELECT created_at < lag(created_at) OVER (PARTITION BY conversation_id ORDER BY number) AS back FROM messages) m
        WHERE back",
    "messages m JOIN conversations c ON c.id = m.conversation_id
        WHERE m.created_at < c.created_at OR m.created_at > now() OR m.body IS NULL",
    "participants p JOIN conversations c ON c.id = p.conversation_id WHERE joined_at <> c.created_at",
];

#[tokio::test]
async fn seeded_data_is_consistent_and_usable() {
    let database = TestDatabase::new().await;
    let made = fill(&database, &["--users=40", "--messages=3000", "--groups=10"]).await.unwrap();
    assert_eq!((made.users, made.messages, made.conversations), (40, 3000, 170));
    assert_eq!(count(&database, "users").await, 40);
    assert_eq!(count(&database, "messages").await, 3000);
    assert_eq!(count(&database, "conversations").await, 170);
    for rule in RULES {
        assert_eq!(count(&database, rule).await, 0, "{rule}");
    }

    let node = Node::build().start_on(&database).await;
    let user = User::login(&node, &made.first_user, "try parlance today").await;
    user.indexed().await;
    let query = "{
        viewer { unreadCount conversations(first: 3) { nodes {
            id participantCount lastMessage { number } messages(last: 2) { nodes { number sender { username } } }
            viewerMembership { unreadCount }
        } } }
        searchMessages(query: \"the\") { nodes { id } }
    }";
    let data = user.query(query, json!({})).await;
    let conversation = &data["viewer"]["conversations"]["nodes"][0];
    assert_eq!(data["viewer"]["conversations"]["nodes"].as_array().unwrap().len(), 3);
    assert!(!data["searchMessages"]["nodes"].as_array().unwrap().is_empty(), "{data:#}");
    let before = conversation["lastMessage"]["number"].as_i64().unwrap();
    let sent = user.send(conversation["id"].as_str().unwrap(), "new").await;
    assert_eq!(sent["number"].as_i64().unwrap(), before + 1);
    user.mark_read(&sent).await.data();
    assert_eq!(user.unread(conversation["id"].as_str().unwrap()).await, 0);
}

#[tokio::test]
async fn the_seed_determines_the_generated_data() {
    let mut digests = Vec::new();
    for seed in ["--seed=7", "--seed=7", "--seed=8"] {
        let database = TestDatabase::new().await;
        fill(&database, &["--users=10", "--messages=300", seed]).await.unwrap();
        let query = "SELECT md5((SELECT string_agg(body, ',' ORDER BY body) FROM messages)
            || (SELECT string_agg(username, ',' ORDER BY username) FROM users)) AS digest";
        let digest: Digest = diesel::sql_query(query).get_result(&mut database.connection().await).await.unwrap();
        digests.push(digest.digest);
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0], digests[2]);
}

#[tokio::test]
async fn a_database_with_users_is_filled_only_with_append() {
    let database = TestDatabase::new().await;
    let few = ["--users=5", "--messages=50", "--groups=2"];
    fill(&database, &few).await.unwrap();
    let error = fill(&database, &few).await.unwrap_err();
    assert!(matches!(error, SeedError::NotEmpty(5)), "{error}");
    assert_eq!(count(&database, "users").await, 5);
    fill(&database, &["--users=5", "--messages=50", "--groups=2", "--append"]).await.unwrap();
    assert_eq!(count(&database, "users").await, 10);
    assert_eq!(count(&database, "messages").await, 100);
    for rule in RULES {
        assert_eq!(count(&database, rule).await, 0, "{rule}");
    }
    let error = fill(&database, &["--append", "--groups=0", "--directs=0"]).await.unwrap_err();
    assert!(matches!(error, SeedError::NoConversation), "{error}");
}
