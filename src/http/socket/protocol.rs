//! The messages and close codes of graphql-transport-ws.

use std::borrow::Cow;

use async_graphql::ServerError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::http::graphql::Operation;
use crate::http::response::Body;

/// What a client may send.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientMessage {
    ConnectionInit {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Ping {
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Pong {
        #[expect(dead_code, reason = "read to be checked: a payload is an object or nothing")]
        #[serde(default)]
        payload: Option<Map<String, Value>>,
    },
    Subscribe {
        id: String,
        payload: Operation,
    },
    Complete {
        id: String,
    },
}

/// What the server sends.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage<'a> {
    ConnectionAck,
    Ping,
    Pong {
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<Map<String, Value>>,
    },
    Next {
        id: &'a str,
        payload: &'a Body,
    },
    /// The operation has failed as a whole and is over.
    Error {
        id: &'a str,
        payload: &'a [ServerError],
    },
    Complete {
        id: &'a str,
    },
}

/// Why the server ends a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Close {
    pub(super) code: u16,
    /// At most 123 bytes, RFC 6455, section 5.5.
    pub(super) reason: Cow<'static, str>,
}

impl Close {
    /// RFC 6455's registry: come back, perhaps to another node.
    pub(super) const RESTART: Self = Self::new(1012, "Service Restart");
    pub(super) const TRY_AGAIN: Self = Self::new(1013, "Try Again Later");
    pub(super) const INVALID_MESSAGE: Self = Self::new(4400, "Invalid message");
    pub(super) const UNAUTHORIZED: Self = Self::new(4401, "Unauthorized");
    pub(super) const FORBIDDEN: Self = Self::new(4403, "Forbidden");
    pub(super) const SUBPROTOCOL_NOT_ACCEPTABLE: Self = Self::new(4406, "Subprotocol not acceptable");
    pub(super) const INIT_TIMEOUT: Self = Self::new(4408, "Connection initialisation timeout");
    pub(super) const TOO_MANY_INITS: Self = Self::new(4429, "Too many initialisation requests");

    const fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    pub(super) fn duplicate(id: &str) -> Self {
        const MAX_ID: usize = 80;
        let shown: String = id.chars().take(MAX_ID / 4).collect();
        Self { code: 4409, reason: format!("Subscriber for {shown} already exists").into() }
    }
}
