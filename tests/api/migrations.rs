//! Migrations can be run, reverted and run again, and keep existing data.

use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection as _};

use crate::support::TestDatabase;

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

async fn tables(database: &TestDatabase) -> i64 {
    let query = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE '\\_\\_%'";
    sql_query(query).get_result::<Count>(&mut database.connection().await).await.unwrap().count
}

#[tokio::test]
async fn migrations_run_revert_and_run_again() {
    let database = TestDatabase::empty().await;
    let all = parlance::store::pending_migrations(&database.url).await.unwrap();
    assert!(all > 0);
    for _ in 0..2 {
        assert_eq!(parlance::store::migrate(&database.url).await.unwrap().len(), all);
        assert_eq!(parlance::store::pending_migrations(&database.url).await.unwrap(), 0);
        assert!(tables(&database).await > 0);
        assert!(parlance::store::migrate(&database.url).await.unwrap().is_empty());
        assert_eq!(parlance::store::revert_all(&database.url).await.unwrap(), all);
        assert_eq!(tables(&database).await, 0);
    }
}

#[tokio::test]
async fn concurrent_runs_apply_each_migration_once() {
    let database = TestDatabase::empty().await;
    let all = parlance::store::pending_migrations(&database.url).await.unwrap();
    let runs = (0..4).map(|_| {
        tokio::spawn({
            let url = database.url.clone();
            async move { parlance::store::migrate(&url).await.unwrap().len() }
        })
    });
    let mut done = Vec::new();
    for run in runs.collect::<Vec<_>>() {
        done.push(run.await.unwrap());
    }
    assert_eq!(done.iter().sum::<usize>(), all, "{done:?}");
}

#[tokio::test]
async fn existing_events_move_into_partitions_and_back() {
    const PARTITIONING: &str = "2026-11-21-000004_retention";
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let read = |name: &str, way: &str| std::fs::read_to_string(directory.join(name).join(way)).unwrap();
    let mut before: Vec<_> = std::fs::read_dir(&directory).unwrap().collect();
    before.retain(|entry| entry.as_ref().unwrap().file_name().to_str().unwrap() < PARTITIONING);
    before.sort_by_key(|entry| entry.as_ref().unwrap().file_name());

    let database = TestDatabase::empty().await;
    let mut connection = database.connection().await;
    for entry in before {
        let name = entry.unwrap().file_name().into_string().unwrap();
        connection.batch_execute(&read(&name, "up.sql")).await.unwrap();
    }
    // Inserts events of the last thirty days, and some events in the future, as if the clock of a node were fast.
    let events = "INSERT INTO events (lane, seq, kind, conversation_id, subject_id, created_at)
        SELECT 0, i, 'message_added', gen_random_uuid(), gen_random_uuid(), now() - (92 - i) * interval '8 hours'
        FROM generate_series(1, 100) AS i;
        UPDATE log_head SET seq = 100";
    connection.batch_execute(events).await.unwrap();
    let mut contents = async || {
        let query = "SELECT hashtextextended(string_agg(events::text, ',' ORDER BY seq), 0) AS count FROM events";
        sql_query(query).get_result::<Count>(&mut connection).await.unwrap().count
    };
    let original = contents().await;
    let (up, down) = (read(PARTITIONING, "up.sql"), read(PARTITIONING, "down.sql"));
    let mut other = database.connection().await;
    for sql in [&up, &down, &up] {
        other.batch_execute(sql).await.unwrap();
        assert_eq!(contents().await, original);
    }
    // The revert removes `forgotten` and begins a new epoch. Without the new epoch an old cursor could skip dropped
    // events.
    let epoch = "SELECT epoch AS count FROM log_head";
    let old = sql_query(epoch).get_result::<Count>(&mut other).await.unwrap().count;
    other.batch_execute(&format!("UPDATE log_head SET forgotten = 1; {down}")).await.unwrap();
    assert_ne!(sql_query(epoch).get_result::<Count>(&mut other).await.unwrap().count, old);
}

/// Returns a database with all migrations before `name`, and the `up.sql` and `down.sql` of `name`.
async fn before_migration(name: &str) -> (TestDatabase, String, String) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let read = |name: &str, way: &str| std::fs::read_to_string(directory.join(name).join(way)).unwrap();
    let names = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut before: Vec<_> = names.filter(|other| other.as_str() < name).collect();
    before.sort();
    let database = TestDatabase::empty().await;
    let mut connection = database.connection().await;
    for name in before {
        connection.batch_execute(&read(&name, "up.sql")).await.unwrap();
    }
    drop(connection);
    (database, read(name, "up.sql"), read(name, "down.sql"))
}

#[tokio::test]
async fn existing_contact_points_become_verified_and_a_revert_keeps_each_address_once() {
    let (database, up, down) = before_migration("2026-11-29-000016_verified_contact_points").await;
    let mut connection = database.connection().await;
    let user = |username: &str, email: &str| {
        format!(
            "INSERT INTO users (id, username, display_name, email, password_hash, created_at)
             VALUES (gen_random_uuid(), '{username}', 'name', {email}, 'hash', now());"
        )
    };
    connection.batch_execute(&user("ada", "'ada@example.org'")).await.unwrap();
    connection.batch_execute(&user("bob", "NULL")).await.unwrap();
    connection.batch_execute(&up).await.unwrap();
    let count = async |condition: &str| {
        let query = format!("SELECT count(*) FROM users WHERE {condition}");
        sql_query(query).get_result::<Count>(&mut database.connection().await).await.unwrap().count
    };
    assert_eq!(count("username = 'ada' AND email_verified_at IS NOT NULL AND phone_verified_at IS NULL").await, 1);
    assert_eq!(count("username = 'bob' AND email_verified_at IS NULL").await, 1);
    // Three accounts have the same address, and one account has verified it.
    connection.batch_execute(&user("cem", "'ada@example.org'")).await.unwrap();
    connection.batch_execute(&user("dee", "'ada@example.org'")).await.unwrap();
    assert!(connection.batch_execute("UPDATE users SET email_verified_at = now()").await.is_err(), "must be unique");
    connection.batch_execute(&down).await.unwrap();
    assert_eq!(count("email = 'ada@example.org' AND username = 'ada'").await, 1);
    assert_eq!(count("email IS NULL").await, 3);
    assert!(connection.batch_execute(&user("eve", "'ada@example.org'")).await.is_err(), "must be unique again");
    connection.batch_execute(&up).await.unwrap();
    assert_eq!(count("email_verified_at IS NOT NULL").await, 1);
}

#[tokio::test]
async fn existing_sessions_are_not_confirmed_and_a_revert_locks_accounts_without_a_password() {
    let (database, up, down) = before_migration("2026-12-01-000021_codes").await;
    let mut connection = database.connection().await;
    let rows = "INSERT INTO users (id, username, display_name, search_name, password_hash, created_at)
            VALUES (gen_random_uuid(), 'ada', 'Ada', 'ada', 'hash', now());
        INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at)
            SELECT gen_random_uuid(), id, now() - interval '1 day', now(), now() + interval '1 day' FROM users";
    connection.batch_execute(rows).await.unwrap();
    connection.batch_execute(&up).await.unwrap();
    let count = async |from: &str| {
        let query = format!("SELECT count(*) FROM {from}");
        sql_query(query).get_result::<Count>(&mut database.connection().await).await.unwrap().count
    };
    assert_eq!(count("sessions WHERE confirmed_at = 'epoch'").await, 1);
    // A node of the former version does not know the column.
    let insert = "INSERT INTO sessions (id, user_id, created_at, last_used_at, expires_at)
        SELECT gen_random_uuid(), id, now(), now(), now() + interval '1 day' FROM users";
    connection.batch_execute(insert).await.unwrap();
    assert_eq!(count("sessions WHERE confirmed_at >= created_at").await, 1);
    connection.batch_execute("UPDATE users SET password_hash = NULL").await.unwrap();
    connection.batch_execute(&down).await.unwrap();
    assert_eq!(count("users WHERE password_hash LIKE '$argon2id$%'").await, 1);
    connection.batch_execute(&up).await.unwrap();
}

/// Nobody could prove an address before there were codes.
#[tokio::test]
async fn existing_contact_points_become_unverified_when_codes_come() {
    let (database, up, down) = before_migration("2026-12-01-000021_codes").await;
    let mut connection = database.connection().await;
    let rows = "INSERT INTO users (id, username, display_name, search_name, email, phone, email_verified_at,
                phone_verified_at, password_hash, created_at)
            VALUES
                (gen_random_uuid(), 'ada', 'Ada', 'ada', 'ada@example.org', '+4915112345678', now(), now(), 'hash',
                    now()),
                (gen_random_uuid(), 'bob', 'Bob', 'bob', 'bob@example.org', NULL, NULL, NULL, 'hash', now())";
    connection.batch_execute(rows).await.unwrap();
    connection.batch_execute(&up).await.unwrap();
    let mut count = async |condition: &str| {
        let query = format!("SELECT count(*) FROM users WHERE {condition}");
        sql_query(query).get_result::<Count>(&mut connection).await.unwrap().count
    };
    assert_eq!(count("email_verified_at IS NOT NULL OR phone_verified_at IS NOT NULL").await, 0);
    // The addresses stay, so that their owners can verify them.
    assert_eq!(count("email IS NOT NULL").await, 2);
    assert_eq!(count("phone = '+4915112345678'").await, 1);
    connection.batch_execute(&down).await.unwrap();
}
