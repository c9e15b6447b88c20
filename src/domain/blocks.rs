//! Blocks between users. A block is one-sided and silent: the blocked user notices no change.
//! docs/decisions/0010-blocking.md explains why.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::calls::calls;
use super::conversations::conversations::show;
use super::conversations::core::ConversationsCore;
use super::error::{Error, Result};
use super::people::contacts::lock_pair;
use super::viewer::Viewer;
use crate::ids::UserId;
use crate::limiter::Rate;
use crate::log::{Change, Transaction};
use crate::store::conversations::conversations::{self, Conversation};
use crate::store::people::users::User;
use crate::store::people::{blocks, contacts};

pub struct Blocks<'a> {
    pub(super) conversations: &'a Arc<ConversationsCore>,
}

impl Blocks<'_> {
    /// Blocks a user. After this function returns, no message of the blocked user reaches the viewer in their direct
    /// conversation.
    pub async fn add(&self, viewer: Viewer, other: UserId) -> Result<User> {
        if other == viewer.user {
            return Err(Error::invalid("userId", "You cannot block yourself."));
        }
        self.conversations.base.check_rate(Rate::Changes, viewer, 1)?;
        let blocker = viewer.user;
        let log = &self.conversations.base.log;
        log.transaction(async |tx| {
            let user = lock_pair(tx, blocker, other).await?;
            // A concurrent message in the direct conversation is either stored before this lock or sees the block.
            if let Some(direct) = lock_direct(tx, blocker, other).await? {
                calls::end_for_block(&self.conversations.calls, tx, &direct, blocker).await?;
            }
            if blocks::insert(tx.conn(), blocker, other, self.conversations.base.now()).await? {
                contacts::delete(tx.conn(), blocker, other).await?;
                contacts::hide_requests(tx.conn(), blocker, other).await?;
                tx.record(Change::ContactsChanged { user: blocker, other });
            }
            Ok(user)
        })
        .await
    }

    /// Ends a block. Messages that the other user sent during the block stay hidden from the viewer.
    pub async fn remove(&self, viewer: Viewer, other: UserId) -> Result<User> {
        self.conversations.base.check_rate(Rate::Changes, viewer, 1)?;
        let blocker = viewer.user;
        let log = &self.conversations.base.log;
        log.transaction(async |tx| {
            let user = lock_pair(tx, blocker, other).await?;
            let direct = lock_direct(tx, blocker, other).await?;
            if blocks::delete(tx.conn(), blocker, other).await? {
                if let Some(direct) = direct {
                    show(tx, blocker, direct.id).await?;
                }
                tx.record(Change::ContactsChanged { user: blocker, other });
            }
            Ok(user)
        })
        .await
    }

    /// Lists the users whom the viewer blocks, with the time of each block, newest first.
    pub async fn list(
        &self,
        viewer: Viewer,
        after: Option<(DateTime<Utc>, UserId)>,
        limit: i64,
    ) -> Result<Vec<(DateTime<Utc>, User)>> {
        Ok(blocks::list(&mut *self.conversations.base.connection().await?, viewer.user, after, limit).await?)
    }
}

async fn lock_direct(tx: &mut Transaction<'_>, one: UserId, other: UserId) -> Result<Option<Conversation>> {
    let direct = conversations::direct_of(tx.conn(), one.min(other), one.max(other)).await?;
    match direct {
        Some(conversation) => Ok(conversations::lock(tx.conn(), conversation.id).await?),
        None => Ok(None),
    }
}
