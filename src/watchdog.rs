//! Detects a runtime that no longer answers, because all of its threads are blocked.
//!
//! Health checks are not enough: a plain process supervisor only restarts a process that ends. A process whose runtime
//! is blocked never ends by itself, so a thread outside of the runtime has to end it.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

/// The pause between an answer and the next question.
const PAUSE: Duration = Duration::from_secs(1);

/// Number of steps that the timeout is divided into. A process that was stopped for a while, by a signal or with its
/// machine, loses one step by that, so that the runtime has time to answer when the process continues.
const STEPS: u32 = 10;

/// Starts a thread that asks the runtime repeatedly to run a task. Calls `on_timeout` if the runtime has not done so
/// within `timeout`. The thread ends with the runtime.
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
