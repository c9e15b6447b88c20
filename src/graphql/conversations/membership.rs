//! A participant's own state in a conversation, as it alone sees and changes it.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use super::conversation::Conversation;
use super::participant::ParticipantRole;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::loaders::NumberKey;
use crate::graphql::messaging::message::Message;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::MembershipId;
use crate::store::conversations::participants::{MembershipChanges, Participant as Row};

/// A participant's own state in a conversation.
pub struct Membership {
    pub row: Row,
    /// The number of the conversation's newest message.
    pub last_message_number: i32,
}

#[Object]
impl Membership {
    async fn id(&self) -> ID {
        MembershipId(self.row.id.0).to_string().into()
    }

    async fn role(&self) -> ParticipantRole {
        self.row.role.into()
    }

    /// Messages of others after the last one read and since joining; SYSTEM messages and deleted ones do not count.
    async fn unread_count(&self) -> i32 {
        self.row.unread(self.last_message_number)
    }

    /// Those of them that mention the viewer, by `@username` or `@all`.
    async fn unread_mention_count(&self) -> i32 {
        self.row.unread_mentions
    }

    async fn last_read_message(&self, ctx: &Context<'_>) -> Option<Result<Message>> {
        let key = NumberKey(self.row.user_id, self.row.conversation_id, self.row.last_read_number);
        ctx.loaders().load(key).await.map(|row| row.map(Message)).transpose()
    }

    /// Stays so when a new message comes.
    async fn archived(&self) -> bool {
        self.row.archived
    }

    /// For the client to show first: lists are in the same order all the same.
    async fn pinned(&self) -> bool {
        self.row.pinned
    }

    /// Muted while in the future.
    async fn muted_until(&self) -> Option<DateTime> {
        self.row.muted_until.map(Into::into)
    }

    async fn joined_at(&self) -> DateTime {
        self.row.joined_at.into()
    }
}

/// `mutedUntil: null` unmutes; what is left out stays.
#[derive(InputObject)]
pub struct UpdateMembershipInput {
    conversation_id: ID,
    archived: Option<bool>,
    pinned: Option<bool>,
    muted_until: MaybeUndefined<DateTime>,
}

#[derive(SimpleObject)]
pub struct UpdateMembershipPayload {
    conversation: Conversation,
}

#[derive(Default)]
pub struct MembershipMutation;

#[Object]
impl MembershipMutation {
    /// Archive, pin or mute, for the viewer alone.
    async fn update_membership(
        &self,
        ctx: &Context<'_>,
        input: UpdateMembershipInput,
    ) -> Result<UpdateMembershipPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.conversation_id, "conversationId")?;
        let row = ctx.app().memberships().update(viewer, id, input.into()).await?;
        Ok(UpdateMembershipPayload { conversation: row.into() })
    }
}

impl From<UpdateMembershipInput> for MembershipChanges {
    fn from(input: UpdateMembershipInput) -> Self {
        let muted_until = match input.muted_until {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(until) => Some(Some(until.0)),
        };
        Self { archived: input.archived, pinned: input.pinned, muted_until }
    }
}
