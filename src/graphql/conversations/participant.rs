//! Participants, as the others in a conversation see them.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::conversation::Conversation;
use crate::domain::Error as Domain;
use crate::domain::messaging::receipts;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::loaders::HidingKey;
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_id, parse_ids};
use crate::store::conversations::participants::{Participant as Row, ParticipantRole as RoleRow};

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "RoleRow")]
pub enum ParticipantRole {
    Owner,
    Admin,
    Member,
}

#[derive(Clone)]
pub struct Participant(pub Row);

#[Object]
impl Participant {
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn user(&self, ctx: &Context<'_>) -> Result<User> {
        // There for certain, as long as the participant is.
        ctx.loaders().user(self.0.user_id).await?.map(User).ok_or_else(|| Domain::NotFound("It is gone.").into())
    }

    async fn role(&self) -> ParticipantRole {
        self.0.role.into()
    }

    async fn joined_at(&self) -> DateTime {
        self.0.joined_at.into()
    }

    /// Highest message number delivered to this participant; 0 for none.
    async fn last_delivered_number(&self) -> i32 {
        self.0.last_delivered_number
    }

    /// Highest message number read by this participant; 0 for none. Depends on who asks: where this participant or the
    /// viewer has read receipts off it is 0, except to the participant.
    async fn last_read_number(&self, ctx: &Context<'_>) -> Result<i32> {
        let hiding = ctx.loaders().load(HidingKey(self.0.conversation_id)).await?.unwrap_or_default();
        if hiding.is_empty() {
            // The same for everybody, so that nobody needs to be asked for.
            return Ok(self.0.last_read_number);
        }
        Ok(receipts::shown_read_number(ctx.viewer()?, &self.0, &hiding))
    }
}

#[derive(InputObject)]
pub struct LeaveConversationInput {
    conversation_id: ID,
}

#[derive(SimpleObject)]
pub struct LeaveConversationPayload {
    conversation_id: ID,
}

#[derive(InputObject)]
pub struct RemoveParticipantInput {
    conversation_id: ID,
    user_id: ID,
    /// Whether to ban the user too: then no invite works for them until the ban is lifted.
    #[graphql(default_with = "Some(false)")]
    ban: Option<bool>,
}

#[derive(SimpleObject)]
pub struct RemoveParticipantPayload {
    conversation: Conversation,
}

#[derive(InputObject)]
pub struct AddParticipantsInput {
    conversation_id: ID,
    user_ids: Vec<ID>,
}

#[derive(SimpleObject)]
pub struct AddParticipantsPayload {
    conversation: Conversation,
}

#[derive(InputObject)]
pub struct SetParticipantRoleInput {
    conversation_id: ID,
    user_id: ID,
    role: ParticipantRole,
}

#[derive(SimpleObject)]
pub struct SetParticipantRolePayload {
    conversation: Conversation,
}

#[derive(Default)]
pub struct ParticipantMutation;

#[Object]
impl ParticipantMutation {
    /// Adds users to a group. Only its owner and admins may do this. Existing participants are unchanged. Bans of the added
    /// users are lifted.
    async fn add_participants(&self, ctx: &Context<'_>, input: AddParticipantsInput) -> Result<AddParticipantsPayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let users = parse_ids(&input.user_ids, "userIds")?;
        let row = ctx.app().participants().add(viewer, conversation, &users).await?;
        Ok(AddParticipantsPayload { conversation: row.into() })
    }

    /// For the owner of a group. Who makes another the owner becomes an admin.
    async fn set_participant_role(
        &self,
        ctx: &Context<'_>,
        input: SetParticipantRoleInput,
    ) -> Result<SetParticipantRolePayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let user = parse_id(&input.user_id, "userId")?;
        let row = ctx.app().participants().set_role(viewer, conversation, user, input.role.into()).await?;
        Ok(SetParticipantRolePayload { conversation: row.into() })
    }

    /// Removes a participant from a group. The owner may remove admins and members, an admin may remove members. The
    /// user's subscriptions to the group end, and invites made before the removal no longer work for the user. With `ban`,
    /// no invite works for the user until `unbanUser` or `addParticipants`.
    async fn remove_participant(
        &self,
        ctx: &Context<'_>,
        input: RemoveParticipantInput,
    ) -> Result<RemoveParticipantPayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let user = parse_id(&input.user_id, "userId")?;
        let row = ctx.app().participants().remove(viewer, conversation, user, input.ban.unwrap_or_default()).await?;
        Ok(RemoveParticipantPayload { conversation: row.into() })
    }

    /// Of a group. An owner hands over to the admin, else the member, who has been there longest. The last one to leave
    /// takes the group along, with its messages.
    async fn leave_conversation(
        &self,
        ctx: &Context<'_>,
        input: LeaveConversationInput,
    ) -> Result<LeaveConversationPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().participants().leave(viewer, parse_id(&input.conversation_id, "conversationId")?).await?;
        Ok(LeaveConversationPayload { conversation_id: input.conversation_id })
    }
}
