//! Sends notices in the background: bounded queues for each channel, a few senders, and retries until a deadline.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::notice::Outgoing;
use super::places::{Lane, Lanes, Places, QueueFull, pool};
use crate::address::ClientNetwork;
use crate::error;
use crate::fair::{Permit, Pool};
use crate::metrics::{NoticeChannel, NoticeMetrics};
use crate::random::Random;

/// Maximum time of one attempt.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time before the second attempt. It doubles with each further attempt.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum time between two attempts, unless the server asks for a longer one.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// Maximum numbers of notices of a queue that are sent at the same time. A notice that waits for its next attempt does
/// not count, so recipients that always fail do not delay others.
#[derive(Clone, Copy)]
pub(super) struct Capacity {
    senders: usize,
    /// Maximum number of senders that make a further attempt, so that first attempts always have some.
    retries: usize,
    /// Maximum number of senders for one e-mail domain or country code, so that one slow mail server does not delay all
    /// other notices.
    per_group: usize,
}

/// Capacity for codes, for which a user waits.
pub(super) const CODES: Capacity = Capacity { senders: 8, retries: 2, per_group: 6 };
/// Capacity for the notices of changes, for which nobody waits.
pub(super) const CHANGES: Capacity = Capacity { senders: 2, retries: 1, per_group: 1 };
/// Capacity for digests. There can be one for each user, so they do not share senders with notices of changes.
pub(super) const DIGESTS: Capacity = Capacity { senders: 2, retries: 1, per_group: 1 };

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

/// Notices of one channel that wait to be sent.
pub(super) struct Queue<O> {
    places: Places,
    senders: Arc<Senders<O>>,
}

/// The parts that the queues of a channel share.
#[derive(Clone)]
pub(super) struct Context {
    pub(super) channel: NoticeChannel,
    pub(super) metrics: NoticeMetrics,
    pub(super) random: Random,
    /// Cancelled at shutdown: each notice then has one last attempt.
    pub(super) closing: CancellationToken,
    pub(super) running: TaskTracker,
}

struct Senders<O> {
    outlet: Arc<O>,
    free: Pool<ClientNetwork>,
    retries: Pool<ClientNetwork>,
    lanes: Lanes,
    context: Context,
}

impl<O: Outlet> Queue<O> {
    pub(super) fn new(outlet: Arc<O>, capacity: Capacity, context: Context) -> Self {
        let (free, retries) = (pool(capacity.senders), pool(capacity.retries));
        let senders = Senders { outlet, free, retries, lanes: Lanes::new(capacity.per_group), context };
        Self { places: Places::default(), senders: Arc::new(senders) }
    }

    /// Queues the notice and returns at once.
    pub(super) fn send(&self, outgoing: Outgoing) -> Result<(), QueueFull> {
        let place = self.places.take(outgoing.network)?;
        let (senders, context) = (Arc::clone(&self.senders), &self.senders.context);
        let queued = context.metrics.queued(context.channel);
        let deadline = Instant::now() + outgoing.notice.deadline();
        context.running.spawn(async move {
            senders.deliver(&outgoing, deadline).await;
            drop((place, queued));
        });
        Ok(())
    }
}

impl<O: Outlet> Senders<O> {
    async fn deliver(&self, outgoing: &Outgoing, deadline: Instant) {
        let Context { metrics, channel, .. } = &self.context;
        let (recipient, purpose) = (outgoing.recipient.masked(), outgoing.notice.purpose());
        let sent = match self.outlet.prepare(outgoing) {
            Ok(prepared) => self.send_before(deadline, outgoing, &prepared).await,
            Err(reason) => Err(reason),
        };
        match sent {
            Ok(attempts) => {
                metrics.sent(*channel);
                debug!(%recipient, purpose, attempts, "sent a notice");
            }
            Err(reason) => {
                metrics.failed(*channel);
                warn!(%recipient, purpose, reason = outgoing.redact(&reason), "a notice was not sent");
            }
        }
    }

    /// Tries to send the notice until it succeeds. Returns the number of attempts, or why the last one failed.
    async fn send_before(&self, deadline: Instant, outgoing: &Outgoing, notice: &O::Prepared) -> Result<u32, String> {
        let Context { random, closing, .. } = &self.context;
        let lane = self.lanes.enter(outgoing.recipient.group());
        let mut attempts = 0;
        loop {
            let attempt = self.attempt(deadline, &lane, outgoing.network, attempts > 0, notice);
            let failure = match attempt.await {
                Ok(()) => return Ok(attempts + 1),
                Err(failure) => failure,
            };
            attempts += 1;
            let remaining = deadline.saturating_duration_since(Instant::now());
            let wait = random.jittered(backoff(attempts));
            let Some(wait) = wait_before_retry(failure.retry, wait, remaining) else { return Err(failure.reason) };
            if closing.is_cancelled() {
                return Err(failure.reason);
            }
            let (recipient, reason) = (outgoing.recipient.masked(), outgoing.redact(&failure.reason));
            warn!(%recipient, attempts, reason, after = ?wait, "a notice could not be sent; trying again");
            closing.run_until_cancelled(sleep(wait)).await;
        }
    }

    async fn attempt(
        &self,
        deadline: Instant,
        lane: &Lane,
        network: Option<ClientNetwork>,
        is_retry: bool,
        notice: &O::Prepared,
    ) -> Result<(), Failure> {
        let too_late = |reason: &str| Failure { reason: reason.to_owned(), retry: Retry::AfterBackoff };
        let Ok(_permits) = timeout_at(deadline, self.permits(lane, network, is_retry)).await else {
            return Err(too_late("all senders were busy until the deadline"));
        };
        let limit = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
        let answered = timeout_at(limit, self.outlet.attempt(notice)).await;
        answered.unwrap_or_else(|_| Err(too_late("the server did not answer in time")))
    }

    /// Waits for the permits of an attempt, which must be kept until it ends. The sender comes last, so that no sender
    /// is idle while its notice waits for another permit. At shutdown each notice has one last attempt, so further
    /// attempts are not limited then.
    async fn permits(
        &self,
        lane: &Lane,
        network: Option<ClientNetwork>,
        is_retry: bool,
    ) -> [Option<Permit<ClientNetwork>>; 3] {
        let mut retry = None;
        if is_retry {
            retry = self.context.closing.run_until_cancelled(self.retries.turn(network)).await;
        }
        let lane = lane.turn(network).await;
        [retry, Some(lane), Some(self.free.turn(network).await)]
    }
}

/// Returns the time after this number of failed attempts, without jitter.
fn backoff(attempts: u32) -> Duration {
    error::backoff(FIRST_BACKOFF, MAX_BACKOFF, attempts.saturating_sub(1))
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
    use crate::config::NOTICE_QUEUE;
    use crate::metrics::Metrics;
    use crate::notices::language::Language;
    use crate::notices::notice::{CodeUse, Notice, Recipient};

    const SECOND: Duration = Duration::from_secs(1);

    /// An outlet whose attempts end as planned. After these an attempt never ends.
    struct Planned {
        results: Mutex<Vec<Result<(), Failure>>>,
    }

    impl Outlet for Planned {
        type Prepared = ();

        fn prepare(&self, _: &Outgoing) -> Result<(), String> {
            Ok(())
        }

        async fn attempt(&self, (): &()) -> Result<(), Failure> {
            let next = self.results.lock().pop();
            match next {
                Some(result) => result,
                None => std::future::pending().await,
            }
        }
    }

    struct Sending {
        queue: Queue<Planned>,
        planned: Arc<Planned>,
        metrics: Metrics,
        closing: CancellationToken,
    }

    impl Sending {
        fn new(mut results: Vec<Result<(), Failure>>) -> Self {
            results.reverse();
            let planned = Arc::new(Planned { results: Mutex::new(results) });
            let (metrics, closing) = (Metrics::default(), CancellationToken::new());
            let context = Context {
                channel: NoticeChannel::Sms,
                metrics: metrics.notices(),
                random: Random::system(),
                closing: closing.clone(),
                running: TaskTracker::new(),
            };
            let queue = Queue::new(planned.clone(), CODES, context);
            Self { queue, planned, metrics, closing }
        }

        fn send(&self) -> Result<(), QueueFull> {
            self.send_to(Recipient::Phone("+491701234567".into()))
        }

        fn send_to(&self, recipient: Recipient) -> Result<(), QueueFull> {
            let notice = Notice::Code { code: "482913".into(), usage: CodeUse::Login, minutes: 10 };
            self.queue.send(Outgoing { recipient, notice, language: Language::default(), network: None })
        }

        async fn ended(&self) {
            let running = &self.queue.senders.context.running;
            running.close();
            tokio::time::timeout(SECOND * 10, running.wait()).await.unwrap();
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
        assert_eq!(sending.send(), Err(QueueFull::All));
    }

    /// Two senders are busy with further attempts that never end. First attempts still have six.
    #[tokio::test]
    async fn further_attempts_do_not_take_all_senders() {
        let sending = Sending::new((0..10).map(|_| Err(failure(Retry::AfterBackoff))).collect());
        let recipients = (0..10).map(|place| Recipient::Email(format!("ada@{place}.example.org")));
        for recipient in recipients {
            sending.send_to(recipient).unwrap();
        }
        let senders = &sending.queue.senders;
        let running = async |count: usize| {
            tokio::time::timeout(SECOND * 10, async {
                while senders.free.load().0 != count {
                    sleep(SECOND / 100).await;
                }
            })
            .await
            .unwrap();
        };
        running(2).await;
        assert_eq!(senders.retries.load().0, 2);
        // After a longer backoff than all others have had.
        sleep(SECOND * 2).await;
        assert_eq!((senders.free.load().0, senders.retries.load()), (2, (2, 8)));
        for place in 0..6 {
            sending.send_to(Recipient::Email(format!("bob@{place}.example.net"))).unwrap();
        }
        running(8).await;
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
