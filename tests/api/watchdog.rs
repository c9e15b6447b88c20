//! The watchdog reports a runtime that does not respond, and does not report a runtime that is only busy.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use parlance::watchdog;
use tokio::runtime::{Builder, Runtime};

const TIMEOUT: Duration = Duration::from_secs(2);

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_runtime_with_a_blocked_worker_is_reported() {
    let runtime = one_worker();
    let (silent, silence) = mpsc::channel();
    watchdog::watch(runtime.handle().clone(), TIMEOUT, move || silent.send(()).unwrap()).unwrap();
    let (unblock, blocked) = mpsc::channel::<()>();
    let begin = Instant::now();
    runtime.spawn(async move {
        let _ = blocked.recv();
    });
    silence.recv_timeout(10 * TIMEOUT).expect("the watchdog did not report");
    assert!(begin.elapsed() >= TIMEOUT / 2, "reported too early: {:?}", begin.elapsed());
    drop(unblock);
}

#[test]
fn a_busy_runtime_is_not_reported() {
    // Longer than TIMEOUT, because a loaded machine can stop the worker for seconds.
    let timeout = 3 * TIMEOUT;
    let runtime = one_worker();
    let (silent, silence) = mpsc::channel();
    watchdog::watch(runtime.handle().clone(), timeout, move || silent.send(()).unwrap()).unwrap();
    // This task keeps the worker busy until the runtime ends, but yields every 100 ms.
    runtime.spawn(async {
        loop {
            std::thread::sleep(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(silence.recv_timeout(timeout + TIMEOUT), Err(mpsc::RecvTimeoutError::Timeout));
    // The watchdog ends with the runtime, without a report.
    runtime.shutdown_background();
    assert_eq!(silence.recv_timeout(3 * timeout), Err(mpsc::RecvTimeoutError::Disconnected));
}
