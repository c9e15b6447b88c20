//! Incomplete request bodies, and the memory that they occupy.

use std::iter::repeat_with;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::raw::{Raw, post_head, query};
use crate::support::{Node, eventually};

const KIB: usize = 1024;

#[tokio::test]
async fn a_slow_body_is_answered_with_408() {
    let node = Node::build().flag("--request-body-timeout=2").flag("--request-read-timeout=30").start_alone().await;
    let mut raw = Raw::connect(node.address).await;
    raw.send(post_head(1000)).await;
    let (after, answer) = raw.ends_while_sending(repeat_with(|| b" ".to_vec())).await;
    assert!((Duration::from_secs(1)..Duration::from_secs(10)).contains(&after), "it ended after {after:?}");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("BAD_USER_INPUT"), "{answer}");
}

#[tokio::test]
async fn a_stalled_body_is_answered_with_408() {
    let node = Node::build().flag("--request-read-timeout=1").start_alone().await;
    let mut raw = Raw::connect(node.address).await;
    raw.send(post_head(1000) + "{").await;
    let (after, answer) = raw.ends().await;
    assert!(after < Duration::from_secs(10), "it ended after {after:?}");
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

/// Sends only the first `kib` KiB of a body, and returns the open connection.
async fn hold(host: u8, node: &Node, kib: usize) -> Raw {
    let mut raw = Raw::from(host, node.address).await;
    raw.send(post_head(1000 * KIB)).await;
    raw.send(vec![b' '; kib * KIB]).await;
    raw
}

#[tokio::test]
async fn unfinished_bodies_hold_no_more_memory_than_the_settings_allow() {
    let flags = ["--max-unfinished-bytes=1048576", "--max-unfinished-bytes-per-address=524288"];
    let node = Node::build().flags(&flags).limited().start_alone().await;
    let held = join_all([hold(2, &node, 400), hold(3, &node, 400)]).await;
    eventually("both bodies are read", async || node.metric("parlance_unfinished_bytes").await >= 800 * KIB as u64)
        .await;

    // This body exceeds the share of the address.
    let answer = hold(2, &node, 200).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("UNAVAILABLE"), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    // This body exceeds the memory that the node has left for all addresses.
    let answer = hold(4, &node, 400).await.rest().await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    // A body that arrives completely with the request needs no reserved memory.
    for host in [2, 4] {
        let mut raw = Raw::from(host, node.address).await;
        raw.send(query()).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
    }
    drop(held);
    eventually("the memory is released", async || node.metric("parlance_unfinished_bytes").await == 0).await;
    assert!(node.metric("parlance_unfinished_refused_total").await >= 2);
}

#[tokio::test]
async fn a_body_sent_in_several_chunks_is_read_completely() {
    let node = Node::start().await;
    let body = json!({"query": "{ serverInfo { version } }", "variables": {"x": "y".repeat(300 * KIB)}}).to_string();
    let mut raw = Raw::connect(node.address).await;
    raw.send(post_head(body.len())).await;
    for piece in body.as_bytes().chunks(50_000) {
        raw.send(piece).await;
        // The pause makes the chunks arrive separately.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(raw.head().await.starts_with("HTTP/1.1 200 "));
}
