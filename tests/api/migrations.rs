//! Migrations run, revert, and run again.

use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::RunQueryDsl;

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
async fn they_run_and_revert_and_run_again() {
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
async fn nodes_that_migrate_at_once_do_it_once() {
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
