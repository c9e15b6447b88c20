//! GraphQL over WebSocket: graphql-transport-ws and the older graphql-ws, by a loop of our own.

#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod operations;
mod outlet;
mod protocol;
mod session;
mod token_bucket;

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::Server;
use protocol::{Close, Protocol};
use session::Session;

/// How long a client may take to answer a close.
const FAREWELL: Duration = Duration::from_secs(1);
/// tungstenite clears its whole read buffer at every read: a small one saves a quarter of the processor's time.
const READ_BUFFER: usize = 1024;
/// What is written together; a larger frame goes through all the same, and the session waits for its client.
const WRITE_BUFFER: usize = 4096;

pub(super) fn upgrade(server: Server, upgrade: WebSocketUpgrade, headers: HeaderMap, peer: SocketAddr) -> Response {
    if server.drain.has_begun() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    if !may_connect(&server, &headers) {
        return (StatusCode::FORBIDDEN, "pages of this origin may not connect\n").into_response();
    }
    let max_message = server.config.socket.socket_max_message_bytes;
    upgrade
        .protocols(Protocol::NAMES)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_message_size(max_message)
        .max_frame_size(max_message)
        .on_upgrade(move |socket| async move {
            let drain = server.drain.clone();
            match socket.protocol().and_then(|name| Protocol::of(name.to_str().ok()?)) {
                Some(protocol) => {
                    let _tracked = drain.track();
                    Session::run(server, socket, protocol, headers, peer).await;
                }
                None => close(socket, Close::SUBPROTOCOL_NOT_ACCEPTABLE).await,
            }
        })
}

/// Browsers ask nobody before they open a socket, so that the list of origins is looked at here. Whatever is no
/// browser sends no Origin.
fn may_connect(server: &Server, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(origin) = text(header::ORIGIN) else { return true };
    let web = &server.config.web;
    let own = origin.split_once("://").is_some_and(|(_, host)| text(header::HOST) == Some(host));
    own || web.allows(origin)
}

/// Tells the client why, and waits a moment for its own close: a connection that is reset with unread input
/// takes the code with it.
async fn close(mut socket: WebSocket, close: Close) {
    let frame = CloseFrame { code: close.code, reason: close.reason.into_owned().into() };
    // Whoever does not take it is cut off.
    if let Ok(Ok(())) = timeout(FAREWELL, socket.send(Message::Close(Some(frame)))).await {
        part(socket).await;
    }
}

/// Reads to the end of a connection that one side has closed, which also answers a client's close.
async fn part(mut socket: WebSocket) {
    let farewell = async { while let Some(Ok(_)) = socket.recv().await {} };
    // Whoever does not answer is cut off.
    let _ = timeout(FAREWELL, farewell).await;
}
