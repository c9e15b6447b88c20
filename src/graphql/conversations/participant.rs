//! Participants of a conversation, and the mutations that add, remove and promote them.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::conversation::Conversation;
use crate::domain::Error as Domain;
use crate::domain::messaging::receipts;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::message_loaders::ReceiptsOffKey;
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_id, parse_ids};
use crate::store::conversations::participants::{Participant as Row, ParticipantRole as RoleRow};

/// Role of a participant. In a direct conversation both users are members.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "RoleRow")]
pub enum ParticipantRole {
    /// Can do everything that an admin can do. Can also remove admins, change roles and change `historyVisible`. A
    /// group has exactly one owner.
    Owner,
    /// Can change the title, topic and picture, add and remove members, manage invites and bans, pin messages, and
    /// delete the messages of other participants.
    Admin,
    /// Can read and send messages, start calls and leave the group.
    Member,
}

#[derive(Clone)]
pub struct Participant(pub Row);

/// A user's participation in a conversation. It is visible to the participants of the conversation.
#[Object]
impl Participant {
    /// Global id, with the prefix `prt_`.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The user.
    async fn user(&self, ctx: &Context<'_>) -> Result<User> {
        // The user exists as long as the participant exists.
        let user = ctx.loaders().user(self.0.user_id).await?.map(User);
        user.ok_or_else(|| Domain::NotFound("This user no longer exists.").into())
    }

    /// The role of the user in the conversation.
    async fn role(&self) -> ParticipantRole {
        self.0.role.into()
    }

    /// When the user joined the conversation.
    async fn joined_at(&self) -> DateTime {
        self.0.joined_at.into()
    }

    /// Number of the newest message that was delivered to this participant. 0 if no message was delivered.
    async fn last_delivered_number(&self) -> i32 {
        self.0.last_delivered_number
    }

    /// Number of the newest message that this participant has read. 0 if the participant has read no message. The
    /// number is also 0 if this participant or the viewer has disabled read receipts, unless the participant is the
    /// viewer.
    async fn last_read_number(&self, ctx: &Context<'_>) -> Result<i32> {
        let receipts_off = ctx.loaders().load(ReceiptsOffKey(self.0.conversation_id)).await?.unwrap_or_default();
        if receipts_off.is_empty() {
            // Does not ask for the viewer, because all viewers see the same number. So a rendered event can be shared.
            return Ok(self.0.last_read_number);
        }
        Ok(receipts::shown_read_number(ctx.viewer()?, &self.0, &receipts_off))
    }
}

/// Input of the `leaveConversation` mutation.
#[derive(InputObject)]
pub struct LeaveConversationInput {
    /// Id of the group.
    conversation_id: ID,
}

/// Result of the `leaveConversation` mutation.
#[derive(SimpleObject)]
pub struct LeaveConversationPayload {
    /// Id of the group.
    conversation_id: ID,
}

/// Input of the `removeParticipant` mutation.
#[derive(InputObject)]
pub struct RemoveParticipantInput {
    /// Id of the group.
    conversation_id: ID,
    /// Id of the user to remove.
    user_id: ID,
    /// Whether to ban the user as well. No invite works for a banned user until the ban is lifted.
    #[graphql(default_with = "Some(false)")]
    ban: Option<bool>,
}

/// Result of the `removeParticipant` mutation.
#[derive(SimpleObject)]
pub struct RemoveParticipantPayload {
    /// The group without the user.
    conversation: Conversation,
}

/// Input of the `addParticipants` mutation.
#[derive(InputObject)]
pub struct AddParticipantsInput {
    /// Id of the group.
    conversation_id: ID,
    /// Ids of the users to add as members.
    user_ids: Vec<ID>,
}

/// Result of the `addParticipants` mutation.
#[derive(SimpleObject)]
pub struct AddParticipantsPayload {
    /// The group with the users.
    conversation: Conversation,
}

/// Input of the `setParticipantRole` mutation.
#[derive(InputObject)]
pub struct SetParticipantRoleInput {
    /// Id of the group.
    conversation_id: ID,
    /// Id of the participant's user.
    user_id: ID,
    /// The new role.
    role: ParticipantRole,
}

/// Result of the `setParticipantRole` mutation.
#[derive(SimpleObject)]
pub struct SetParticipantRolePayload {
    /// The group with the new role.
    conversation: Conversation,
}

#[derive(Default)]
pub struct ParticipantMutation;

#[Object]
impl ParticipantMutation {
    /// Adds users to a group. Existing participants are unchanged, and bans of the added users are lifted. Errors:
    /// NOT_FOUND if the viewer is not a participant. FORBIDDEN if the viewer is neither the owner nor an admin, or may
    /// not add one of the users because of the user's privacy settings or a block. BAD_USER_INPUT if a user does not
    /// exist, if the group would have more than `ServerInfo.maxGroupSize` participants, and for a direct conversation.
    async fn add_participants(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group and the users to add.")] input: AddParticipantsInput,
    ) -> Result<AddParticipantsPayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let users = parse_ids(&input.user_ids, "userIds")?;
        let row = ctx.app().participants().add(viewer, conversation, &users).await?;
        Ok(AddParticipantsPayload { conversation: row.into() })
    }

    /// Changes the role of a participant of a group. If another user becomes the owner, the viewer becomes an admin.
    /// Errors: NOT_FOUND if the viewer or the user is not a participant. FORBIDDEN if the viewer is not the owner.
    /// BAD_USER_INPUT if the user is the owner and the new role is not OWNER, and for a direct conversation.
    async fn set_participant_role(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The participant and the new role.")] input: SetParticipantRoleInput,
    ) -> Result<SetParticipantRolePayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let user = parse_id(&input.user_id, "userId")?;
        let row = ctx.app().participants().set_role(viewer, conversation, user, input.role.into()).await?;
        Ok(SetParticipantRolePayload { conversation: row.into() })
    }

    /// Removes a participant from a group. The owner can remove admins and members; an admin can remove members. The
    /// user's subscriptions to the group end, and invites that were created before the removal no longer work for the
    /// user. With `ban`, no invite works for the user until `unbanUser` or `addParticipants`. Errors: NOT_FOUND if the
    /// viewer or the user is not a participant. FORBIDDEN if the viewer's role does not allow the removal.
    /// BAD_USER_INPUT for the viewer's own id, and for a direct conversation.
    async fn remove_participant(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The participant to remove.")] input: RemoveParticipantInput,
    ) -> Result<RemoveParticipantPayload> {
        let viewer = ctx.viewer()?;
        let conversation = parse_id(&input.conversation_id, "conversationId")?;
        let user = parse_id(&input.user_id, "userId")?;
        let row = ctx.app().participants().remove(viewer, conversation, user, input.ban.unwrap_or_default()).await?;
        Ok(RemoveParticipantPayload { conversation: row.into() })
    }

    /// Leaves a group. If the owner leaves, the admin who joined first becomes the owner, or in a group without admins
    /// the member who joined first. If the last participant leaves, the group and its messages are deleted. Errors:
    /// NOT_FOUND if the viewer is not a participant. BAD_USER_INPUT for a direct conversation.
    async fn leave_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group to leave.")] input: LeaveConversationInput,
    ) -> Result<LeaveConversationPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().participants().leave(viewer, parse_id(&input.conversation_id, "conversationId")?).await?;
        Ok(LeaveConversationPayload { conversation_id: input.conversation_id })
    }
}
