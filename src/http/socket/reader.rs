//! Reads the messages of a client.

use futures_util::StreamExt as _;
use tungstenite::Message;
use tungstenite::error::ProtocolError;

use super::close::{Close, End};
use super::message::{MessageError, WebSocket};
use super::protocol::{ClientMessage, Protocol};
use crate::http::threads::SMALL_INPUT;

/// Reads the client's next message. Returns None for a ping or pong of the WebSocket protocol.
pub(super) async fn receive(socket: &mut WebSocket, protocol: Protocol) -> Result<Option<ClientMessage>, End> {
    match socket.next().await {
        Some(Ok(Message::Text(text))) if text.len() > SMALL_INPUT => Ok(Some(ClientMessage::Large(text))),
        Some(Ok(Message::Text(text))) => protocol.read(&text).map(Some).ok_or(End::Close(Close::INVALID_MESSAGE)),
        // tungstenite never returns `Message::Frame` when it reads.
        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(None),
        Some(Ok(Message::Binary(_))) => Err(End::Close(Close::INVALID_MESSAGE)),
        Some(Ok(Message::Close(_))) => Err(End::Closed),
        None => Err(End::Gone),
        Some(Err(error)) => Err(end_after(&error)),
    }
}

/// Returns how a connection ends after an error while reading.
fn end_after(error: &tungstenite::Error) -> End {
    match error {
        tungstenite::Error::Capacity(_) => End::Close(Close::TOO_BIG),
        tungstenite::Error::Utf8(_) => End::Close(Close::NOT_UTF8),
        tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => End::Gone,
        tungstenite::Error::Protocol(_) => End::Close(Close::PROTOCOL_ERROR),
        tungstenite::Error::Io(error) => match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(MessageError::TimedOut) => End::Close(Close::MESSAGE_TIMEOUT),
            Some(MessageError::OutOfMemory) => End::Close(Close::TRY_AGAIN),
            None => End::Gone,
        },
        _ => End::Gone,
    }
}
