//! Invites: codes that let whoever has one into a group.

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

/// Those see it who may invite.
#[derive(Clone)]
pub struct Invite(pub Row);

#[Object]
impl Invite {
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// URL-safe, and not to be guessed.
    async fn code(&self) -> &str {
        &self.0.code
    }

    async fn conversation(&self) -> Conversation {
        self.0.conversation_id.into()
    }

    async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        ctx.loaders().user(self.0.created_by?).await.map(|row| row.map(User)).transpose()
    }

    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// Null is never.
    async fn expires_at(&self) -> Option<DateTime> {
        self.0.expires_at.map(Into::into)
    }

    /// Null is as often as anybody likes.
    async fn max_uses(&self) -> Option<i32> {
        self.0.max_uses
    }

    /// How many have joined by it.
    async fn uses(&self) -> i32 {
        self.0.uses
    }
}

/// A page of a conversation's invites for this user. No value if the user may not see them.
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

/// A page of a conversation's invites.
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

/// What one sees of a group before joining it.
pub struct InvitePreview(ConversationRow);

#[Object]
impl InvitePreview {
    async fn title(&self) -> Option<&str> {
        self.0.title.as_deref()
    }

    async fn avatar(&self, ctx: &Context<'_>) -> Option<Result<Attachment>> {
        avatar(ctx, self.0.avatar_id).await
    }

    async fn participant_count(&self) -> i32 {
        self.0.participant_count
    }
}

#[derive(InputObject)]
pub struct CreateInviteInput {
    conversation_id: ID,
    /// In the future; never where it is left out.
    expires_at: Option<DateTime>,
    /// 1 or more; as often as anybody likes where it is left out.
    max_uses: Option<i32>,
}

#[derive(SimpleObject)]
pub struct CreateInvitePayload {
    invite: Invite,
}

#[derive(InputObject)]
pub struct RevokeInviteInput {
    invite_id: ID,
}

#[derive(SimpleObject)]
pub struct RevokeInvitePayload {
    invite_id: ID,
}

#[derive(InputObject)]
pub struct JoinByInviteInput {
    code: String,
}

#[derive(SimpleObject)]
pub struct JoinByInvitePayload {
    conversation: Conversation,
}

#[derive(Default)]
pub struct InviteQuery;

#[Object]
impl InviteQuery {
    /// The conversation behind an invite, before joining it. NOT_FOUND for a code that lets nobody in, for whatever
    /// reason.
    async fn invite(&self, ctx: &Context<'_>, code: String) -> Option<Result<InvitePreview>> {
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
    /// For a group, by those who may invite to it.
    async fn create_invite(&self, ctx: &Context<'_>, input: CreateInviteInput) -> Result<CreateInvitePayload> {
        let viewer = ctx.viewer()?;
        let invite = ctx.app().invites().create(viewer, input.try_into()?).await?;
        Ok(CreateInvitePayload { invite: Invite(invite) })
    }

    /// It lets nobody in from then on. Those who have joined by it stay.
    async fn revoke_invite(&self, ctx: &Context<'_>, input: RevokeInviteInput) -> Result<RevokeInvitePayload> {
        let viewer = ctx.viewer()?;
        ctx.app().invites().revoke(viewer, parse_id(&input.invite_id, "inviteId")?).await?;
        Ok(RevokeInvitePayload { invite_id: input.invite_id })
    }

    /// Who takes part already uses nothing, and stays as they are. CONFLICT where the group is full.
    async fn join_by_invite(&self, ctx: &Context<'_>, input: JoinByInviteInput) -> Result<JoinByInvitePayload> {
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
