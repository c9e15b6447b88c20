//! Bans: a banned user cannot join the group with any invite.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::core::ConversationsCore;
use super::groups::{Group, filter_permitted};
use crate::domain::error::{Error, Result};
use crate::domain::permissions::Action;
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, UserId};
use crate::limiter::Rate;
use crate::store::conversations::conversations::Conversation;
use crate::store::conversations::removed_participants::{self, Banned};

pub struct Bans<'a> {
    pub(in crate::domain) core: &'a Arc<ConversationsCore>,
}

impl Bans<'_> {
    /// Lifts a ban. The user can then join with an invite that was created after the user was removed.
    pub async fn lift(&self, viewer: Viewer, conversation: ConversationId, user: UserId) -> Result<Conversation> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let group = Group::lock(tx, viewer, conversation).await?;
            group.check(Action::Ban)?;
            if !removed_participants::unban(tx.conn(), conversation, user).await? {
                return Err(Error::NotFound("This user is not banned."));
            }
            group.updated(tx);
            Ok(group.conversation)
        })
        .await
    }

    /// Reads a page of the banned users of each conversation, newest ban first. The result leaves out conversations
    /// whose bans the user has no permission to see.
    pub async fn pages(
        &self,
        user: UserId,
        conversations: &[ConversationId],
        after: Option<(DateTime<Utc>, UserId)>,
        limit: i64,
    ) -> Result<HashMap<ConversationId, Vec<Banned>>> {
        let mut connection = self.core.base.connection().await?;
        let allowed = filter_permitted(&mut connection, user, conversations, Action::Ban).await?;
        let mut pages: HashMap<_, Vec<_>> = allowed.iter().map(|&id| (id, Vec::new())).collect();
        for row in removed_participants::banned_pages(&mut connection, &allowed, after, limit).await? {
            pages.entry(row.conversation_id).or_default().push(row);
        }
        Ok(pages)
    }
}
