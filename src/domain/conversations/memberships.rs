//! The state of a conversation for one participant, which other users do not see: archived, pinned, muted, and which
//! messages notify.

use std::sync::Arc;

use super::core::ConversationsCore;
use crate::domain::error::{NO_CONVERSATION, Result};
use crate::domain::validate::Check;
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, UserId};
use crate::limiter::Rate;
use crate::log::Change;
use crate::store::conversations::conversations::{self, Conversation};
use crate::store::conversations::participants::{self, Membership, MembershipChanges};

pub struct Memberships<'a> {
    pub(in crate::domain) core: &'a Arc<ConversationsCore>,
}

impl Memberships<'_> {
    /// Changes the viewer's own state in a conversation. New messages do not change this state. If the state already
    /// has all requested values, no event is recorded.
    pub async fn update(&self, viewer: Viewer, id: ConversationId, changes: MembershipChanges) -> Result<Conversation> {
        let mut check = Check::default();
        if let Some(Some(at)) = changes.muted_until {
            check.time("mutedUntil", at);
        }
        check.done()?;
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let conversation =
                conversations::visible_to(tx.conn(), viewer.user, &[id]).await?.pop().ok_or(NO_CONVERSATION)?;
            if participants::update_membership(tx.conn(), id, viewer.user, &changes).await? {
                tx.record(Change::MembershipUpdated { user: viewer.user, conversation: id });
            }
            Ok(conversation)
        })
        .await
    }

    /// Reads the memberships for pairs of a user and a conversation.
    pub async fn of_users(&self, pairs: &[(UserId, ConversationId)]) -> Result<Vec<Membership>> {
        Ok(participants::memberships(&*self.core.base.connection().await?, pairs).await?)
    }
}
