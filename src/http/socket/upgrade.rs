//! The WebSocket handshake of RFC 6455, section 4.2, over HTTP/1.1.

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
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};

use super::message::{MessageLimits, MessageObserver, WebSocket};
use super::protocol::Protocol;
use crate::http::connections::{ForwardedPermit, HttpStream};

/// Value of `Sec-WebSocket-Version`. No other version of the WebSocket protocol is in use.
const VERSION: &str = "13";

/// A request that asks for a WebSocket.
pub(in crate::http) struct Upgrade {
    key: HeaderValue,
    offered: Vec<HeaderValue>,
    connection: OnUpgrade,
    forwarded: Option<ForwardedPermit>,
}

/// Error: the request does not ask for a WebSocket, or asks for another version of the protocol.
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
        let asks_for_socket = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && has_word(headers, &header::CONNECTION, "upgrade")
            && has_word(headers, &header::UPGRADE, "websocket")
            && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == VERSION);
        let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks_for_socket).cloned().ok_or(NoUpgrade)?;
        let offered = headers
            .get_all(header::SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|name| HeaderValue::from_bytes(name.trim_ascii()).ok())
            .collect();
        let connection = parts.extensions.remove::<OnUpgrade>().ok_or(NoUpgrade)?;
        let forwarded = parts.extensions.get().cloned();
        Ok(Self { key, offered, connection, forwarded })
    }
}

/// Whether a header that is a list contains this word. Ignores upper and lower case.
fn has_word(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let words = headers.get_all(name).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b','));
    words.map(<[u8]>::trim_ascii).any(|candidate| candidate.eq_ignore_ascii_case(word.as_bytes()))
}

impl Upgrade {
    /// Returns the permit that counts the request against the limit of its client's address. Returns None if no trusted
    /// proxy forwards the request.
    pub(super) fn forwarded(&self) -> Option<ForwardedPermit> {
        self.forwarded.clone()
    }

    /// Returns the server's preferred subprotocol among those that the client offers. Returns None if the server knows
    /// none of them.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        Protocol::choose(|name| self.offered.iter().any(|offered| offered == name))
    }

    /// Returns the response that accepts the upgrade, and a future with the socket. The future yields None if the
    /// connection ends first, or does not become a WebSocket within `time_limit`. The future is boxed, so that an open
    /// socket does not keep the memory of the future.
    pub(super) fn accept(
        self,
        protocol: Option<Protocol>,
        config: WebSocketConfig,
        limits: MessageLimits,
        time_limit: Duration,
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
        let connection = self.connection;
        let socket = async move {
            let upgraded = timeout(time_limit, connection).await.ok()?.ok()?;
            let parts = upgraded.downcast::<TokioIo<HttpStream>>().ok()?;
            let early = parts.read_buf;
            let stream = parts.io.into_inner().with_observer(MessageObserver::new(&early, limits));
            // The bytes are copied, because the buffer of the HTTP connection is larger than a socket needs.
            Some(WebSocket::from_partially_read(stream, early.to_vec(), Role::Server, Some(config)).await)
        };
        (response, socket.boxed())
    }
}
