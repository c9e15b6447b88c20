//! The watchdog: a runtime that does not answer is noticed, and one that is merely busy is not.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use parlance::watchdog;
use tokio::runtime::{Builder, Runtime};

const TIMEOUT: Duration = Duration::from_secs(2);

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn a_runtime_whose_only_worker_is_blocked_is_noticed() {
    let runtime = one_worker();
    let (silent, silence) = mpsc::channel();
    watchdog::watch(runtime.handle().clone(), TIMEOUT, move || silent.send(()).unwrap()).unwrap();
    let (unblock, blocked) = mpsc::channel::<()>();
    let begin = Instant::now();
    runtime.spawn(async move {
        let _ = blocked.recv();
    });
    silence.recv_timeout(10 * TIMEOUT).expect("the watchdog calls");
    assert!(begin.elapsed() >= TIMEOUT / 2, "not before its time: {:?}", begin.elapsed());
    drop(unblock);
}

#[test]
fn a_runtime_that_is_busy_is_left_alone() {
    let runtime = one_worker();
    let (silent, silence) = mpsc::channel();
    watchdog::watch(runtime.handle().clone(), TIMEOUT, move || silent.send(()).unwrap()).unwrap();
    // A task that always has something to do, and yields.
    runtime.spawn(async {
        loop {
            std::thread::sleep(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(silence.recv_timeout(2 * TIMEOUT), Err(mpsc::RecvTimeoutError::Timeout));
    // The watchdog ends with the runtime, and says nothing.
    runtime.shutdown_background();
    assert_eq!(silence.recv_timeout(3 * TIMEOUT), Err(mpsc::RecvTimeoutError::Disconnected));
}
