//! Opening direct conversations, and creating and changing groups.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use super::conversation::Conversation;
use crate::domain::conversations::conversations::{GroupChanges, NewGroup};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::scalars::{parse_changed_id, parse_id, parse_ids};

/// Input of the `openDirectConversation` mutation.
#[derive(InputObject)]
pub struct OpenDirectConversationInput {
    /// Id of the other user.
    user_id: ID,
}

/// Result of the `openDirectConversation` mutation.
#[derive(SimpleObject)]
pub struct OpenDirectConversationPayload {
    /// The direct conversation of the viewer and the user.
    conversation: Conversation,
}

/// Input of the `createGroup` mutation.
#[derive(InputObject)]
pub struct CreateGroupInput {
    /// Title of the group, 1 to 100 characters.
    title: String,
    /// Ids of the users to add as members. The viewer becomes the owner and need not be listed.
    participant_ids: Vec<ID>,
    /// Description of the group, at most 500 characters.
    topic: Option<String>,
    /// Whether users who join later see earlier messages.
    #[graphql(default_with = "Some(true)")]
    history_visible: Option<bool>,
    /// Id of the picture of the group: a picture that the viewer uploaded and that is READY.
    avatar_id: Option<ID>,
}

/// Result of the `createGroup` mutation.
#[derive(SimpleObject)]
pub struct CreateGroupPayload {
    /// The new group.
    conversation: Conversation,
}

/// Input of the `updateGroup` mutation. Omitted fields are unchanged.
#[derive(InputObject)]
pub struct UpdateGroupInput {
    /// Id of the group.
    conversation_id: ID,
    /// New title, 1 to 100 characters. Null leaves the title unchanged.
    title: Option<String>,
    /// New topic, at most 500 characters. Null or an empty text removes the topic.
    topic: MaybeUndefined<String>,
    /// Whether users who join from now on see earlier messages. Existing participants are not affected. Null leaves the
    /// setting unchanged.
    history_visible: Option<bool>,
    /// Id of the new picture: a picture that the viewer uploaded and that is READY. Null removes the picture.
    avatar_id: MaybeUndefined<ID>,
}

/// Result of the `updateGroup` mutation.
#[derive(SimpleObject)]
pub struct UpdateGroupPayload {
    /// The changed group.
    conversation: Conversation,
}

#[derive(Default)]
pub struct ConversationMutation;

#[Object]
impl ConversationMutation {
    /// Returns the direct conversation with a user, and creates the conversation if it does not exist. Errors:
    /// NOT_FOUND if the user does not exist. BAD_USER_INPUT for the viewer's own id. FORBIDDEN if the conversation does
    /// not exist and the viewer blocks the user.
    async fn open_direct_conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The other user.")] input: OpenDirectConversationInput,
    ) -> Result<OpenDirectConversationPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().conversations().open_direct(viewer, parse_id(&input.user_id, "userId")?).await?;
        Ok(OpenDirectConversationPayload { conversation: row.into() })
    }

    /// Creates a group with the viewer as its owner. Errors: BAD_USER_INPUT if a field breaks its rule, a user does not
    /// exist, or there are more than `ServerInfo.maxGroupSize` participants. FORBIDDEN if the viewer may not add one of
    /// the users, because of the user's privacy settings or a block.
    async fn create_group(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new group.")] input: CreateGroupInput,
    ) -> Result<CreateGroupPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().conversations().create_group(viewer, input.try_into()?, &ctx.client().gone).await?;
        Ok(CreateGroupPayload { conversation: row.into() })
    }

    /// Changes a group. The owner and admins can change the title, the topic and the picture; only the owner can change
    /// `historyVisible`. Errors: NOT_FOUND if the viewer is not a participant. FORBIDDEN if the viewer's role does not
    /// allow the change. BAD_USER_INPUT if a field breaks its rule, and for a direct conversation.
    async fn update_group(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The group and the fields to change.")] input: UpdateGroupInput,
    ) -> Result<UpdateGroupPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.conversation_id, "conversationId")?;
        let row = ctx.app().conversations().update_group(viewer, id, input.try_into()?, &ctx.client().gone).await?;
        Ok(UpdateGroupPayload { conversation: row.into() })
    }
}

impl TryFrom<UpdateGroupInput> for GroupChanges {
    type Error = Error;

    fn try_from(input: UpdateGroupInput) -> Result<Self> {
        let topic = match input.topic {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(String::new()),
            MaybeUndefined::Value(text) => Some(text),
        };
        let avatar = parse_changed_id(input.avatar_id, "avatarId")?;
        Ok(Self { title: input.title, topic, history_visible: input.history_visible, avatar })
    }
}

impl TryFrom<CreateGroupInput> for NewGroup {
    type Error = Error;

    fn try_from(input: CreateGroupInput) -> Result<Self> {
        Ok(Self {
            title: input.title,
            topic: input.topic,
            participants: parse_ids(&input.participant_ids, "participantIds")?,
            history_visible: input.history_visible.unwrap_or(true),
            avatar: input.avatar_id.map(|id| parse_id(&id, "avatarId")).transpose()?,
        })
    }
}
