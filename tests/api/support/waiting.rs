//! Waiting with a deadline. A test that waits longer fails, and says where and for what it waited.

use std::panic::Location;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::PATIENCE;

/// Pause between two checks of a condition.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Returns the result of `work`. Fails if it takes longer than `limit`.
#[track_caller]
pub fn within<T>(limit: Duration, what: &str, work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move { timeout(limit, work).await.unwrap_or_else(|_| panic!("not within {limit:?}, at {caller}: {what}")) }
}

/// Checks a condition every 5 ms until it holds. Fails after `PATIENCE`.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    within(PATIENCE, what, async move {
        while !holds().await {
            sleep(POLL_INTERVAL).await;
        }
    })
}

/// Searches every 5 ms until `find` returns a value. Fails after `PATIENCE`.
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
