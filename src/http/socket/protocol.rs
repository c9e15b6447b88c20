//! The messages of the two subprotocols: how they are parsed and encoded.
//!
//! Sources: PROTOCOL.md of the npm package graphql-ws for graphql-transport-ws, and PROTOCOL.md of
//! subscriptions-transport-ws for the older subprotocol, which confusingly is called graphql-ws on the wire.

use async_graphql::ServerError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tungstenite::Utf8Bytes;

use super::close::Close;
use crate::http::operation::Operation;

/// The subprotocol that client and server have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    TransportWs,
    /// The older protocol, of subscriptions-transport-ws and GraphQL Playground.
    Legacy,
}

/// The messages of a client, named as in graphql-transport-ws.
#[derive(Debug)]
pub(super) enum ClientMessage {
    ConnectionInit {
        payload: Option<Map<String, Value>>,
    },
    Ping {
        payload: Option<Map<String, Value>>,
    },
    Pong,
    /// Starts an operation. If the payload is not a GraphQL request, `payload` is the message of the error that ends
    /// the operation, and the socket stays open for other operations.
    Subscribe {
        id: String,
        payload: Result<Operation, String>,
    },
    Complete {
        id: String,
    },
    /// Exists only in the older protocol.
    ConnectionTerminate,
    /// A text that is too large to be parsed on a thread of the runtime.
    Large(Utf8Bytes),
}

/// A client's message before its type is checked.
#[derive(Deserialize)]
struct Frame {
    #[serde(rename = "type")]
    kind: String,
    id: Option<Value>,
    payload: Option<Value>,
}

/// The type and the id of a message. serde skips the payload without decoding it.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: String,
    id: Option<Value>,
}

/// The messages of the server, named as in graphql-transport-ws.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage<'a> {
    ConnectionAck,
    Ping,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Map<String, Value>>,
    },
    /// The operation has failed as a whole and has ended.
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

/// The messages of the server in the older protocol.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum LegacyMessage<'a> {
    ConnectionAck,
    ConnectionError { payload: Reason<'a> },
    Ka,
    Error { id: &'a str, payload: Option<&'a ServerError> },
    Complete { id: &'a str },
}

#[derive(Debug, Serialize)]
struct Reason<'a> {
    message: &'a str,
}

impl Protocol {
    /// Returns the first protocol in the server's order of preference that the client offers.
    pub(super) fn choose(offers: impl Fn(&str) -> bool) -> Option<Self> {
        [Self::TransportWs, Self::Legacy].into_iter().find(|protocol| offers(protocol.name()))
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::TransportWs => "graphql-transport-ws",
            Self::Legacy => "graphql-ws",
        }
    }

    /// Parses a client's message. Returns None if the text is not a message of this protocol.
    pub(super) fn read(self, text: &str) -> Option<ClientMessage> {
        // serde would also read a `Frame` from a JSON array.
        let object = text.trim_start().starts_with('{');
        if !object {
            return None;
        }
        let Frame { kind, id, payload } = match serde_json::from_str(text) {
            Ok(frame) => frame,
            Err(error) => return self.undecodable(text, &error),
        };
        Some(match (self, kind.as_str()) {
            (_, "connection_init") => ClientMessage::ConnectionInit { payload: optional_object(payload)? },
            (Self::TransportWs, "ping") => ClientMessage::Ping { payload: optional_object(payload)? },
            (Self::TransportWs, "pong") => optional_object(payload).map(|_| ClientMessage::Pong)?,
            (Self::TransportWs, "subscribe") | (Self::Legacy, "start") => {
                let request = match payload {
                    Some(Value::Object(members)) => Operation::try_from(members),
                    _ => Err("`payload` must be an object".to_owned()),
                };
                let payload = request.map_err(|reason| not_a_request(&reason));
                ClientMessage::Subscribe { id: identifier(id)?, payload }
            }
            (Self::TransportWs, "complete") | (Self::Legacy, "stop") => ClientMessage::Complete { id: identifier(id)? },
            (Self::Legacy, "connection_terminate") => ClientMessage::ConnectionTerminate,
            _ => return None,
        })
    }

    /// Reads a message whose payload cannot be decoded, for example because a string contains half of a surrogate pair.
    /// Returns None if the message does not start an operation.
    fn undecodable(self, text: &str, error: &serde_json::Error) -> Option<ClientMessage> {
        let Envelope { kind, id } = serde_json::from_str(text).ok()?;
        match (self, kind.as_str()) {
            (Self::TransportWs, "subscribe") | (Self::Legacy, "start") => {
                Some(ClientMessage::Subscribe { id: identifier(id)?, payload: Err(undecodable_json(error)) })
            }
            _ => None,
        }
    }

    /// Parses a text that has more than SMALL_INPUT bytes, and marks an operation in it as large.
    pub(super) fn read_large(self, text: &str) -> Option<ClientMessage> {
        Some(match self.read(text)? {
            ClientMessage::Subscribe { id, payload } => {
                ClientMessage::Subscribe { id, payload: payload.map(Operation::large) }
            }
            other => other,
        })
    }

    /// Encodes a message of the server. Returns None if the older protocol has no such message.
    pub(super) fn write(self, message: &ServerMessage<'_>) -> Option<String> {
        let legacy = match (self, message) {
            (Self::TransportWs, message) => return serde_json::to_string(message).ok(),
            (Self::Legacy, ServerMessage::ConnectionAck) => LegacyMessage::ConnectionAck,
            (Self::Legacy, ServerMessage::Ping) => LegacyMessage::Ka,
            (Self::Legacy, ServerMessage::Pong { .. }) => return None,
            (Self::Legacy, ServerMessage::Error { id, payload }) => {
                LegacyMessage::Error { id, payload: payload.first() }
            }
            (Self::Legacy, ServerMessage::Complete { id }) => LegacyMessage::Complete { id },
        };
        serde_json::to_string(&legacy).ok()
    }

    /// Encodes the message for a response of an operation. The response is JSON already.
    pub(super) fn next(self, id: &str, response: &str) -> String {
        let kind = match self {
            Self::TransportWs => "next",
            Self::Legacy => "data",
        };
        // A string always has a JSON form, so the encoding cannot fail.
        let id = serde_json::to_string(id).unwrap_or_default();
        ["{\"type\":\"", kind, "\",\"id\":", &id, ",\"payload\":", response, "}"].concat()
    }

    /// Returns the message that precedes the close when a client is rejected. Returns None if the protocol has no such
    /// message.
    pub(super) fn rejection(self, close: &Close) -> Option<String> {
        let message = LegacyMessage::ConnectionError { payload: Reason { message: &close.reason } };
        serde_json::to_string(&message).ok().filter(|_| self == Self::Legacy)
    }
}

fn not_a_request(reason: &str) -> String {
    format!("The payload is not a GraphQL request: {reason}.")
}

fn undecodable_json(error: &serde_json::Error) -> String {
    format!(
        "The JSON of the message cannot be decoded: {error}. Strings must be valid Unicode, and numbers must be finite."
    )
}

fn identifier(id: Option<Value>) -> Option<String> {
    match id? {
        Value::String(id) if !id.is_empty() => Some(id),
        _ => None,
    }
}

/// Returns the object in the payload, or `Some(None)` if the payload is missing or null. Returns None for any other
/// payload.
#[expect(clippy::option_option, reason = "an object may be missing, and something else may be there")]
fn optional_object(payload: Option<Value>) -> Option<Option<Map<String, Value>>> {
    match payload {
        None | Some(Value::Null) => Some(None),
        Some(Value::Object(object)) => Some(Some(object)),
        Some(_) => None,
    }
}
