//! Consumers of the log handle each event exactly once, although nodes compete, fail and die.

use std::time::Duration;

use diesel::QueryableByName;
use diesel::sql_types::{Array, BigInt};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};
use parlance::error::{Error, Result};
use parlance::log::{Batch, Category, Consumer};
use parlance::metrics::Metrics;
use parlance::random::Random;
use parlance::store::{Connection, Database};
use tokio::sync::watch;

use crate::support::{Node, TestDatabase, eventually};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

async fn count(database: &TestDatabase, query: &str) -> i64 {
    diesel::sql_query(query).get_result::<Count>(&mut database.connection().await).await.unwrap().count
}

async fn store(conn: &mut Connection, batch: &Batch) -> Result<()> {
    let seqs: Vec<i64> = batch.events.iter().map(|event| event.seq).collect();
    diesel::sql_query("INSERT INTO handled SELECT unnest($1)").bind::<Array<BigInt>, _>(seqs).execute(conn).await?;
    Ok(())
}

async fn consumer(database: &TestDatabase) -> Consumer {
    let settings = Node::config(&["--consumer-interval=1", "--tail-poll-interval=50"].map(str::to_owned));
    let pool = Database::connect(&database.url, &settings.postgres).await.unwrap();
    let categories = [Category::NewMessages];
    Consumer::open(&pool, &Metrics::default(), &Random::system(), &settings.log, "test", &categories).await.unwrap()
}

#[tokio::test]
async fn each_event_is_handled_once_by_competing_nodes_that_fail_and_die() {
    let database = TestDatabase::new().await;
    database.connection().await.batch_execute("CREATE TABLE handled (seq bigint)").await.unwrap();
    let node = Node::build().start_on(&database).await;
    let (ada, bob) = (node.register("ada").await, node.register("bob").await);
    let conversation = ada.open_direct(&bob).await;
    let mut nodes = Vec::new();
    for number in 0..4 {
        let (_, head) = watch::channel(0);
        let consumer = consumer(&database).await;
        let mut turn = 0;
        nodes.push(tokio::spawn(async move {
            let work = async move |conn: &mut Connection, batch: Batch| {
                store(conn, &batch).await?;
                turn += 1;
                // The node takes a while for each batch, and every third batch fails after its work.
                tokio::time::sleep(Duration::from_millis(5)).await;
                if turn % 3 == number % 3 { Err(Error::Corrupt("a failure of the test".to_owned())) } else { Ok(false) }
            };
            consumer.run(head, work).await;
        }));
    }
    for number in 0..300 {
        ada.send(&conversation, &format!("message {number}")).await;
        // Nodes die one after the other, also in the middle of a batch.
        if number % 100 == 99 {
            nodes.remove(0).abort();
        }
    }
    let messages = "SELECT count(*) AS count FROM events WHERE kind = 'message_added'";
    let sent = count(&database, messages).await;
    assert!(sent >= 300);
    eventually("all events are handled", async || {
        count(&database, "SELECT count(DISTINCT seq) AS count FROM handled").await == sent
    })
    .await;
    assert_eq!(count(&database, "SELECT count(*) AS count FROM handled").await, sent, "no event was handled twice");
    let others = "SELECT count(*) AS count FROM handled JOIN events USING (seq) WHERE kind <> 'message_added'";
    assert_eq!(count(&database, others).await, 0);
}
