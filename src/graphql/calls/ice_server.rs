//! The servers that peer connections find their way by.

use async_graphql::{Context, Object, SimpleObject};

use crate::domain::calls::ice_servers::IceServer as Found;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;

/// As WebRTC's RTCIceServer: for `new RTCPeerConnection({iceServers})`.
#[derive(SimpleObject)]
pub struct IceServer {
    urls: Vec<String>,
    /// Of TURN: the Unix time at which it runs out, and whose it is.
    username: Option<String>,
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
    /// STUN and TURN servers for a WebRTC peer connection; TURN credentials are the viewer's, and short-lived: ask at
    /// the start of each call. None where the server has none, and calls then connect within one network.
    #[expect(clippy::unused_async, reason = "a resolver is asynchronous, and this one has nothing to wait for")]
    async fn ice_servers(&self, ctx: &Context<'_>) -> Result<Vec<IceServer>> {
        let viewer = ctx.viewer()?;
        Ok(ctx.app().ice_servers().list(viewer).into_iter().map(Into::into).collect())
    }
}
