//! Invites: codes by which users join a group.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::Utc;

use super::conversation::Conversation;
use crate::domain::conversations::invites::NewInvite;
use crate::domain::permissions::{self, Action};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::files::attachment::{Attachment, avatar};
use crate::graphql::loaders::{Rows, grouped};
use crate::graphql::page::{Connection, Forward};
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::{ConversationId, InviteId, UserId};
use crate::store::conversations::conversations::Conversation as ConversationRow;
use crate::store::conversations::invites::Invite as Row;

#[derive(Clone)]
pub struct Invite(pub Row);

/// A code by which users can join a group. It is visible to the owner and admins of the group.
#[Object]
impl Invite {
    /// Global id, with the prefix `inv_`.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// Secret code for `joinByInvite`: 24 random URL-safe characters.
    async fn code(&self) -> &str {
        &self.0.code
    }

    /// The group.
    async fn conversation(&self) -> Conversation {
        self.0.conversation_id.into()
    }

    /// The user who created the invite. Null if the account was deleted.
    async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.0.created_by?).await.map(|row| row.map(User)).transpose()
    }

    /// When the invite was created.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When the invite expires. Null if the invite never expires.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(Into::into)
    }

    /// Maximum number of uses. Null if the number is not limited.
    async fn max_uses(&self) -> Option<i32> {
        self.0.max_uses
    }

    /// Number of users who joined by the invite.
    async fn uses(&self) -> i32 {
        self.0.uses
    }
}

/// Key of a page of a conversation's invites; not in the result if the user may not see the invites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InvitePage {
    pub user: UserId,
    pub conversation: ConversationId,
    pub after: Option<(chrono::DateTime<Utc>, InviteId)>,
    pub limit: i64,
}

impl Loader<InvitePage> for Rows {
    type Value = Vec<Row>;
    type Error = Error;

    async fn load(&self, keys: &[InvitePage]) -> Result<HashMap<InvitePage, Vec<Row>>> {
        let mut loaded = HashMap::with_capacity(keys.len());
        let wanted = keys.iter().map(|key| ((key.user, key.after, key.limit), key.conversation));
        for ((user, after, limit), conversations) in grouped(wanted) {
            let pages = self.app.invites().pages(user, &conversations, after, limit).await?;
            let key = |conversation| InvitePage { user, conversation, after, limit };
            loaded.extend(pages.into_iter().map(|(conversation, rows)| (key(conversation), rows)));
        }
        Ok(loaded)
    }
}

/// Returns a page of a conversation's invites. Empty if the conversation is not a group. Fails with FORBIDDEN if the
/// viewer may not see the invites.
pub(super) async fn invites(
    ctx: &Context<'_>,
    conversation: ConversationId,
    is_group: impl Future<Output = Result<bool>>,
    first: i32,
    after: Option<String>,
) -> Result<Connection<Invite>> {
    let page = Forward::<(chrono::DateTime<Utc>, InviteId)>::new(first, after.as_deref())?;
    if !is_group.await? {
        return Ok(Connection::new(false, false));
    }
    let user = ctx.viewer()?.user;
    let key = InvitePage { user, conversation, after: page.after, limit: page.limit() };
    let rows = ctx.loaders().load(key).await?.ok_or_else(|| permissions::forbidden(Action::Invite))?;
    Ok(page.connection(rows, |row| (row.created_at, row.id), Invite))
}

pub struct InvitePreview(ConversationRow);

/// The details of a group that a user with an invite sees before joining.
#[Object]
impl InvitePreview {
    /// Title of the group. Every group has a title.
    async fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    /// Picture of the group. Null if the group has no picture.
    async fn avatar(&self, ctx: &Context<'_>) -> Option<Result<Attachment>> {
        avatar(ctx, self.0.avatar_id).await
    }

    /// Number of participants of the group.
    async fn participant_count(&self) -> i32 {
        self.0.participant_count
    }
}

/// Input of the `createInvite` mutation.
#[derive(InputObject)]
pub struct CreateInviteInput {
    /// Id of the group.
    conversation_id: ID,
    /// Time in the future at which the invite expires. If omitted, the invite never expires.
    expires_at: Option<DateTime>,
    /// Maximum number of uses, 1 or more. If omitted, the number is not limited.
    max_uses: Option<i32>,
}

/// Result of the `createInvite` mutation.
#[derive(SimpleObject)]
pub struct CreateInvitePayload {
    /// The new invite.
    invite: Invite,
}

/// Input of the `revokeInvite` mutation.
#[derive(InputObject)]
pub struct RevokeInviteInput {
    /// Id of the invite.
    invite_id: ID,
}

/// Result of the `revokeInvite` mutation.
#[derive(SimpleObject)]
pub struct RevokeInvitePayload {
    /// Id of the deleted invite.
    invite_id: ID,
}

/// Input of the `joinByInvite` mutation.
#[derive(InputObject)]
pub struct JoinByInviteInput {
    /// The code of the invite.
    code: String,
}

/// Result of the `joinByInvite` mutation.
#[derive(SimpleObject)]
pub struct JoinByInvitePayload {
    /// The group that the viewer is now a participant of.
    conversation: Conversation,
}

#[derive(Default)]
pub struct InviteQuery;

#[Object]
impl InviteQuery {
    /// Details of the group of an invite, to show before joining. Null on an error. Errors: NOT_FOUND if the code is
    /// unknown, revoked, expired or used up, if the viewer was removed from the group after the invite was created, or
    /// if the viewer is banned from the group.
    async fn invite(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The code of the invite.")] code: String,
    ) -> Option<Result<InvitePreview>> {
        Some(preview(ctx, &code).await)
    }
}

async fn preview(ctx: &Context<'_>, code: &str) -> Result<InvitePreview> {
    let viewer = ctx.viewer()?;
    Ok(InvitePreview(ctx.app().invites().preview(viewer, code).await?))
}

#[derive(Default)]
pub struct InviteMutation;

#[Object]
impl InviteMutation {
    /// Creates an invite to a group. Errors: NOT_FOUND if the viewer is not a participant. FORBIDDEN if the viewer is
    /// neither the owner nor an admin. BAD_USER_INPUT if a field breaks its rule, and for a direct conversation.
    async fn create_invite(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group and the limits of the invite.")] input: CreateInviteInput,
    ) -> Result<CreateInvitePayload> {
        let viewer = ctx.viewer()?;
        let invite = ctx.app().invites().create(viewer, input.try_into()?).await?;
        Ok(CreateInvitePayload { invite: Invite(invite) })
    }

    /// Deletes an invite, so that no user can join by it anymore. Users who have joined by the invite remain
    /// participants. Errors: NOT_FOUND if the invite does not exist, or the viewer is neither the owner nor an admin of
    /// the group.
    async fn revoke_invite(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The invite to delete.")] input: RevokeInviteInput,
    ) -> Result<RevokeInvitePayload> {
        let viewer = ctx.viewer()?;
        ctx.app().invites().revoke(viewer, parse_id(&input.invite_id, "inviteId")?).await?;
        Ok(RevokeInvitePayload { invite_id: input.invite_id })
    }

    /// Joins a group by an invite. For an existing participant nothing changes, and no use is counted. Errors:
    /// NOT_FOUND if the code is unknown, revoked, expired or used up, if the viewer was removed from the group after
    /// the invite was created, or if the viewer is banned from the group. CONFLICT if the group is full.
    async fn join_by_invite(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The code of the invite.")] input: JoinByInviteInput,
    ) -> Result<JoinByInvitePayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().invites().join(viewer, &input.code).await?;
        Ok(JoinByInvitePayload { conversation: row.into() })
    }
}

impl TryFrom<CreateInviteInput> for NewInvite {
    type Error = Error;

    fn try_from(input: CreateInviteInput) -> Result<Self> {
        Ok(Self {
            conversation: parse_id(&input.conversation_id, "conversationId")?,
            expires_at: input.expires_at.map(|time| time.0),
            max_uses: input.max_uses,
        })
    }
}
