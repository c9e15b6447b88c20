//! Housekeeping: creates the partitions of the log for the next days, drops old events, and deletes expired tokens,
//! sessions, codes and challenges, push subscriptions of ended sessions, abandoned guests, and the call participants of
//! deleted accounts. All nodes do this periodically, but only one node at a time.

use std::time::Duration;

use diesel_async::AsyncConnection as _;
use tracing::{info, warn};

use crate::config::Housekeeping as Settings;
use crate::error::Result;
use crate::log::{Change, Log, Transaction};
use crate::metrics::Metrics;
use crate::store::calls::call_participants;
use crate::store::people::{guests, login_challenges, passkey_challenges, sessions, sign_in_codes, verification_codes};
use crate::store::push::subscriptions;
use crate::store::{Connection, Database, locks};

/// Time after which failed work is retried, unless HOUSEKEEPING_INTERVAL is shorter.
const RETRY_AFTER: Duration = Duration::from_mins(1);
/// Maximum number of rows of a table that one transaction deletes.
const SWEEP_BATCH: usize = 1000;

pub(super) struct Housekeeper {
    pub(super) database: Database,
    pub(super) log: Log,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
}

impl Housekeeper {
    pub(super) async fn run(self) {
        let interval = self.settings.housekeeping_interval;
        loop {
            // If one chore fails, the other chores still run.
            let chores = [
                ("creating partitions of the log", self.log.create_partitions().await),
                ("dropping old events", self.log.drop_partitions(self.settings.event_retention).await),
                ("deleting expired sessions", self.sweep().await),
                ("deleting abandoned guests", self.delete_guests().await),
            ];
            self.metrics.housekeeping_run(chores.iter().all(|(_, done)| done.is_ok()));
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

    async fn delete_guests(&self) -> Result<()> {
        while self.log.transaction(async |tx| delete_guests_batch(tx, self.settings.guest_retention).await).await? {}
        Ok(())
    }
}

/// Deletes one batch of rows, unless another node is deleting rows now. Returns whether more rows may be left to
/// delete.
async fn sweep_batch(conn: &mut Connection, settings: &Settings) -> Result<bool> {
    if !locks::try_lock(conn, locks::HOUSEKEEPING).await? {
        return Ok(false);
    }
    let tokens = sessions::delete_expired_tokens(conn, SWEEP_BATCH).await?;
    let sessions = sessions::delete_expired(conn, settings.session_retention, SWEEP_BATCH).await?;
    let codes = verification_codes::delete_expired(conn, SWEEP_BATCH).await?;
    let challenges = login_challenges::delete_expired(conn, SWEEP_BATCH).await?;
    let passkeys = passkey_challenges::delete_expired(conn, SWEEP_BATCH).await?;
    let sign_ins = sign_in_codes::delete_expired(conn, SWEEP_BATCH).await?;
    let calls = call_participants::delete_orphans(conn, settings.event_retention, SWEEP_BATCH).await?;
    let pushes = subscriptions::delete_ended(conn, SWEEP_BATCH).await?;
    let deleted = [tokens, sessions, codes, challenges, passkeys, sign_ins, calls, pushes];
    if deleted.iter().sum::<usize>() > 0 {
        info!(tokens, sessions, codes, challenges, passkeys, sign_ins, calls, pushes, "deleted expired rows");
    }
    Ok(deleted.contains(&SWEEP_BATCH))
}

/// Deletes one batch of abandoned guests whose accounts are at least `days` days old, unless another node is deleting
/// rows now. Returns whether more guests may be left to delete. The log records each deletion, because nodes cache
/// users.
async fn delete_guests_batch(tx: &mut Transaction<'_>, days: i32) -> Result<bool> {
    if !locks::try_lock(tx.conn(), locks::HOUSEKEEPING).await? {
        return Ok(false);
    }
    let deleted = guests::delete_abandoned(tx.conn(), days, SWEEP_BATCH).await?;
    for &user in &deleted {
        tx.record(Change::UserUpdated { user });
    }
    if !deleted.is_empty() {
        info!(guests = deleted.len(), "deleted abandoned guests");
    }
    Ok(deleted.len() == SWEEP_BATCH)
}
