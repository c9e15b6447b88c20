//! Entrance to a call that a LiveKit server carries.

use async_graphql::{Context, ID, Object, SimpleObject};

use crate::domain::calls::call_access::CallAccess as Minted;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};

/// Entrance to the call's room on a LiveKit server.
#[derive(SimpleObject)]
pub struct CallAccess {
    /// Of the LiveKit server.
    url: String,
    /// For this session alone.
    token: String,
    /// By then the session has come in; LiveKit itself renews the token of who is connected.
    expires_at: DateTime,
}

impl From<Minted> for CallAccess {
    fn from(minted: Minted) -> Self {
        Self { url: minted.url, token: minted.token, expires_at: minted.expires_at.into() }
    }
}

#[derive(Default)]
pub struct CallAccessQuery;

#[Object]
impl CallAccessQuery {
    /// For calls larger than a mesh: for the viewer's session, which is in the call. Null on a server without LiveKit.
    async fn call_access(&self, ctx: &Context<'_>, call_id: ID) -> Option<Result<CallAccess>> {
        access(ctx, &call_id).await.transpose()
    }
}

async fn access(ctx: &Context<'_>, call_id: &ID) -> Result<Option<CallAccess>> {
    let viewer = ctx.viewer()?;
    let minted = ctx.app().calls().access(viewer, parse_id(call_id, "callId")?).await?;
    Ok(minted.map(Into::into))
}
