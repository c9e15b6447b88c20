//! A WebSocket server that only broadcasts, as a baseline for the throughput of axum on this machine. The server has
//! the same allocator, socket options and buffers as Parlance, and flushes each frame separately.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Result;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use clap::Parser;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use super::stock::until_terminated;

/// Sizes of the buffers of a socket in bytes, as in Parlance's `http::socket`.
const READ_BUFFER: usize = 1024;
const WRITE_BUFFER: usize = 4096;
/// Maximum number of frames that a socket may lag behind. Larger than the number of frames in flight.
const QUEUE: usize = 1024;

#[derive(Debug, Parser)]
pub(super) struct Options {
    /// Size of a frame in bytes
    #[arg(long)]
    frame_bytes: usize,
}

struct Bare {
    frame_bytes: usize,
    /// Number of the newest message.
    number: Mutex<i32>,
    frames: broadcast::Sender<Utf8Bytes>,
}

pub(super) async fn serve(options: Options) -> Result<()> {
    let (frames, _) = broadcast::channel(QUEUE);
    let bare = Arc::new(Bare { frame_bytes: options.frame_bytes, number: Mutex::new(0), frames });
    let router = Router::new().route("/graphql", get(upgrade).post(send)).with_state(bare);
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?;
    println!("http://{}/graphql", listener.local_addr()?);
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    tokio::select! {
        ended = async { axum::serve(listener, router).await } => Ok(ended?),
        ended = until_terminated() => ended,
    }
}

/// Handles the request that sends a message, as Parlance does.
async fn send(State(bare): State<Arc<Bare>>, Json(request): Json<Value>) -> Json<Value> {
    let input = &request["variables"]["input"];
    // The lock is held while the frame is sent, so that the frames are in the order of their numbers.
    let mut number = bare.number.lock();
    *number += 1;
    // An error means that no socket is open.
    let _ = bare.frames.send(frame(*number, input, bare.frame_bytes).into());
    Json(json!({ "data": { "sendMessage": { "message": { "number": *number } } } }))
}

/// Creates a frame with the structure of Parlance's events, padded to `bytes` bytes.
fn frame(number: i32, input: &Value, bytes: usize) -> String {
    let (client_id, conversation) = (&input["clientId"], &input["conversationId"]);
    let head = format!(
        r#"{{"type":"next","id":"inbox","payload":{{"data":{{"inbox":{{"__typename":"MessageAdded","cursor":"{number}","message":{{"id":"{number}","number":{number},"clientId":{client_id},"conversation":{{"id":{conversation}}},"body":""#
    );
    let tail = r#""}}}}}"#;
    let padding = bytes.saturating_sub(head.len() + tail.len());
    head + &"x".repeat(padding) + tail
}

async fn upgrade(State(bare): State<Arc<Bare>>, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .protocols(["graphql-transport-ws"])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .on_upgrade(move |socket| async move {
            // An error means that the client has disconnected.
            let _ = broadcast(&bare, socket).await;
        })
}

async fn broadcast(bare: &Bare, mut socket: WebSocket) -> Result<()> {
    socket.recv().await;
    socket.send(Message::text(r#"{"type":"connection_ack"}"#)).await?;
    socket.recv().await;
    let mut frames = bare.frames.subscribe();
    let caught_up =
        r#"{"type":"next","id":"inbox","payload":{"data":{"inbox":{"__typename":"CaughtUp","cursor":"0"}}}}"#;
    socket.send(Message::text(caught_up)).await?;
    loop {
        tokio::select! {
            frame = frames.recv() => socket.send(Message::Text(frame?)).await?,
            message = socket.recv() => match message {
                Some(message) => drop(message?),
                None => return Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::frame;

    #[test]
    fn a_frame_has_the_requested_size() {
        let input = json!({ "clientId": "0-1-2-3", "conversationId": "cnv_1" });
        let frame = frame(12, &input, 400);
        assert_eq!(frame.len(), 400);
        let frame: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(frame["payload"]["data"]["inbox"]["message"]["conversation"]["id"], "cnv_1");
    }
}
