//! GraphQL over WebSocket, with the subprotocols graphql-transport-ws and the older graphql-ws.

mod client;
mod close;
mod connection;
mod frames;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod keep_alive;
mod message;
mod operations;
mod protocol;
mod reader;
mod token_bucket;
mod upgrade;
mod writer;

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tungstenite::protocol::WebSocketConfig;

use super::caller::language;
use super::connection_limit::Permit;
use super::connections::ForwardedPermit;
use super::{Server, refusal};
use crate::address::{ClientAddress, ClientNetwork};
use crate::metrics::Refusal;
use crate::notices::Language;
use close::{Close, close};
use connection::Connection;
use message::MessageLimits;
pub(super) use upgrade::{NoUpgrade, Upgrade};

/// Size in bytes of tungstenite's read buffer. tungstenite clears the whole buffer at every read, so a small buffer
/// saves a quarter of the processor time.
const READ_BUFFER: usize = 1024;
/// Number of bytes of frames that are collected before they are written. A larger frame is written at once, and the
/// connection waits for its client.
const WRITE_BUFFER: usize = 4096;

pub(super) fn upgrade(server: Server, upgrade: Upgrade, headers: HeaderMap, peer: SocketAddr) -> Response {
    if server.drain.has_begun() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    if !may_connect(&server, &headers) {
        return (StatusCode::FORBIDDEN, "pages of this origin may not connect\n").into_response();
    }
    let origin = match Origin::admit(&server, &headers, peer, upgrade.forwarded()) {
        Ok(origin) => origin,
        Err(refusal) => return refusal::answer(refusal, server.connections.settings()),
    };
    let settings = server.connections.settings();
    let limits = MessageLimits {
        timeout: settings.socket_message_timeout,
        unfinished: server.connections.unfinished().clone(),
        network: server.connections.network(origin.address),
    };
    let protocol = upgrade.protocol();
    let config = web_socket_config(server.config.socket.socket_max_message_bytes);
    let (response, socket) = upgrade.accept(protocol, config, limits, settings.request_header_timeout);
    tokio::spawn(async move {
        let Some(socket) = socket.await else { return };
        match protocol {
            Some(protocol) => {
                let _tracked = server.drain.track();
                Connection::run(server, socket, protocol, headers, origin).await;
            }
            None => close(socket, Close::SUBPROTOCOL_NOT_ACCEPTABLE).await,
        }
    });
    response
}

/// The address and the languages of a socket's client, with the permits that count the socket against the limits of
/// that address.
struct Origin {
    address: ClientAddress,
    /// The permit of a forwarded socket. None if no trusted proxy forwards the socket.
    forwarded: Option<ForwardedPermit>,
    /// Dropped when a user signs in. None if the limits by address do not apply.
    anonymous: Option<Permit<ClientNetwork>>,
    language: Language,
}

impl Origin {
    fn admit(
        server: &Server,
        headers: &HeaderMap,
        peer: SocketAddr,
        forwarded: Option<ForwardedPermit>,
    ) -> Result<Self, Refusal> {
        let connections = &server.connections;
        let address = connections.client_address(headers, peer);
        let anonymous = connections.admit_anonymous(connections.network(address))?;
        Ok(Self { address, forwarded, anonymous, language: language(headers) })
    }
}

fn web_socket_config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
}

/// Whether a client may open a socket. Browsers send no CORS preflight for sockets, so the server checks the origin
/// here. Other clients send no `Origin`.
fn may_connect(server: &Server, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return true };
    let web = &server.config.web;
    let own = origin.split_once("://").is_some_and(|(_, host)| text(header::HOST) == Some(host));
    own || web.allows(origin)
}
