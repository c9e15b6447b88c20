//! Privacy: who may see and do what with a user, as the user has set it. A block is stronger than any setting.

use std::collections::HashSet;
use std::sync::Arc;

use super::core::PeopleCore;
use crate::apart::patiently;
use crate::domain::error::{Error, Result};
use crate::domain::viewer::Viewer;
use crate::ids::UserId;
use crate::limiter::Rate;
use crate::log::Change;
use crate::store::Connection;
use crate::store::people::blocks;
use crate::store::people::privacy::{self, PrivacyChanges, Setting};
use crate::store::people::users::User;

/// The same words for a setting and for a block.
const MAY_NOT_BE_ADDED: Error = Error::Forbidden("Not all of them can be added to a group by you.");

pub struct Privacy<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

impl Privacy<'_> {
    pub async fn update(&self, viewer: Viewer, changes: PrivacyChanges) -> Result<User> {
        if changes == PrivacyChanges::default() {
            return Users { core: self.core }.get(viewer.user).await?.ok_or(Error::NotFound("No such user."));
        }
        self.core.base.take(Rate::Changes, viewer, 1)?;
        let mut tx = self.core.base.log.begin().await?;
        let updated = privacy::update(tx.conn(), viewer.user, &changes).await.map_err(Error::from);
        let user = viewer.user;
        tx.record(Change::UserUpdated { user });
        match changes.read_receipts {
            Some(true) => tx.record(Change::ReadReceiptsOn { user }),
            // The viewer's streams filter `ReadAdvanced` events of other users from here on.
            Some(false) => tx.record(Change::ReadReceiptsOff { user }),
            None => {}
        }
        tx.finish(updated).await
    }

    /// Returns the pairs of a viewer and a user whose viewer may see whether the user is online, and when they last were.
    pub async fn may_see_last_seen(&self, pairs: &[(UserId, UserId)]) -> Result<HashSet<(UserId, UserId)>> {
        let connection = self.core.base.connection().await?;
        Ok(privacy::letting(&connection, Setting::LastSeen, pairs).await?.into_iter().collect())
    }

    /// Those of the others whom the user blocks, or who block the user: between them there is neither presence nor
    /// typing. Direct calls go by the block itself, and in groups they hear each other.
    pub async fn kept_apart(&self, user: UserId, others: &[UserId]) -> Result<HashSet<UserId>> {
        Ok(blocks::apart(&mut *self.core.base.connection().await?, user, others).await?.into_iter().collect())
    }

    /// The same for a stream, which need not poll it all the time: where Postgres is away it waits.
    pub(in crate::domain) async fn patiently_kept_apart(&self, user: UserId, others: &[UserId]) -> HashSet<UserId> {
        patiently!("who may see whom cannot be looked up", {
            let (core, others) = (self.core.clone(), others.to_vec());
            async move { Privacy { core: &core }.kept_apart(user, &others).await }
        })
    }
}

/// Those of the users whom the actor may add to a group.
pub(in crate::domain) async fn may_be_added(
    conn: &mut Connection,
    actor: UserId,
    users: &[UserId],
) -> Result<HashSet<UserId>> {
    let pairs: Vec<_> = users.iter().map(|&user| (actor, user)).collect();
    let allowed = privacy::letting(conn, Setting::GroupAdds, &pairs).await?;
    Ok(allowed.into_iter().map(|(_, user)| user).collect())
}

/// FORBIDDEN where the actor may not add one of them.
pub(in crate::domain) async fn check_may_be_added(
    conn: &mut Connection,
    actor: UserId,
    users: &[UserId],
) -> Result<()> {
    let allowed = may_be_added(conn, actor, users).await?;
    if users.iter().all(|user| allowed.contains(user)) { Ok(()) } else { Err(MAY_NOT_BE_ADDED) }
}
