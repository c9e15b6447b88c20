//! How a connection ends: the close codes, and the closing handshake of RFC 6455, section 7.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;

use super::message::WebSocket;
use crate::http::lifetime::EndReason;

/// Maximum time for a client to answer a close.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a connection ends.
pub(super) enum End {
    /// The server closes the connection with this code and reason.
    Close(Close),
    /// The client has closed the connection.
    Closed,
    /// The client disconnected without a close, or does not read.
    Gone,
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        Self::Close(match reason {
            EndReason::SignedOut => Close::FORBIDDEN,
            EndReason::Drained => Close::RESTART,
        })
    }
}

/// A close code and its reason, with which the server ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    /// At most 123 bytes (RFC 6455, section 5.5).
    pub(super) reason: Cow<'static, str>,
}

impl Close {
    // Codes of RFC 6455, section 7.4.1, and of the IANA registry.
    pub(super) const NORMAL: Self = Self::new(1000, "Normal Closure");
    pub(super) const PROTOCOL_ERROR: Self = Self::new(1002, "Protocol error");
    pub(super) const NOT_UTF8: Self = Self::new(1007, "Not UTF-8");
    pub(super) const TOO_BIG: Self = Self::new(1009, "Message too big");
    /// The client should reconnect, perhaps to another node.
    pub(super) const RESTART: Self = Self::new(1012, "Service Restart");
    pub(super) const TRY_AGAIN: Self = Self::new(1013, "Try Again Later");
    // Codes of graphql-transport-ws.
    pub(super) const INVALID_MESSAGE: Self = Self::new(4400, "Invalid message");
    pub(super) const UNAUTHORIZED: Self = Self::new(4401, "Unauthorized: send connection_init first");
    pub(super) const FORBIDDEN: Self =
        Self::new(4403, "Forbidden: access token invalid or expired, or session ended. Call refreshSession or login");
    pub(super) const SUBPROTOCOL_NOT_ACCEPTABLE: Self = Self::new(4406, "Subprotocol not acceptable");
    pub(super) const INIT_TIMEOUT: Self = Self::new(4408, "Connection initialisation timeout");
    pub(super) const TOO_MANY_INITS: Self = Self::new(4429, "Too many initialisation requests");
    // Codes of Parlance.
    pub(super) const TOO_MANY_SOCKETS: Self = Self::new(4410, "Too many sockets of this user. Close others first");
    pub(super) const ANONYMOUS_IDLE: Self =
        Self::new(4411, "No user signed in, and no operation ran. Reconnect with an access token");
    pub(super) const MESSAGE_TIMEOUT: Self = Self::new(4412, "Message not complete in time");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    pub(super) fn duplicate(id: &str) -> Self {
        /// Maximum bytes of the id in the reason. Leaves room for the other words.
        const SHOWN_BYTES: usize = 80;
        let shown = &id[..id.floor_char_boundary(SHOWN_BYTES)];
        Self { code: 4409, reason: format!("Subscriber for {shown} already exists").into() }
    }
}

/// Sends the code and the reason, and waits up to CLOSE_TIMEOUT for the client's own close. If the connection were
/// closed with unread input, it would be reset, and the client would not get the code.
pub(super) async fn close(mut socket: WebSocket, close: Close) {
    let frame = CloseFrame { code: close.code.into(), reason: close.reason.into_owned().into() };
    // A client that does not read the close is disconnected.
    if let Ok(Ok(())) = timeout(CLOSE_TIMEOUT, socket.send(Message::Close(Some(frame)))).await {
        drain_until_closed(socket).await;
    }
}

/// Reads a connection that one side has closed until the connection ends. Reading also answers a client's close.
pub(super) async fn drain_until_closed(mut socket: WebSocket) {
    let drained = async { while let Some(Ok(_)) = socket.next().await {} };
    // A client that does not answer is disconnected.
    let _ = timeout(CLOSE_TIMEOUT, drained).await;
}
