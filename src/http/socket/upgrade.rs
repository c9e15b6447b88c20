//! The handshake of RFC 6455, section 4.2, over HTTP/1.1.

use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::future::{BoxFuture, FutureExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};

use super::message::{MessageLimits, Messages};
use super::protocol::Protocol;
use crate::http::connections::{ClientStream, Forwarded};

/// A WebSocket of a client, over the TCP connection itself.
pub(super) type WebSocket = WebSocketStream<Messages>;

/// The only version of the WebSocket protocol.
const VERSION: &str = "13";

/// A request that asks for a WebSocket.
pub(in crate::http) struct Upgrade {
    key: HeaderValue,
    offered: Vec<HeaderValue>,
    becomes: OnUpgrade,
    forwarded: Option<Forwarded>,
}

/// The request does not ask for a WebSocket, or asks for another version of the protocol.
pub(in crate::http) struct NoUpgrade;

impl axum::response::IntoResponse for NoUpgrade {
    fn into_response(self) -> Response {
        StatusCode::BAD_REQUEST.into_response()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = NoUpgrade;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoUpgrade> {
        let headers = &parts.headers;
        let asks = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && lists(headers, &header::CONNECTION, "upgrade")
            && lists(headers, &header::UPGRADE, "websocket")
            && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == VERSION);
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks).cloned().ok_or(NoUpgrade)?;
        let offered = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|name| HeaderValue::from_bytes(name.trim_ascii()).ok())
            .collect();
        let becomes = parts.extensions.remove::<OnUpgrade>().ok_or(NoUpgrade)?;
        let forwarded = parts.extensions.get().cloned();
        Ok(Self { key, offered, becomes, forwarded })
    }
}

/// Whether a header that is a list has this word, in upper or lower case.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let words = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    words.map(<[u8]>::trim_ascii).any(|candidate| candidate.eq_ignore_ascii_case(word.as_bytes()))
}

impl Upgrade {
    /// The request's place among those of its client's address. None if no trusted proxy forwards it.
    pub(super) fn forwarded(&self) -> Option<Forwarded> {
        self.forwarded.clone()
    }

    /// The server's preferred subprotocol among those that the client offers.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        Protocol::choose(|name| self.offered.iter().any(|offered| offered == name))
    }

    /// Returns the response that accepts the upgrade, and a future with the socket. The future yields None if the
    /// connection ends first, or does not become a WebSocket within `patience`. The future is boxed, so that an open
    /// socket keeps no memory of it.
    pub(super) fn accept(
        self,
        protocol: Option<Protocol>,
        config: WebSocketConfig,
        limits: MessageLimits,
        patience: Duration,
    ) -> (Response, BoxFuture<'static, Option<WebSocket>>) {
        let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
        *response.body_mut() = Body::empty();
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(self.key.as_bytes())) {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        if let Some(protocol) = protocol {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name()));
        }
        let becomes = self.becomes;
        let socket = async move {
            let upgraded = timeout(patience, becomes).await.ok()?.ok()?;
            let parts = upgraded.downcast::<TokioIo<ClientStream>>().ok()?;
            let early = parts.read_buf;
            let messages = Messages::new(parts.io.into_inner(), &early, limits);
            // A copy, because the buffer of the HTTP connection is larger than a socket needs.
            Some(WebSocketStream::from_partially_read(messages, early.to_vec(), Role::Server, Some(config)).await)
        };
        (response, socket.boxed())
    }
}
