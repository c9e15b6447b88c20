//! Sessions: the viewer's signed-in devices.

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

#[Object]
impl Session {
    pub async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    async fn device_name(&self) -> Option<&str> {
        self.row.device_name.as_deref()
    }

    async fn ip_address(&self) -> Option<&str> {
        self.row.ip_address.as_deref()
    }

    async fn created_at(&self) -> DateTime {
        self.row.created_at.into()
    }

    /// When it last signed in or refreshed its tokens.
    async fn last_used_at(&self) -> DateTime {
        self.row.last_used_at.into()
    }

    async fn viewer_is_current(&self) -> bool {
        self.is_current
    }
}

#[derive(InputObject)]
pub struct RevokeSessionInput {
    session_id: ID,
}

#[derive(SimpleObject)]
pub struct LogoutPayload {
    session_id: ID,
}

#[derive(SimpleObject)]
pub struct RevokeSessionPayload {
    session_id: ID,
}

#[derive(SimpleObject)]
pub struct RevokeOtherSessionsPayload {
    session_ids: Vec<ID>,
}

#[derive(Default)]
pub struct SessionMutation;

#[Object]
impl SessionMutation {
    /// Ends the session of the access token that was sent.
    async fn logout(&self, ctx: &Context<'_>) -> Result<LogoutPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().sessions().revoke(viewer, viewer.session).await?;
        Ok(LogoutPayload { session_id: viewer.session.to_string().into() })
    }

    /// Ends one of the viewer's sessions: its tokens stop working and its sockets close.
    async fn revoke_session(&self, ctx: &Context<'_>, input: RevokeSessionInput) -> Result<RevokeSessionPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().sessions().revoke(viewer, parse_id(&input.session_id, "sessionId")?).await?;
        Ok(RevokeSessionPayload { session_id: input.session_id })
    }

    async fn revoke_other_sessions(&self, ctx: &Context<'_>) -> Result<RevokeOtherSessionsPayload> {
        let revoked = ctx.app().sessions().revoke_others(ctx.viewer()?).await?;
        Ok(RevokeOtherSessionsPayload { session_ids: revoked.iter().map(|id| id.to_string().into()).collect() })
    }
}
