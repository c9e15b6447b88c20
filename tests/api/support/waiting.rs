//! Functions that wait with a time limit. When the limit is exceeded, the test fails with the place in the code and the
//! awaited condition.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::PATIENCE;

/// Pause between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Awaits `work` and returns its result. Panics if this takes longer than `limit`.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move { timeout(limit, work).await.unwrap_or_else(|_| panic!("not within {limit:?}, at {caller}: {what}")) }
}

/// Checks a condition every 5 ms until it is true. Panics after `PATIENCE`.
#[track_caller]
pub fn eventually(what: &str, holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    eventually_within(PATIENCE, what, holds)
}

/// Like `eventually`, with another limit.
#[track_caller]
pub fn eventually_within(
    limit: Duration,
    what: &str,
    mut holds: impl AsyncFnMut() -> bool,
) -> impl Future<Output = ()> {
    within(limit, what, async move {
        while !holds().await {
            sleep(POLL_INTERVAL).await;
        }
    })
}

/// Calls `find` every 5 ms until it returns a value, and returns this value. Panics after `PATIENCE`.
#[track_caller]
pub fn eventually_some<T>(what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    within(PATIENCE, what, async move {
        loop {
            if let Some(found) = find().await {
                return found;
            }
            sleep(POLL_INTERVAL).await;
        }
    })
}
