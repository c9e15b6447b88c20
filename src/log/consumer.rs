//! Consumers: tasks that handle every event of the log without delaying its writers.
//!
//! All nodes run each consumer, but only the node that holds its lease works. The position of a consumer is in Postgres
//! and advances in the transaction that handles the events. Each event is therefore handled once, also if a node dies.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Double, Text, Uuid as SqlUuid};
use diesel_async::{AnsiTransactionManager, RunQueryDsl, TransactionManager as _};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::warn;
use uuid::Uuid;

use super::event::{Category, Change, Event, Seq};
use super::read;
use super::transaction::roll_back;
use crate::config::LogSettings;
use crate::error::{RETRY_DELAY, Result};
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::{Connection, Database};

/// Maximum number of events in one batch.
const BATCH_SIZE: i64 = 500;
/// Time after the last batch of a node for which no other node runs the consumer. If the node dies, another node takes
/// over after this time. A lease that ends during a batch is harmless, because the batch locks the consumer's row.
const LEASE: Duration = Duration::from_secs(2);
/// Number of polls without events of which one calls the work, so that it can begin other work, such as a rebuild.
const IDLE_POLLS: u32 = 10;

/// A consumer on this node.
pub struct Consumer {
    database: Database,
    metrics: Metrics,
    settings: LogSettings,
    name: &'static str,
    kinds: Vec<&'static str>,
    /// Random id of this node as the holder of the lease.
    holder: Uuid,
}

/// Events that a consumer handles in one transaction.
pub struct Batch {
    pub events: Vec<Event>,
    /// Whether events before this batch were dropped before they could be handled, because no node ran the consumer for
    /// longer than events are kept.
    pub has_missed_events: bool,
}

/// The result of one poll of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// All events are handled.
    Idle,
    /// A batch was handled, and more work might be left.
    More,
    /// Another node holds the lease.
    Elsewhere,
}

/// The state of a consumer, as one statement reads it.
#[derive(QueryableByName)]
struct Status {
    #[diesel(sql_type = BigInt)]
    position: Seq,
    #[diesel(sql_type = BigInt)]
    head: Seq,
    /// Age in seconds of the oldest event that is not handled yet.
    #[diesel(sql_type = Double)]
    lag: f64,
    #[diesel(sql_type = Bool)]
    is_elsewhere: bool,
}

impl Consumer {
    /// Returns a consumer of the changes in these categories. A new consumer begins at the head of the log.
    pub async fn open(
        database: &Database,
        metrics: &Metrics,
        random: &Random,
        settings: &LogSettings,
        name: &'static str,
        categories: &[Category],
    ) -> Result<Self> {
        diesel::sql_query(
            "INSERT INTO consumers (name, position) SELECT $1, seq FROM log_head WHERE lane = 0
             ON CONFLICT (name) DO NOTHING",
        )
        .bind::<Text, _>(name)
        .execute(&mut *database.connection().await?)
        .await?;
        Ok(Self {
            database: database.clone(),
            metrics: metrics.clone(),
            settings: settings.clone(),
            name,
            kinds: Change::kinds_of(categories),
            holder: Uuid::from_bytes(random.bytes()),
        })
    }

    /// Handles events until the task is cancelled. `head` is the position of this node's tail, which wakes the
    /// consumer. `work` handles a batch in its transaction, and returns whether it has more work to do. It also gets
    /// batches without events.
    pub async fn run(self, head: watch::Receiver<Seq>, work: impl AsyncFnMut(&mut Connection, Batch) -> Result<bool>) {
        self.run_then(head, work, || {}).await;
    }

    /// Same as `run`, and calls `committed` after each poll that has not failed. A batch is then committed.
    pub async fn run_then(
        self,
        mut head: watch::Receiver<Seq>,
        mut work: impl AsyncFnMut(&mut Connection, Batch) -> Result<bool>,
        mut committed: impl FnMut(),
    ) {
        let mut idle_polls: u32 = 0;
        loop {
            sleep(self.settings.consumer_interval).await;
            head.mark_unchanged();
            match self.poll_until_idle(idle_polls.is_multiple_of(IDLE_POLLS), &mut work, &mut committed).await {
                Ok(Polled::Idle | Polled::More) => {
                    idle_polls = idle_polls.wrapping_add(1);
                    // A poll also finds events that the tail has not reported.
                    let _ = timeout(self.settings.tail_poll_interval, head.changed()).await;
                }
                Ok(Polled::Elsewhere) => {
                    idle_polls = 0;
                    sleep(self.settings.tail_poll_interval).await;
                }
                Err(error) => {
                    idle_polls = 0;
                    warn!(%error, consumer = self.name, after = ?RETRY_DELAY, "a consumer failed; trying again");
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    async fn poll_until_idle(
        &self,
        mut is_due: bool,
        work: &mut impl AsyncFnMut(&mut Connection, Batch) -> Result<bool>,
        committed: &mut impl FnMut(),
    ) -> Result<Polled> {
        loop {
            let polled = self.poll(is_due, work).await?;
            committed();
            match polled {
                Polled::More => is_due = true,
                other => return Ok(other),
            }
        }
    }

    /// Handles the next batch of events. Without new events, calls `work` only if `is_due`.
    pub async fn poll(
        &self,
        is_due: bool,
        work: &mut impl AsyncFnMut(&mut Connection, Batch) -> Result<bool>,
    ) -> Result<Polled> {
        let mut connection = self.database.connection().await?;
        let status = self.status(&mut connection).await?;
        self.metrics.set_consumer(self.name, status.position, status.lag);
        if status.is_elsewhere {
            return Ok(Polled::Elsewhere);
        }
        if status.position >= status.head && !is_due {
            return Ok(Polled::Idle);
        }
        AnsiTransactionManager::begin_transaction(&mut *connection).await?;
        let handled = self.handle_batch(&mut connection, work).await;
        match &handled {
            Ok(_) => AnsiTransactionManager::commit_transaction(&mut *connection).await?,
            Err(_) => roll_back(&mut connection).await,
        }
        handled
    }

    async fn handle_batch(
        &self,
        conn: &mut Connection,
        work: &mut impl AsyncFnMut(&mut Connection, Batch) -> Result<bool>,
    ) -> Result<Polled> {
        let Some(position) = self.lock(conn).await? else { return Ok(Polled::Elsewhere) };
        let head = read::head(conn).await?.seq;
        let events = read::between_of_kinds(conn, &self.kinds, position, head, BATCH_SIZE).await?;
        let has_missed_events = !read::is_whole_after(conn, position).await?;
        let is_full = i64::try_from(events.len()).is_ok_and(|count| count == BATCH_SIZE);
        let next = events.last().filter(|_| is_full).map_or(head, |event| event.seq);
        let has_more = work(conn, Batch { events, has_missed_events }).await?;
        self.advance(conn, next).await?;
        Ok(if is_full || has_more { Polled::More } else { Polled::Idle })
    }

    async fn status(&self, conn: &mut Connection) -> Result<Status> {
        let query = diesel::sql_query(
            "SELECT position, log_head.seq AS head,
                 coalesce(leased_until > clock_timestamp() AND holder <> $2, false) AS is_elsewhere,
                 coalesce((
                     SELECT extract(epoch FROM clock_timestamp() - created_at) FROM events
                     WHERE events.lane = 0 AND events.seq > position ORDER BY events.seq LIMIT 1
                 ), 0)::double precision AS lag
             FROM consumers JOIN log_head ON lane = 0 WHERE name = $1",
        );
        Ok(query.bind::<Text, _>(self.name).bind::<SqlUuid, _>(self.holder).get_result(conn).await?)
    }

    /// Locks the consumer until the transaction ends, and returns its position. Returns None if another node holds the
    /// lease or works at this moment.
    async fn lock(&self, conn: &mut Connection) -> Result<Option<Seq>> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            position: Seq,
        }
        let row: Option<Row> = diesel::sql_query(
            "SELECT position FROM consumers
             WHERE name = $1 AND (holder = $2 OR leased_until IS NULL OR leased_until <= clock_timestamp())
             FOR UPDATE SKIP LOCKED",
        )
        .bind::<Text, _>(self.name)
        .bind::<SqlUuid, _>(self.holder)
        .get_result(conn)
        .await
        .optional()?;
        Ok(row.map(|row| row.position))
    }

    /// Stores the new position, and extends the lease of this node.
    async fn advance(&self, conn: &mut Connection, position: Seq) -> Result<()> {
        diesel::sql_query(
            "UPDATE consumers SET position = $2, holder = $3, leased_until = clock_timestamp() + $4 * interval '1 second'
             WHERE name = $1",
        )
        .bind::<Text, _>(self.name)
        .bind::<BigInt, _>(position)
        .bind::<SqlUuid, _>(self.holder)
        .bind::<Double, _>(LEASE.as_secs_f64())
        .execute(conn)
        .await?;
        Ok(())
    }
}
