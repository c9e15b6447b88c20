//! Privacy: what other users may see of a user and do with them, by the user's settings. A block overrides them.

use std::collections::HashSet;

use super::error::{Error, Result};
use super::{App, Viewer};
use crate::apart::patiently;
use crate::ids::UserId;
use crate::limiter::Rate;
use crate::log::Change;
use crate::store::privacy::{self, PrivacyChanges, Setting};
use crate::store::users::User;
use crate::store::{Connection, blocks};

/// Error for both a privacy setting and a block, so that it does not reveal a block.
const MAY_NOT_BE_ADDED: Error = Error::Forbidden("You may not add some of these users to a group.");

pub struct Privacy<'a> {
    pub(super) app: &'a App,
}

impl Privacy<'_> {
    pub async fn update(&self, viewer: Viewer, changes: PrivacyChanges) -> Result<User> {
        if changes == PrivacyChanges::default() {
            return self.app.users().get(viewer.user).await?.ok_or(Error::NotFound("No such user."));
        }
        self.app.take(Rate::Changes, viewer, 1)?;
        let mut tx = self.app.log().begin().await?;
        let updated = privacy::update(tx.conn(), viewer.user, &changes).await.map_err(Error::from);
        let user = viewer.user;
        tx.record(Change::UserUpdated { user });
        match changes.read_receipts {
            Some(true) => tx.record(Change::ReadReceiptsOn { user }),
            // From now on the viewer's streams filter out the `ReadAdvanced` events of other users.
            Some(false) => tx.record(Change::ReadReceiptsOff { user }),
            None => {}
        }
        tx.finish(updated).await
    }

    /// Returns the pairs (viewer, user) in which the viewer may see whether the user is online and when they were last
    /// seen.
    pub async fn may_see_last_seen(&self, pairs: &[(UserId, UserId)]) -> Result<HashSet<(UserId, UserId)>> {
        let connection = self.app.connection().await?;
        Ok(privacy::letting(&connection, Setting::LastSeen, pairs).await?.into_iter().collect())
    }

    /// The others whom the user blocks or who block the user. Neither sees the other's presence or typing. This does
    /// not apply to calls: direct calls check the block themselves, and calls in groups ignore it.
    pub async fn kept_apart(&self, user: UserId, others: &[UserId]) -> Result<HashSet<UserId>> {
        Ok(blocks::apart(&mut *self.app.connection().await?, user, others).await?.into_iter().collect())
    }

    /// Same as `kept_apart`, for streams: retries in a task of its own until Postgres answers.
    pub(super) async fn patiently_kept_apart(&self, user: UserId, others: &[UserId]) -> HashSet<UserId> {
        patiently!("reading the blocks of users failed", {
            let (app, others) = (self.app.clone(), others.to_vec());
            async move { app.privacy().kept_apart(user, &others).await }
        })
    }
}

/// The users whom the actor may add to a group.
pub(super) async fn may_be_added(conn: &mut Connection, actor: UserId, users: &[UserId]) -> Result<HashSet<UserId>> {
    let pairs: Vec<_> = users.iter().map(|&user| (actor, user)).collect();
    let allowed = privacy::letting(conn, Setting::GroupAdds, &pairs).await?;
    Ok(allowed.into_iter().map(|(_, user)| user).collect())
}

/// Returns FORBIDDEN if the actor may not add one of the users.
pub(super) async fn check_may_be_added(conn: &mut Connection, actor: UserId, users: &[UserId]) -> Result<()> {
    let allowed = may_be_added(conn, actor, users).await?;
    if users.iter().all(|user| allowed.contains(user)) { Ok(()) } else { Err(MAY_NOT_BE_ADDED) }
}
