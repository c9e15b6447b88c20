//! The shutdown of a process whose runtime is frozen, and the watchdog.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{ALLOWANCE, NodeProcess, PASSWORD, PATIENCE, TestDatabase, User, within};

/// Starts a node and freezes its runtime. The node writes its log to a pipe that the test does not read. When the pipe
/// is full, each thread that writes a log line blocks.
async fn frozen(settings: &[(&'static str, &'static str)]) -> NodeProcess {
    let database = TestDatabase::new().await;
    // Logs each request. A node that logs more than that may fill the pipe before it is ready.
    let mut all = vec![("LOG_LEVEL", "warn,tower_http=trace"), ("DRAIN_DELAY", "1"), ("DRAIN_TIMEOUT", "3")];
    all.extend(settings);
    let node = NodeProcess::start_with(&database, 0, &all).await;
    let api = node.api();
    // Sends requests until the node no longer answers. The node stays frozen, because the test does not read the pipe.
    let freeze = async {
        let answers = async || {
            let call = api.try_call(None, "{ serverInfo { version } }", json!({}));
            matches!(tokio::time::timeout(Duration::from_secs(5), call).await, Ok(Ok(_)))
        };
        while answers().await {}
    };
    within(PATIENCE, "the runtime freezes", freeze).await;
    let probe = reqwest::Client::new().get(api.url.replace("graphql", "health/live")).send();
    // The probe fails if the watchdog has already ended the process.
    let answer = tokio::time::timeout(Duration::from_secs(1), probe).await;
    assert!(!matches!(answer, Ok(Ok(_))), "the runtime is not frozen");
    node
}

#[tokio::test]
async fn sigterm_ends_a_process_whose_runtime_is_frozen() {
    let mut node = frozen(&[("WATCHDOG_TIMEOUT", "0")]).await;
    let begin = Instant::now();
    node.terminate();
    let status = node.ended().await;
    assert!(!status.success());
    // The limit is DRAIN_DELAY plus DRAIN_TIMEOUT, and 5 seconds for notices that wait.
    assert!(begin.elapsed() < Duration::from_secs(1 + 3 + 5) + ALLOWANCE, "{:?}", begin.elapsed());
    assert!(begin.elapsed() > Duration::from_secs(1 + 3 + 5 - 1), "ended too early: {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_second_signal_ends_a_frozen_process_at_once() {
    let mut node = frozen(&[("WATCHDOG_TIMEOUT", "0"), ("DRAIN_TIMEOUT", "60")]).await;
    node.terminate();
    // Two signals that arrive at the same time count as one. The test cannot observe when a frozen process has handled
    // a signal, so it waits before each further signal.
    let pause = Duration::from_millis(500);
    tokio::time::sleep(pause).await;
    let begin = Instant::now();
    let status = loop {
        node.terminate();
        if let Ok(status) = tokio::time::timeout(pause, node.ended()).await {
            break status;
        }
    };
    assert!(!status.success());
    assert!(begin.elapsed() < Duration::from_secs(3) + ALLOWANCE, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn the_watchdog_ends_a_process_whose_runtime_is_frozen() {
    let begin = Instant::now();
    let mut node = frozen(&[("WATCHDOG_TIMEOUT", "5")]).await;
    let status = node.ended().await;
    assert!(status.code() == Some(1) || status.signal() == Some(9), "{status}");
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
}

/// A process may be stopped by a debugger, or because its machine is suspended. The watchdog must not count this time.
#[tokio::test]
async fn the_watchdog_does_not_end_a_process_that_was_stopped_for_a_while() {
    let database = TestDatabase::new().await;
    let node = NodeProcess::start_with(&database, 0, &[("WATCHDOG_TIMEOUT", "2")]).await;
    let ada = User::register(node.api(), "ada", PASSWORD).await;
    for _ in 0..2 {
        node.pause();
        tokio::time::sleep(Duration::from_secs(4)).await;
        node.resume();
        // Waits longer than WATCHDOG_TIMEOUT.
        tokio::time::sleep(Duration::from_secs(3)).await;
        ada.query("{ viewer { id } }", json!({})).await;
    }
}
