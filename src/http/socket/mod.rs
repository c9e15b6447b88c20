//! GraphQL over WebSocket, with the subprotocols graphql-transport-ws and the older graphql-ws.

mod frames;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod keep_alive;
mod message;
mod operations;
mod outlet;
mod protocol;
mod session;
mod token_bucket;
mod upgrade;

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::timeout;
use tungstenite::Message;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};

use super::connection_limit::Permit;
use super::connections::Forwarded;
use super::{Server, refusal};
use crate::address::{ClientAddress, ClientNetwork};
use crate::metrics::Refusal;
use message::MessageLimits;
use protocol::Close;
use session::Session;
use upgrade::WebSocket;
pub(super) use upgrade::{NoUpgrade, Upgrade};

/// Time limit for a client to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of tungstenite's read buffer. tungstenite clears the whole buffer at every read, so a small one saves a
/// quarter of the processor time.
const READ_BUFFER: usize = 1024;
/// Bytes of frames that are collected before they are written. A larger frame is written at once, and the session waits
/// for its client.
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
                Session::run(server, socket, protocol, headers, origin).await;
            }
            None => close(socket, Close::SUBPROTOCOL_NOT_ACCEPTABLE).await,
        }
    });
    response
}

/// The address of a socket's client, with the places that the socket takes among those of that address.
struct Origin {
    address: ClientAddress,
    /// Only a socket that a trusted proxy forwards has one.
    forwarded: Option<Forwarded>,
    /// Dropped when a user signs in.
    anonymous: Option<Permit<ClientNetwork>>,
}

impl Origin {
    fn admit(
        server: &Server,
        headers: &HeaderMap,
        peer: SocketAddr,
        forwarded: Option<Forwarded>,
    ) -> Result<Self, Refusal> {
        let connections = &server.connections;
        let address = connections.client_address(headers, peer);
        let anonymous = connections.admit_anonymous(connections.network(address))?;
        Ok(Self { address, forwarded, anonymous })
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

/// Sends the code and reason, and waits a moment for the client's own close. If the connection were closed with unread
/// input, it would be reset, and the client would not get the code.
async fn close(mut socket: WebSocket, close: Close) {
    let frame = CloseFrame { code: close.code.into(), reason: close.reason.into_owned().into() };
    // A client that does not read the close is disconnected.
    if let Ok(Ok(())) = timeout(FAREWELL, socket.send(Message::Close(Some(frame)))).await {
        part(socket).await;
    }
}

/// Reads to the end of a connection that one side has closed. This also answers a client's close.
async fn part(mut socket: WebSocket) {
    let farewell = async { while let Some(Ok(_)) = socket.next().await {} };
    // A client that does not answer is disconnected.
    let _ = timeout(FAREWELL, farewell).await;
}
