//! Notices a runtime that has stopped answering: one whose threads are all blocked.
//!
//! Health checks do not help there: an orchestrator may wait for long, and a plain process supervisor never asks. Such a
//! process can do nothing by itself, so that a thread of its own has to end it.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;

/// Between an answer and the next question.
const INTERVAL: Duration = Duration::from_secs(1);

/// The timeout is waited for in as many parts. A process that was stopped for a while, by a signal or with its machine,
/// loses one part by that, and is not taken for one that does not answer.
const PARTS: u32 = 10;

/// Asks the runtime again and again, from a thread of its own, to run a task. Calls `on_silence` once it has not done so for
/// `timeout`. Ends with the runtime.
pub fn watch(runtime: Handle, timeout: Duration, on_silence: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let watch = move || {
        loop {
            let (answer, answered) = mpsc::sync_channel(1);
            runtime.spawn(async move {
                // It fails only where the question is too old to matter.
                let _ = answer.send(());
            });
            match wait(&answered, timeout) {
                Ok(()) => thread::sleep(INTERVAL.min(timeout)),
                Err(RecvTimeoutError::Timeout) => return on_silence(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    thread::Builder::new().name("watchdog".to_owned()).spawn(watch).map(drop)
}

fn wait(answered: &Receiver<()>, timeout: Duration) -> Result<(), RecvTimeoutError> {
    for _ in 1..PARTS {
        match answered.recv_timeout(timeout / PARTS) {
            Err(RecvTimeoutError::Timeout) => {}
            done => return done,
        }
    }
    answered.recv_timeout(timeout / PARTS)
}
