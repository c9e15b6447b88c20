//! Invites: codes that let whoever has one into a group.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::attachment::{Attachment, avatar};
use super::context::ContextExt as _;
use super::conversation::Conversation;
use super::error::{Error, Result};
use super::scalars::{DateTime, parse_id};
use super::user::User;
use crate::domain::invites::NewInvite;
use crate::store::conversations::Conversation as ConversationRow;
use crate::store::invites::Invite as Row;

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
    ctx.viewer()?;
    Ok(InvitePreview(ctx.app().invites().preview(code).await?))
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
