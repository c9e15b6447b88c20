//! Sends notices in the background: a bounded queue for each channel, a few senders, and retries until a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::notice::Outgoing;
use crate::config::NOTICE_QUEUE;
use crate::metrics::{NoticeChannel, NoticeMetrics};
use crate::random::Random;

/// Maximum number of notices of a channel that are sent at the same time. A notice that waits for its next attempt does
/// not count, so recipients that always fail do not delay others.
const SENDERS: usize = 8;
/// Maximum time of one attempt.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time before the second attempt. It doubles with each further attempt.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum time between two attempts, unless the server asks for a longer one.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The queue of a channel has NOTICE_QUEUE notices, so this notice is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{NOTICE_QUEUE} notices wait to be sent")]
pub struct QueueFull;

/// Sends notices by one kind of server.
pub(super) trait Outlet: Send + Sync + 'static {
    /// A notice in the form in which it is sent. Each attempt sends the same one.
    type Prepared: Send + Sync + 'static;

    /// Writes the notice. The error says why this notice can never be sent.
    fn prepare(&self, outgoing: &Outgoing) -> Result<Self::Prepared, String>;

    /// Tries to send the notice once.
    fn attempt(&self, prepared: &Self::Prepared) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Reason why an attempt failed, and whether another one may succeed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) retry: Retry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Retry {
    Never,
    AfterBackoff,
    /// The server asked for this time before the next attempt.
    After(Duration),
}

/// The notices of one channel that wait to be sent.
pub(super) struct Queue<O> {
    places: Arc<Semaphore>,
    senders: Arc<Senders<O>>,
    running: TaskTracker,
}

struct Senders<O> {
    outlet: O,
    free: Semaphore,
    random: Random,
    metrics: NoticeMetrics,
    channel: NoticeChannel,
    /// Cancelled at shutdown: each notice then has one last attempt.
    closing: CancellationToken,
}

impl<O: Outlet> Queue<O> {
    pub(super) fn new(
        outlet: O,
        channel: NoticeChannel,
        metrics: NoticeMetrics,
        random: Random,
        closing: CancellationToken,
        running: TaskTracker,
    ) -> Self {
        let free = Semaphore::new(SENDERS);
        let senders = Arc::new(Senders { outlet, free, random, metrics, channel, closing });
        Self { places: Arc::new(Semaphore::new(NOTICE_QUEUE)), senders, running }
    }

    /// Queues the notice and returns at once.
    pub(super) fn send(&self, outgoing: Outgoing) -> Result<(), QueueFull> {
        let place = self.places.clone().try_acquire_owned().map_err(|_| QueueFull)?;
        let senders = self.senders.clone();
        let queued = senders.metrics.queued(senders.channel);
        let deadline = Instant::now() + outgoing.notice.deadline();
        self.running.spawn(async move {
            senders.deliver(&outgoing, deadline).await;
            drop((place, queued));
        });
        Ok(())
    }
}

impl<O: Outlet> Senders<O> {
    async fn deliver(&self, outgoing: &Outgoing, deadline: Instant) {
        let (recipient, purpose) = (outgoing.recipient.masked(), outgoing.notice.purpose());
        let sent = match self.outlet.prepare(outgoing) {
            Ok(prepared) => self.send_before(deadline, outgoing, &prepared).await,
            Err(reason) => Err(reason),
        };
        match sent {
            Ok(attempts) => {
                self.metrics.sent(self.channel);
                debug!(%recipient, purpose, attempts, "sent a notice");
            }
            Err(reason) => {
                self.metrics.failed(self.channel);
                warn!(%recipient, purpose, reason = outgoing.redact(&reason), "a notice was not sent");
            }
        }
    }

    /// Tries to send the notice until it succeeds. Returns the number of attempts, or why the last one failed.
    async fn send_before(&self, deadline: Instant, outgoing: &Outgoing, notice: &O::Prepared) -> Result<u32, String> {
        let mut attempts = 0;
        loop {
            let failure = match self.attempt(deadline, notice).await {
                Ok(()) => return Ok(attempts + 1),
                Err(failure) => failure,
            };
            attempts += 1;
            let remaining = deadline.saturating_duration_since(Instant::now());
            let wait = self.random.jittered(backoff(attempts));
            let Some(wait) = wait_before_retry(failure.retry, wait, remaining) else { return Err(failure.reason) };
            if self.closing.is_cancelled() {
                return Err(failure.reason);
            }
            let (recipient, reason) = (outgoing.recipient.masked(), outgoing.redact(&failure.reason));
            warn!(%recipient, attempts, reason, after = ?wait, "a notice could not be sent; trying again");
            self.closing.run_until_cancelled(sleep(wait)).await;
        }
    }

    async fn attempt(&self, deadline: Instant, notice: &O::Prepared) -> Result<(), Failure> {
        let late = |reason: &str| Failure { reason: reason.to_owned(), retry: Retry::AfterBackoff };
        let Ok(Ok(_sender)) = timeout_at(deadline, self.free.acquire()).await else {
            return Err(late("all senders were busy until the deadline"));
        };
        let limit = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
        let answered = timeout_at(limit, self.outlet.attempt(notice)).await;
        answered.unwrap_or_else(|_| Err(late("the server did not answer in time")))
    }
}

/// Returns the time after this number of failed attempts, without jitter.
fn backoff(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(10);
    (FIRST_BACKOFF * 2_u32.pow(doublings)).min(MAX_BACKOFF)
}

/// Returns the time until the next attempt. None if the failure is permanent, or if the next attempt would be after the
/// deadline.
fn wait_before_retry(retry: Retry, backoff: Duration, remaining: Duration) -> Option<Duration> {
    let wait = match retry {
        Retry::Never => return None,
        Retry::AfterBackoff => backoff,
        Retry::After(asked) => backoff.max(asked),
    };
    (wait < remaining).then_some(wait)
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;
    use crate::metrics::Metrics;
    use crate::notices::language::Language;
    use crate::notices::notice::{CodeUse, Notice, Recipient};

    const SECOND: Duration = Duration::from_secs(1);

    /// An outlet whose attempts end as planned. After these an attempt never ends.
    struct Planned {
        results: Mutex<Vec<Result<(), Failure>>>,
    }

    impl Outlet for Arc<Planned> {
        type Prepared = ();

        fn prepare(&self, _: &Outgoing) -> Result<(), String> {
            Ok(())
        }

        async fn attempt(&self, _: &()) -> Result<(), Failure> {
            let next = self.results.lock().pop();
            match next {
                Some(result) => result,
                None => std::future::pending().await,
            }
        }
    }

    struct Sending {
        queue: Queue<Arc<Planned>>,
        planned: Arc<Planned>,
        metrics: Metrics,
        closing: CancellationToken,
    }

    impl Sending {
        fn new(mut results: Vec<Result<(), Failure>>) -> Self {
            results.reverse();
            let planned = Arc::new(Planned { results: Mutex::new(results) });
            let (metrics, closing) = (Metrics::default(), CancellationToken::new());
            let (notices, random) = (metrics.notices(), Random::system());
            let running = TaskTracker::new();
            let queue = Queue::new(planned.clone(), NoticeChannel::Sms, notices, random, closing.clone(), running);
            Self { queue, planned, metrics, closing }
        }

        fn send(&self) -> Result<(), QueueFull> {
            let notice = Notice::Code { code: "482913".into(), usage: CodeUse::Login, minutes: 10 };
            let recipient = Recipient::Phone("+491701234567".into());
            self.queue.send(Outgoing { recipient, notice, language: Language::default() })
        }

        async fn ended(&self) {
            self.queue.running.close();
            tokio::time::timeout(SECOND * 10, self.queue.running.wait()).await.unwrap();
        }

        fn assert_metric(&self, series: &str) {
            let text = self.metrics.text();
            assert!(text.lines().any(|line| line == series), "no {series} in\n{text}");
        }
    }

    fn failure(retry: Retry) -> Failure {
        Failure { reason: "refused".into(), retry }
    }

    #[tokio::test]
    async fn a_notice_is_sent_again_after_a_temporary_failure() {
        let sending = Sending::new(vec![Err(failure(Retry::AfterBackoff)), Ok(())]);
        sending.send().unwrap();
        sending.assert_metric(r#"parlance_notices_queued{channel="sms"} 1"#);
        sending.ended().await;
        sending.assert_metric(r#"parlance_notices_total{channel="sms",outcome="sent"} 1"#);
        sending.assert_metric(r#"parlance_notices_queued{channel="sms"} 0"#);
    }

    #[tokio::test]
    async fn a_refused_notice_is_not_sent_again() {
        let sending = Sending::new(vec![Err(failure(Retry::Never)), Ok(())]);
        sending.send().unwrap();
        sending.ended().await;
        sending.assert_metric(r#"parlance_notices_total{channel="sms",outcome="failed"} 1"#);
        assert_eq!(sending.planned.results.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_waiting_notice_has_one_last_attempt_at_shutdown() {
        let later = Retry::After(SECOND * 100);
        let sending = Sending::new(vec![Err(failure(later)), Err(failure(later)), Ok(())]);
        sending.send().unwrap();
        tokio::time::timeout(SECOND * 10, async {
            while sending.planned.results.lock().len() == 3 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        sending.closing.cancel();
        sending.ended().await;
        assert_eq!(sending.planned.results.lock().len(), 1);
        sending.assert_metric(r#"parlance_notices_total{channel="sms",outcome="failed"} 1"#);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_further_notices() {
        let sending = Sending::new(Vec::new());
        for _ in 0..NOTICE_QUEUE {
            sending.send().unwrap();
        }
        assert_eq!(sending.send(), Err(QueueFull));
    }

    #[test]
    fn the_backoff_doubles_up_to_its_maximum() {
        let waits = [1, 2, 3, 5, 6, 7, u32::MAX].map(|attempts| backoff(attempts).as_secs());
        assert_eq!(waits, [1, 2, 4, 16, 30, 30, 30]);
    }

    #[test]
    fn the_next_attempt_is_before_the_deadline_and_not_before_the_time_that_the_server_asks_for() {
        let wait = |retry, remaining: u32| wait_before_retry(retry, SECOND * 4, SECOND * remaining);
        assert_eq!(wait(Retry::Never, 100), None);
        assert_eq!(wait(Retry::AfterBackoff, 100), Some(SECOND * 4));
        assert_eq!(wait(Retry::AfterBackoff, 4), None);
        assert_eq!(wait(Retry::After(SECOND * 20), 100), Some(SECOND * 20));
        assert_eq!(wait(Retry::After(SECOND), 100), Some(SECOND * 4));
        assert_eq!(wait(Retry::After(SECOND * 200), 100), None);
    }
}
