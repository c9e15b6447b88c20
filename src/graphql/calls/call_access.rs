//! Access to a call's room on a LiveKit server.

use async_graphql::{Context, ID, Object, SimpleObject};

use crate::domain::calls::call_access::CallAccess as AccessRow;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};

/// Credentials for a call's room on a LiveKit server.
#[derive(SimpleObject)]
pub struct CallAccess {
    /// WebSocket URL of the LiveKit server.
    url: String,
    /// LiveKit access token (JWT) for the viewer's session.
    token: String,
    /// When the token expires: 10 minutes after it was made. The client must connect before the token expires. LiveKit
    /// renews the tokens of connected clients.
    expires_at: DateTime,
}

impl From<AccessRow> for CallAccess {
    fn from(access: AccessRow) -> Self {
        Self { url: access.url, token: access.token, expires_at: access.expires_at.into() }
    }
}

#[derive(Default)]
pub struct CallAccessQuery;

#[Object]
impl CallAccessQuery {
    /// Credentials for the LiveKit room of a call that this session is in. A client uses the room instead of
    /// connections between devices. Null if the server has no LiveKit. Errors: NOT_FOUND if the viewer cannot see the
    /// call. FORBIDDEN if this session is not in the call.
    async fn call_access(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the call.")] call_id: ID,
    ) -> Option<Result<CallAccess>> {
        access(ctx, &call_id).await.transpose()
    }
}

async fn access(ctx: &Context<'_>, call_id: &ID) -> Result<Option<CallAccess>> {
    let viewer = ctx.viewer()?;
    let access = ctx.app().calls().access(viewer, parse_id(call_id, "callId")?).await?;
    Ok(access.map(Into::into))
}
