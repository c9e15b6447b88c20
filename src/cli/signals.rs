//! Handles SIGTERM and SIGINT in threads that do not need the runtime, so that the process ends in time even if the
//! runtime is blocked.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio_util::sync::CancellationToken;

/// Maximum time for writing the last line of the log. Writing blocks if the log is a full pipe.
const LOG_TIMEOUT: Duration = Duration::from_millis(500);

/// Returns a token that the first SIGTERM or SIGINT cancels. The process ends at the latest `limit` after the first
/// signal, and at once after a second signal.
pub(super) fn listen(limit: Duration) -> Result<CancellationToken> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("listening to signals")?;
    let stop = CancellationToken::new();
    let (start_clock, started) = mpsc::channel();
    let token = stop.clone();
    let wait = move || {
        for _ in &mut signals {
            if token.is_cancelled() {
                exit_process(|| tracing::warn!("second signal: exiting at once"));
            }
            // The time limit starts first, because cancelling the token runs code of the runtime.
            let _ = start_clock.send(());
            token.cancel();
        }
    };
    let expire = move || {
        if started.recv().is_ok() {
            thread::sleep(limit.saturating_sub(LOG_TIMEOUT));
            exit_process(move || tracing::error!(?limit, "the server did not stop in time: exiting at once"));
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).context("starting a thread")?;
    thread::Builder::new().name("deadline".to_owned()).spawn(expire).context("starting a thread")?;
    Ok(stop)
}

/// Ends the process with the exit code 1, after a line in the log. If the line cannot be written, or the process does
/// not end by itself, SIGKILL ends it.
pub(super) fn exit_process(write_log_line: impl FnOnce() + Send + 'static) -> ! {
    let exit = move || {
        write_log_line();
        std::process::exit(1);
    };
    if thread::Builder::new().spawn(exit).is_ok() {
        thread::sleep(LOG_TIMEOUT);
    }
    // SIGKILL needs no cooperation of this process.
    let _ = kill(Pid::this(), Signal::SIGKILL);
    std::process::abort()
}
