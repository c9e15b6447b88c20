//! GraphQL over WebSocket: the graphql-transport-ws protocol, by a loop of our own.
//!
//! Source: PROTOCOL.md of the npm package graphql-ws.

mod protocol;
mod session;

use std::net::SocketAddr;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Server;
use protocol::Close;
use session::Session;

const SUBPROTOCOL: &str = "graphql-transport-ws";
/// tungstenite clears its whole read buffer at every read: a small one saves a quarter of the processor's time.
const READ_BUFFER: usize = 1024;
const WRITE_BUFFER: usize = 4096;
/// What a client may leave unread before its session waits for it.
const MAX_WRITE_BUFFER: usize = 1 << 20;

pub(super) fn upgrade(server: Server, upgrade: WebSocketUpgrade, headers: HeaderMap, peer: SocketAddr) -> Response {
    if server.drain.has_begun() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    let max_message = server.config.socket.socket_max_message_bytes;
    upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER + max_message)
        .max_message_size(max_message)
        .max_frame_size(max_message)
        .on_upgrade(move |socket| async move {
            let drain = server.drain.clone();
            if socket.protocol().is_some_and(|protocol| protocol == SUBPROTOCOL) {
                drain.track(Session::run(server, socket, headers, peer)).await;
            } else {
                close(socket, Close::SUBPROTOCOL_NOT_ACCEPTABLE).await;
            }
        })
}

async fn close(mut socket: WebSocket, close: Close) {
    let frame = CloseFrame { code: close.code, reason: close.reason.into_owned().into() };
    // The client may be gone already; then there is nobody to tell.
    let _ = socket.send(Message::Close(Some(frame))).await;
}
