//! Privacy settings of a user: what other users may see of the user, and who may add the user to groups. A block
//! overrides the settings.

use std::collections::HashSet;
use std::sync::Arc;

use super::core::PeopleCore;
use super::users::Users;
use crate::domain::error::{Error, Result};
use crate::domain::viewer::Viewer;
use crate::ids::UserId;
use crate::limiter::Rate;
use crate::log::Change;
use crate::store::Connection;
use crate::store::people::blocks;
use crate::store::people::privacy::{self, PrivacyChanges, Setting};
use crate::store::people::users::User;
use crate::task::retry;

/// Error for users who may not be added. A privacy setting and a block give the same error, so that the error does not
/// reveal a block.
const MAY_NOT_BE_ADDED: Error = Error::Forbidden("You may not add some of these users to a group.");

pub struct Privacy<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

impl Privacy<'_> {
    pub async fn update(&self, viewer: Viewer, changes: PrivacyChanges) -> Result<User> {
        if changes == PrivacyChanges::default() {
            return Users { core: self.core }.get(viewer.user).await?.ok_or(Error::NotFound("No such user."));
        }
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let user = viewer.user;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let updated = privacy::update(tx.conn(), user, &changes).await?;
            tx.record(Change::UserUpdated { user });
            match changes.read_receipts {
                Some(true) => tx.record(Change::ReadReceiptsOn { user }),
                // From now on the viewer's streams filter out the `ReadAdvanced` events of other users.
                Some(false) => tx.record(Change::ReadReceiptsOff { user }),
                None => {}
            }
            Ok(updated)
        })
        .await
    }

    /// Returns the pairs (viewer, user) in which the viewer may see whether the user is online and when the user was
    /// last seen.
    pub async fn may_see_last_seen(&self, pairs: &[(UserId, UserId)]) -> Result<HashSet<(UserId, UserId)>> {
        let connection = self.core.base.connection().await?;
        Ok(privacy::permitted_pairs(&connection, Setting::LastSeen, pairs).await?.into_iter().collect())
    }

    /// Returns those of `others` whom the user blocks or who block the user. Two such users do not see each other's
    /// presence or typing. Calls do not use this method: direct calls check the block themselves, and calls in groups
    /// ignore blocks.
    pub async fn blocked_either_way(&self, user: UserId, others: &[UserId]) -> Result<HashSet<UserId>> {
        Ok(blocks::blocked_either_way(&mut *self.core.base.connection().await?, user, others)
            .await?
            .into_iter()
            .collect())
    }

    /// Same as `blocked_either_way`, but for streams: runs in a separate task, and retries until Postgres answers.
    pub(in crate::domain) async fn blocked_either_way_with_retry(
        &self,
        user: UserId,
        others: &[UserId],
    ) -> HashSet<UserId> {
        retry("reading the blocks of users failed", || {
            let (core, others) = (self.core.clone(), others.to_vec());
            async move { Privacy { core: &core }.blocked_either_way(user, &others).await }
        })
        .await
    }
}

/// Returns those of `users` whom the actor may add to a group.
pub(in crate::domain) async fn may_be_added(
    conn: &mut Connection,
    actor: UserId,
    users: &[UserId],
) -> Result<HashSet<UserId>> {
    let pairs: Vec<_> = users.iter().map(|&user| (actor, user)).collect();
    let allowed = privacy::permitted_pairs(conn, Setting::GroupAdds, &pairs).await?;
    Ok(allowed.into_iter().map(|(_, user)| user).collect())
}

/// Returns FORBIDDEN if there is a user whom the actor may not add to a group.
pub(in crate::domain) async fn check_may_be_added(
    conn: &mut Connection,
    actor: UserId,
    users: &[UserId],
) -> Result<()> {
    let allowed = may_be_added(conn, actor, users).await?;
    if users.iter().all(|user| allowed.contains(user)) { Ok(()) } else { Err(MAY_NOT_BE_ADDED) }
}
