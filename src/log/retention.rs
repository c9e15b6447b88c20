//! The partitions of the log, one for each day. A partition is created before its day and dropped when all its events
//! are old enough.

use chrono::{Days, NaiveDate};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Date, Integer, Text};
use diesel_async::{AsyncConnection as _, RunQueryDsl, SimpleAsyncConnection as _};
use tracing::info;

use crate::error::{Error, Result};
use crate::store::{Connection, locks};

/// Number of days after today for which partitions are created in advance. If housekeeping fails for longer than this,
/// events cannot be appended.
const DAYS_AHEAD: i32 = 3;

/// SQL query of the existing partitions. Postgres shows their bounds only as text.
const PARTITIONS: &str = "
    SELECT child.oid::regclass::text AS name,
           (regexp_match(bounds, 'FROM \\(''(.+?)''\\)'))[1]::timestamptz AS since,
           (regexp_match(bounds, 'TO \\(''(.+?)''\\)'))[1]::timestamptz AS until
    FROM pg_inherits
    JOIN pg_class AS child ON child.oid = inhrelid
    CROSS JOIN pg_get_expr(child.relpartbound, child.oid) AS bounds
    WHERE inhparent = 'events'::regclass";

/// Creates the partitions of today and of the next `DAYS_AHEAD` days, if they are missing.
pub(super) async fn create_partitions(conn: &mut Connection) -> Result<()> {
    if missing_days(conn).await?.is_empty() {
        return Ok(());
    }
    conn.transaction(async |conn| {
        locks::wait(conn, locks::HOUSEKEEPING).await?;
        // Another node might have created the partitions in the meantime.
        for day in missing_days(conn).await? {
            create_partition(conn, day).await?;
        }
        Ok(())
    })
    .await
}

/// Drops the partitions that ended at least `days` days ago, oldest first. Stops if another node holds the housekeeping
/// lock.
pub(super) async fn drop_partitions(conn: &mut Connection, days: i32) -> Result<()> {
    while conn.transaction(async |conn| drop_oldest(conn, days).await).await? {}
    Ok(())
}

async fn missing_days(conn: &mut Connection) -> Result<Vec<NaiveDate>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Date)]
        day: NaiveDate,
    }
    let rows: Vec<Row> = sql_query(format!(
        "WITH partitions AS ({PARTITIONS}),
              days AS (SELECT (now() AT TIME ZONE 'UTC')::date + ahead AS day FROM generate_series(0, $1) AS ahead)
         SELECT day FROM days
         WHERE NOT EXISTS (
             SELECT FROM partitions
             WHERE since <= day AT TIME ZONE 'UTC' AND until > day AT TIME ZONE 'UTC'
         )
         ORDER BY day"
    ))
    .bind::<Integer, _>(DAYS_AHEAD)
    .load(conn)
    .await?;
    Ok(rows.into_iter().map(|row| row.day).collect())
}

/// Creates a table and then attaches it as a partition. Unlike `CREATE TABLE … PARTITION OF`, this blocks neither
/// appends nor reads.
async fn create_partition(conn: &mut Connection, day: NaiveDate) -> Result<()> {
    let next = day.checked_add_days(Days::new(1)).ok_or_else(|| Error::Corrupt(format!("the date is {day}")))?;
    let name = format!("events_{}", day.format("%Y%m%d"));
    conn.batch_execute(&format!(
        "CREATE TABLE {name} (LIKE events INCLUDING ALL);
         ALTER TABLE events ATTACH PARTITION {name} FOR VALUES FROM ('{day} 00:00:00+00') TO ('{next} 00:00:00+00')"
    ))
    .await?;
    info!(name, "created a partition of the log");
    Ok(())
}

/// Drops the oldest partition that ended at least `days` days ago. Returns whether a partition was dropped, so that
/// there might be another partition to drop.
async fn drop_oldest(conn: &mut Connection, days: i32) -> Result<bool> {
    if !locks::try_lock(conn, locks::HOUSEKEEPING).await? {
        return Ok(false);
    }
    let Some(name) = oldest_ended(conn, days).await? else { return Ok(false) };
    // Locks the table before the head, in the same order as an append, so that this transaction and an append cannot
    // deadlock.
    conn.batch_execute(&format!(
        "LOCK TABLE ONLY events IN ACCESS EXCLUSIVE MODE;
         UPDATE log_head
         SET forgotten = greatest(forgotten, (SELECT max(seq) FROM {name} AS old WHERE old.lane = log_head.lane));
         DROP TABLE {name}"
    ))
    .await?;
    info!(name, "dropped a partition of the log");
    Ok(true)
}

async fn oldest_ended(conn: &mut Connection, days: i32) -> Result<Option<String>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let row: Option<Row> = sql_query(format!(
        "WITH partitions AS ({PARTITIONS})
         SELECT name FROM partitions WHERE until <= now() - $1 * interval '24 hours' ORDER BY until LIMIT 1"
    ))
    .bind::<Integer, _>(days)
    .get_result(conn)
    .await
    .optional()?;
    Ok(row.map(|row| row.name))
}
