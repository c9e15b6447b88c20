//! Sessions: the signed-in devices of the viewer.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::store::people::sessions::Session as Row;

#[derive(Clone)]
pub struct Session {
    pub row: Row,
    pub is_current: bool,
}

/// A signed-in device of the viewer.
#[Object]
impl Session {
    /// Global id, with the prefix `ses_`.
    pub async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    /// Name that the client gave the device at registration or login. Null if the client gave no name.
    async fn device_name(&self) -> Option<&str> {
        self.row.device_name.as_deref()
    }

    /// IP address from which the session last signed in or refreshed its tokens. Null if the address is not known.
    async fn ip_address(&self) -> Option<&str> {
        self.row.ip_address.as_deref()
    }

    /// When the device signed in.
    async fn created_at(&self) -> DateTime {
        self.row.created_at.into()
    }

    /// When the session last signed in or refreshed its tokens.
    async fn last_used_at(&self) -> DateTime {
        self.row.last_used_at.into()
    }

    /// Whether this is the session of the request.
    async fn viewer_is_current(&self) -> bool {
        self.is_current
    }
}

/// Input of the `revokeSession` mutation.
#[derive(InputObject)]
pub struct RevokeSessionInput {
    /// Id of one of the viewer's sessions.
    session_id: ID,
}

/// Result of the `logout` mutation.
#[derive(SimpleObject)]
pub struct LogoutPayload {
    /// Id of the session that ended.
    session_id: ID,
}

/// Result of the `revokeSession` mutation.
#[derive(SimpleObject)]
pub struct RevokeSessionPayload {
    /// Id of the session that ended.
    session_id: ID,
}

/// Result of the `revokeOtherSessions` mutation.
#[derive(SimpleObject)]
pub struct RevokeOtherSessionsPayload {
    /// Ids of the sessions that ended.
    session_ids: Vec<ID>,
}

#[derive(Default)]
pub struct SessionMutation;

#[Object]
impl SessionMutation {
    /// Ends the session of the request: its tokens stop working and its connections close.
    async fn logout(&self, ctx: &Context<'_>) -> Result<LogoutPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().sessions().revoke(viewer, viewer.session).await?;
        Ok(LogoutPayload { session_id: viewer.session.to_string().into() })
    }

    /// Ends one of the viewer's sessions: its tokens stop working and its connections close. Errors: NOT_FOUND if the
    /// viewer has no such session.
    async fn revoke_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The session to end.")] input: RevokeSessionInput,
    ) -> Result<RevokeSessionPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().sessions().revoke(viewer, parse_id(&input.session_id, "sessionId")?).await?;
        Ok(RevokeSessionPayload { session_id: input.session_id })
    }

    /// Ends all sessions of the viewer except the session of the request.
    async fn revoke_other_sessions(&self, ctx: &Context<'_>) -> Result<RevokeOtherSessionsPayload> {
        let revoked = ctx.app().sessions().revoke_others(ctx.viewer()?).await?;
        Ok(RevokeOtherSessionsPayload { session_ids: revoked.iter().map(|id| id.to_string().into()).collect() })
    }
}
