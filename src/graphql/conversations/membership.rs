//! Memberships: the viewer's own state in a conversation, which other participants do not see.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use super::conversation::Conversation;
use super::participant::ParticipantRole;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::message_loaders::NumberKey;
use crate::graphql::messaging::message::Message;
use crate::graphql::push::notification_settings::NotificationLevel;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::MembershipId;
use crate::store::conversations::participants::{MembershipChanges, Participant as Row};

pub struct Membership {
    pub row: Row,
    /// The number of the conversation's newest message.
    pub last_message_number: i32,
}

/// The viewer's own state in a conversation. Other participants do not see this state.
#[Object]
impl Membership {
    /// Id with the prefix `mbr_`, for the caches of clients. `node` does not accept this id.
    async fn id(&self) -> ID {
        MembershipId(self.row.id.0).to_string().into()
    }

    /// The viewer's role.
    async fn role(&self) -> ParticipantRole {
        self.row.role.into()
    }

    /// Number of messages from other users that the viewer has not read. Messages from before the viewer joined, SYSTEM
    /// messages, deleted messages and hidden messages do not count.
    async fn unread_count(&self) -> i32 {
        self.row.unread(self.last_message_number)
    }

    /// Number of unread messages that mention the viewer by `@username` or `@all`.
    async fn unread_mention_count(&self) -> i32 {
        self.row.unread_mentions
    }

    /// The message up to which the viewer has read. Null if the viewer has read no message, and if the message is no
    /// longer visible to the viewer.
    async fn last_read_message(&self, ctx: &Context<'_>) -> Option<Result<Message>> {
        let key = NumberKey(self.row.user_id, self.row.conversation_id, self.row.last_read_number);
        ctx.loaders().load(key).await.map(|row| row.map(Message)).transpose()
    }

    /// Whether the viewer has archived the conversation. New messages do not change this.
    async fn archived(&self) -> bool {
        self.row.archived
    }

    /// Whether the viewer has pinned the conversation. Clients can show pinned conversations first; the server does not
    /// sort by this field.
    async fn pinned(&self) -> bool {
        self.row.pinned
    }

    /// Time until which the conversation is muted. The conversation is not muted if the time is null or in the past.
    async fn muted_until(&self) -> Option<DateTime> {
        self.row.muted_until.map(Into::into)
    }

    /// The messages of the conversation that notify the viewer. The default is ALL. Messages of an archived
    /// conversation notify only if they mention the viewer, and messages of a muted conversation never do.
    async fn notification_level(&self) -> NotificationLevel {
        self.row.notification_level.into()
    }

    /// When the viewer joined the conversation.
    async fn joined_at(&self) -> DateTime {
        self.row.joined_at.into()
    }
}

/// Input of the `updateMembership` mutation. Omitted fields are unchanged.
#[derive(InputObject)]
pub struct UpdateMembershipInput {
    /// Id of the conversation.
    conversation_id: ID,
    /// Whether to archive the conversation. Null leaves the setting unchanged.
    archived: Option<bool>,
    /// Whether to pin the conversation. Null leaves the setting unchanged.
    pinned: Option<bool>,
    /// Time until which the conversation is muted. Null unmutes the conversation.
    muted_until: MaybeUndefined<DateTime>,
    /// The messages of the conversation that notify the viewer. Null leaves the setting unchanged.
    notification_level: Option<NotificationLevel>,
}

/// Result of the `updateMembership` mutation.
#[derive(SimpleObject)]
pub struct UpdateMembershipPayload {
    /// The conversation, with the new state in `viewerMembership`.
    conversation: Conversation,
}

#[derive(Default)]
pub struct MembershipMutation;

#[Object]
impl MembershipMutation {
    /// Archives, pins or mutes a conversation for the viewer, or sets which of its messages notify. Other participants
    /// do not see the change. Errors: NOT_FOUND if the viewer is not a participant.
    async fn update_membership(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The conversation and the fields to change.")] input: UpdateMembershipInput,
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
        let notification_level = input.notification_level.map(Into::into);
        Self { archived: input.archived, pinned: input.pinned, muted_until, notification_level }
    }
}
