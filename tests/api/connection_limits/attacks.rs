//! Attacks with many slow connections on a node that runs in its own process.

use std::fs;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::raw::{FIN, Raw, TEXT, UPGRADE, frame, post_head, query};
use crate::support::{ALLOWANCE, NodeProcess, PASSWORD, TestDatabase, User, eventually, unique};

/// Maximum time that another user's `sendMessage` may take during an attack.
const SEND_BOUND: Duration = Duration::from_millis(500).saturating_add(ALLOWANCE);

/// Returns the resident memory of the node in KiB.
fn resident_kib(node: &NodeProcess) -> i64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// Returns the processor time that the node has used. Linux counts this time in hundredths of a second.
fn processor_time(node: &NodeProcess) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", node.pid())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(10 * ticks)
}

fn open_files(node: &NodeProcess) -> usize {
    fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count()
}

/// Lowers the limit on open files of the running node.
fn lower_file_limit(node: &NodeProcess, files: usize) {
    let (pid, limit) = (node.pid().to_string(), format!("--nofile={files}:{files}"));
    assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

async fn two_users(node: &NodeProcess) -> (User, String) {
    let name = |name: &str| format!("{name}_{}", &unique()[..8]);
    let ada = User::register(node.api(), &name("ada"), PASSWORD).await;
    let bob = User::register(node.api(), &name("bob"), PASSWORD).await;
    let conversation = ada.open_direct(&bob).await;
    (ada, conversation)
}

async fn assert_sends_are_quick(ada: &User, conversation: &str, count: usize) {
    for n in 0..count {
        let begin = Instant::now();
        ada.send(conversation, &format!("message {n}")).await;
        assert!(begin.elapsed() < SEND_BOUND, "message {n} took {:?}", begin.elapsed());
        // The pause spreads the messages over the time of the attack.
        sleep(Duration::from_millis(50)).await;
    }
}

/// Opens the connection with number `n` of an attack. Five kinds of connections alternate. Returns None if the server
/// refuses the connection.
async fn attack(n: usize, host: u8, node: &NodeProcess) -> Option<Raw> {
    let mut raw = Raw::try_from(host, node.address()).await.ok()?;
    let sent = match n % 5 {
        0 => true,
        1 => raw.try_send(format!("POST /graphql HTTP/1.1\r\nx: {}", "a".repeat(30_000))).await,
        2 => raw.try_send(post_head(1_000_000)).await && raw.try_send(vec![b' '; 999_999]).await,
        3 => raw.try_send(query()).await,
        _ => {
            raw.try_send([format!("{UPGRADE}\r\n").as_bytes(), &frame(TEXT, &vec![b' '; 60_000])].concat()).await
                && raw.try_send(frame(FIN | TEXT, &vec![b' '; 60_000])[..50_000].to_vec()).await
        }
    };
    sent.then_some(raw)
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_delay_neither_other_users_nor_the_shutdown() {
    const KIB_PER_MIB: i64 = 1024;
    // 8 MiB of bodies and messages, 25 MiB of buffers (64 KiB for each of 400 connections), and 40 MiB of unused memory
    // of the allocator.
    const MEMORY_BOUND_KIB: i64 = (8 + 25 + 40) * KIB_PER_MIB;
    let database = TestDatabase::new().await;
    let env = [
        ("RATE_LIMITS", "on"),
        ("MAX_CONNECTIONS_PER_ADDRESS", "100"),
        ("MAX_UNFINISHED_BYTES", "8388608"),
        ("MAX_UNFINISHED_BYTES_PER_ADDRESS", "2097152"),
        ("REQUEST_HEADER_TIMEOUT", "2"),
        ("DRAIN_DELAY", "1"),
        ("DRAIN_TIMEOUT", "6"),
    ];
    let mut node = NodeProcess::start_with(&database, 0, &env).await;
    let (ada, conversation) = two_users(&node).await;
    assert_sends_are_quick(&ada, &conversation, 10).await;
    let before = resident_kib(&node);

    let hosts = [2, 3, 4, 5];
    let wave = join_all(hosts.into_iter().flat_map(|host| (0..200).map(move |n| (n, host))).map(|(n, host)| {
        let node = &node;
        attack(n, host, node)
    }));
    let (held, ()) = tokio::join!(wave, assert_sends_are_quick(&ada, &conversation, 20));
    let grown = resident_kib(&node) - before;
    assert!(grown < MEMORY_BOUND_KIB, "the node grew by {grown} KiB");
    println!("the node grew by {grown} KiB during the attack");

    // Waits longer than the header timeout, which ends the connections without a request. Then a second attack begins.
    sleep(Duration::from_secs(4)).await;
    drop(held);
    let held = join_all((0..400).map(|n| attack(n, 6 + u8::try_from(n % 4).unwrap(), &node))).await;
    assert_sends_are_quick(&ada, &conversation, 5).await;
    let terminated = Instant::now();
    node.terminate();
    node.ended().await;
    let took = terminated.elapsed();
    assert!(took < Duration::from_secs(1 + 6 + 3), "the node took {took:?} to end");
    println!("the node ended in {took:?} during the attack");
    drop(held);
}

/// The test lowers the limit while the node runs, because the node checks the limit at its start.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_free_file_descriptors_serves_open_connections_and_recovers() {
    let database = TestDatabase::new().await;
    let env = [("DATABASE_POOL_SIZE", "2"), ("MAX_CONNECTIONS", "1000"), ("REQUEST_HEADER_TIMEOUT", "30")];
    let node = NodeProcess::start_with(&database, 0, &env).await;
    let (ada, conversation) = two_users(&node).await;
    let mut socket = Raw::open_socket(1, node.address(), Some(&ada.access_token)).await;
    assert_sends_are_quick(&ada, &conversation, 3).await;

    // The new limit allows three more connections.
    lower_file_limit(&node, open_files(&node) + 3);
    let mut crowd = Vec::new();
    for _ in 0..60 {
        crowd.push(Raw::try_from(2, node.address()).await);
    }
    // The measurement begins after the node has handled the new connections.
    sleep(Duration::from_secs(1)).await;
    let (begin, used) = (Instant::now(), processor_time(&node));
    sleep(Duration::from_secs(3)).await;
    let used = processor_time(&node).saturating_sub(used);
    assert!(used < begin.elapsed() / 4, "the node used {used:?} of the processor in {:?}", begin.elapsed());
    println!("the node used {used:?} in {:?}", begin.elapsed());
    // These requests use connections that were open before the limit was lowered.
    assert_sends_are_quick(&ada, &conversation, 5).await;
    socket.send(frame(FIN | TEXT, br#"{"type":"ping"}"#)).await;
    assert_eq!(socket.message().await.unwrap(), r#"{"type":"pong"}"#);

    drop(crowd);
    eventually("the node serves new connections", async || match Raw::try_from(3, node.address()).await {
        Ok(mut raw) => raw.try_send(query()).await && raw.head().await.starts_with("HTTP/1.1 200 "),
        Err(_) => false,
    })
    .await;
    let mut metrics = Raw::connect(node.address()).await;
    metrics.send("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let metrics = metrics.rest().await;
    let errors = metrics.lines().find_map(|line| line.strip_prefix("parlance_accept_errors_total ")).unwrap();
    println!("connections could not be accepted {errors} times");
    assert_ne!(errors, "0", "the node had files left");
}
