//! Blocks: users whose messages and requests the viewer does not receive.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::user::User;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::parse_id;

/// Input of the `blockUser` mutation.
#[derive(InputObject)]
pub struct BlockUserInput {
    /// Id of the user to block.
    user_id: ID,
}

/// Result of the `blockUser` mutation.
#[derive(SimpleObject)]
pub struct BlockUserPayload {
    /// The blocked user.
    user: User,
}

/// Input of the `unblockUser` mutation.
#[derive(InputObject)]
pub struct UnblockUserInput {
    /// Id of the user to unblock.
    user_id: ID,
}

/// Result of the `unblockUser` mutation.
#[derive(SimpleObject)]
pub struct UnblockUserPayload {
    /// The user who is no longer blocked.
    user: User,
}

#[derive(Default)]
pub struct BlockMutation;

#[Object]
impl BlockMutation {
    /// Blocks a user, who is not notified. New messages and calls of the user in the direct conversation no longer
    /// reach the viewer, and the two users do not see each other's presence and typing. The user is removed from the
    /// viewer's contacts and contact requests. Groups with both users are unchanged. Blocking again changes nothing.
    /// Errors: NOT_FOUND if the user does not exist. BAD_USER_INPUT for the viewer's own id.
    async fn block_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The user to block.")] input: BlockUserInput,
    ) -> Result<BlockUserPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().blocks().add(viewer, parse_id(&input.user_id, "userId")?).await?;
        Ok(BlockUserPayload { user: User(row) })
    }

    /// Unblocks a user. Messages that the user sent while blocked stay hidden from the viewer. If the user is not
    /// blocked, nothing changes. Errors: NOT_FOUND if the user does not exist.
    async fn unblock_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The user to unblock.")] input: UnblockUserInput,
    ) -> Result<UnblockUserPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().blocks().remove(viewer, parse_id(&input.user_id, "userId")?).await?;
        Ok(UnblockUserPayload { user: User(row) })
    }
}
