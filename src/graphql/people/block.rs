//! Blocks.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::user::User;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::parse_id;

#[derive(InputObject)]
pub struct BlockUserInput {
    user_id: ID,
}

#[derive(SimpleObject)]
pub struct BlockUserPayload {
    user: User,
}

#[derive(InputObject)]
pub struct UnblockUserInput {
    user_id: ID,
}

#[derive(SimpleObject)]
pub struct UnblockUserPayload {
    user: User,
}

#[derive(Default)]
pub struct BlockMutation;

#[Object]
impl BlockMutation {
    /// Silent: the blocked user sees nothing change. Ends the contact and its requests for the viewer. Messages in
    /// groups that both are in stay visible.
    async fn block_user(&self, ctx: &Context<'_>, input: BlockUserInput) -> Result<BlockUserPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().blocks().add(viewer, parse_id(&input.user_id, "userId")?).await?;
        Ok(BlockUserPayload { user: User(row) })
    }

    /// What the user sent to the viewer meanwhile stays hidden.
    async fn unblock_user(&self, ctx: &Context<'_>, input: UnblockUserInput) -> Result<UnblockUserPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().blocks().remove(viewer, parse_id(&input.user_id, "userId")?).await?;
        Ok(UnblockUserPayload { user: User(row) })
    }
}
