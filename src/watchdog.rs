//! Detects a tokio runtime that no longer runs tasks, because all of its threads are blocked.
//!
//! Health checks are not enough: a plain process supervisor only restarts a process that ends. A process whose runtime
//! is blocked never ends by itself, so a thread outside the runtime has to end the process.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

/// Pause between a successful check of the runtime and the next check.
const PAUSE: Duration = Duration::from_secs(1);

/// Number of steps into which the timeout is divided. If the process is suspended for a while, by a signal or together
/// with its machine, only one step expires, so the runtime still has time to run the task when the process continues.
const STEPS: u32 = 10;

/// Starts a thread that repeatedly gives the runtime a small task. Calls `on_timeout` and ends if the runtime has not
/// run the task within `timeout`. The thread also ends when the runtime is shut down.
pub fn watch(runtime: Handle, timeout: Duration, on_timeout: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let watch = move || {
        loop {
            let (answer, answered) = mpsc::sync_channel(1);
            runtime.spawn(async move {
                // Sending fails only if the watchdog no longer waits.
                let _ = answer.send(());
            });
            match wait(&answered, timeout) {
                Ok(()) => thread::sleep(PAUSE.min(timeout)),
                Err(RecvTimeoutError::Timeout) => return on_timeout(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

fn wait(answered: &Receiver<()>, timeout: Duration) -> Result<(), RecvTimeoutError> {
    for _ in 1..STEPS {
        match answered.recv_timeout(timeout / STEPS) {
            Err(RecvTimeoutError::Timeout) => {}
            done => return done,
        }
    }
    answered.recv_timeout(timeout / STEPS)
}
