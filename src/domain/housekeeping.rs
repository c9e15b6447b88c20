//! What each node does by the hour, one of them at a time: partitions for the days to come, an end to old events,
//! and to what is left of sessions that have expired and of accounts that were deleted.

use std::time::Duration;

use diesel_async::AsyncConnection as _;
use tracing::{info, warn};

use crate::config::Housekeeping as Settings;
use crate::error::Result;
use crate::log::Log;
use crate::store::calls::call_participants;
use crate::store::people::sessions;
use crate::store::{Connection, Database, locks};

/// Until the next try after a failure, unless the interval is shorter.
const RETRY_AFTER: Duration = Duration::from_mins(1);
/// Rows of a table that one transaction deletes at most.
const SWEEP_BATCH: usize = 1000;

pub(super) struct Housekeeper {
    pub(super) database: Database,
    pub(super) log: Log,
    pub(super) settings: Settings,
}

impl Housekeeper {
    pub(super) async fn run(self) {
        let interval = self.settings.housekeeping_interval;
        loop {
            // Each for itself: one that fails keeps no other from being done.
            let chores = [
                ("making partitions of the log", self.log.prepare().await),
                ("dropping old events", self.log.forget(self.settings.event_retention).await),
                ("sweeping expired sessions", self.sweep().await),
            ];
            let mut wait = interval;
            for (chore, done) in chores {
                if let Err(error) = done {
                    wait = interval.min(RETRY_AFTER);
                    warn!(%error, after = ?wait, "{chore} failed; trying again");
                }
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn sweep(&self) -> Result<()> {
        let mut connection = self.database.connection().await?;
        while connection.transaction(async |conn| sweep_batch(conn, &self.settings).await).await? {}
        Ok(())
    }
}

/// Whether there may be more to delete.
async fn sweep_batch(conn: &mut Connection, settings: &Settings) -> Result<bool> {
    if !locks::take(conn, locks::HOUSEKEEPING).await? {
        return Ok(false);
    }
    let tokens = sessions::delete_expired_tokens(conn, SWEEP_BATCH).await?;
    let sessions = sessions::delete_expired(conn, settings.session_retention, SWEEP_BATCH).await?;
    let calls = call_participants::delete_orphans(conn, settings.event_retention, SWEEP_BATCH).await?;
    if tokens + sessions + calls > 0 {
        info!(tokens, sessions, calls, "deleted what had expired");
    }
    Ok([tokens, sessions, calls].contains(&SWEEP_BATCH))
}
