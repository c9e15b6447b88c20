//! STUN and TURN servers for WebRTC connections.

use async_graphql::{Context, Object, SimpleObject};

use crate::domain::calls::ice_servers::IceServer as Found;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;

/// STUN or TURN server in the form of WebRTC's RTCIceServer, for `new RTCPeerConnection({iceServers})`.
#[derive(SimpleObject)]
pub struct IceServer {
    /// URLs of the server, such as stun:turn.example.org:3478.
    urls: Vec<String>,
    /// TURN username: the Unix time at which the credentials expire, and the viewer's id. Null for a STUN server.
    username: Option<String>,
    /// TURN password. Null for a STUN server.
    credential: Option<String>,
}

impl From<Found> for IceServer {
    fn from(server: Found) -> Self {
        let (username, credential) = server.credentials.map(|own| (own.username, own.password)).unzip();
        Self { urls: server.urls, username, credential }
    }
}

#[derive(Default)]
pub struct IceServerQuery;

#[Object]
impl IceServerQuery {
    /// STUN and TURN servers for WebRTC connections. TURN credentials belong to the viewer and expire after an hour, by
    /// default, so query them at the start of each call. Empty if no STUN or TURN server is configured. Calls then
    /// connect only within one network.
    #[expect(clippy::unused_async, reason = "the macro requires async functions")]
    async fn ice_servers(&self, ctx: &Context<'_>) -> Result<Vec<IceServer>> {
        let viewer = ctx.viewer()?;
        Ok(ctx.app().ice_servers().list(viewer).into_iter().map(Into::into).collect())
    }
}
