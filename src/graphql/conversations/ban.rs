//! Bans: users who cannot join a group by an invite.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::conversation::Conversation;
use crate::domain::permissions::{self, Action};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::loaders::{Rows, grouped};
use crate::graphql::page::{Connection, Forward};
use crate::graphql::people::user::User;
use crate::graphql::scalars::parse_id;
use crate::ids::{ConversationId, UserId};
use crate::store::conversations::removed_participants::Banned;

/// Key of a page of a conversation's bans; not in the result if the user may not see the bans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BanPage {
    pub user: UserId,
    pub conversation: ConversationId,
    pub after: Option<(DateTime<Utc>, UserId)>,
    pub limit: i64,
}

impl Loader<BanPage> for Rows {
    type Value = Vec<Banned>;
    type Error = Error;

    async fn load(&self, keys: &[BanPage]) -> Result<HashMap<BanPage, Vec<Banned>>> {
        let mut loaded = HashMap::with_capacity(keys.len());
        let wanted = keys.iter().map(|key| ((key.user, key.after, key.limit), key.conversation));
        for ((user, after, limit), conversations) in grouped(wanted) {
            let pages = self.app.bans().pages(user, &conversations, after, limit).await?;
            let key = |conversation| BanPage { user, conversation, after, limit };
            loaded.extend(pages.into_iter().map(|(conversation, rows)| (key(conversation), rows)));
        }
        Ok(loaded)
    }
}

/// Returns a page of the users who are banned from a conversation. Empty if the conversation is not a group. Fails with
/// FORBIDDEN if the viewer may not see the bans.
pub(super) async fn banned(
    ctx: &Context<'_>,
    conversation: ConversationId,
    is_group: impl Future<Output = Result<bool>>,
    first: i32,
    after: Option<String>,
) -> Result<Connection<User>> {
    let page = Forward::<(DateTime<Utc>, UserId)>::new(first, after.as_deref())?;
    if !is_group.await? {
        return Ok(Connection::new(false, false));
    }
    let user = ctx.viewer()?.user;
    let key = BanPage { user, conversation, after: page.after, limit: page.limit() };
    let rows = ctx.loaders().load(key).await?.ok_or_else(|| permissions::forbidden(Action::Ban))?;
    Ok(page.connection(rows, |row| (row.removed_at, row.user.id), |row| User(row.user)))
}

/// Input of the `unbanUser` mutation.
#[derive(InputObject)]
pub struct UnbanUserInput {
    /// Id of the group.
    conversation_id: ID,
    /// Id of the banned user.
    user_id: ID,
}

/// Result of the `unbanUser` mutation.
#[derive(SimpleObject)]
pub struct UnbanUserPayload {
    /// The group.
    conversation: Conversation,
}

#[derive(Default)]
pub struct BanMutation;

#[Object]
impl BanMutation {
    /// Lifts a user's ban from a group. The user is not added to the group, but can join by an invite that was created
    /// after the removal. Errors: NOT_FOUND if the viewer is not a participant or the user is not banned. FORBIDDEN if
    /// the viewer is neither the owner nor an admin. BAD_USER_INPUT for a direct conversation.
    async fn unban_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group and the banned user.")] input: UnbanUserInput,
    ) -> Result<UnbanUserPayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let row = ctx.app().bans().lift(viewer, conversation, parse_id(&input.user_id, "userId")?).await?;
        Ok(UnbanUserPayload { conversation: row.into() })
    }
}
