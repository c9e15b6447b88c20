//! What a participant changes about its own state in a conversation.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use super::context::ContextExt as _;
use super::conversation::Conversation;
use super::error::Result;
use super::scalars::{DateTime, parse_id};
use crate::store::participants::MembershipChanges;

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
