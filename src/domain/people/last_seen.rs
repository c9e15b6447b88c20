//! Stores when users were last seen. One statement covers all users who have disconnected since the previous statement.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use crate::error::Result;
use crate::live::Departure;
use crate::store::Database;
use crate::store::people::users;
use crate::task::retry;

/// Maximum number of users in one statement.
const MAX_BATCH: usize = 1000;

pub(in crate::domain) async fn write_all(database: Database, mut departed: mpsc::UnboundedReceiver<Departure>) {
    let mut batch = Vec::new();
    while departed.recv_many(&mut batch, MAX_BATCH).await > 0 {
        let departures = std::mem::take(&mut batch);
        retry("storing when users were last seen failed", || {
            let (database, departures) = (database.clone(), departures.clone());
            async move { write(&database, departures).await }
        })
        .await;
    }
}

/// Stores when users were last seen. If a user occurs twice, the later time counts.
pub(in crate::domain) async fn write(database: &Database, mut departures: Vec<Departure>) -> Result<()> {
    departures.sort_unstable();
    let latest: Vec<_> = BTreeMap::from_iter(departures).into_iter().collect();
    for part in latest.chunks(MAX_BATCH) {
        let (ids, times): (Vec<_>, Vec<_>) = part.iter().copied().unzip();
        users::set_last_seen(&mut *database.connection().await?, &ids, &times).await?;
    }
    Ok(())
}
