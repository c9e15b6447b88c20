//! How long tasks keep a thread of the runtime. A poll that takes long holds up every other task of its thread.
//!
//! Each node here has a runtime of its own. The runtime reports when a thread wakes and when it parks; between the two
//! the thread polls tasks. The processor time between them is therefore an upper bound for the longest poll, and work of
//! other processes does not count.

mod costliest;
mod tour;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Node, NodeBuilder};

/// The longest that a thread may be busy in a tour of all operations.
const TOUR_BOUND: Duration = Duration::from_millis(10);
/// The longest with the costliest documents and the largest requests that are allowed.
const COSTLIEST_BOUND: Duration = Duration::from_millis(50);
/// Time that a node has to finish what an operation leaves to be done.
const AFTERMATH: Duration = Duration::from_millis(30);

/// The longest time that a thread of a runtime was busy, and what the runtime did then.
#[derive(Default)]
struct Meter {
    longest: Arc<AtomicU64>,
    seen: Vec<(Duration, String)>,
}

thread_local! {
    /// Processor time of this thread when it woke.
    static WOKEN: Cell<Option<Duration>> = const { Cell::new(None) };
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

impl Meter {
    fn runtime(&self) -> Runtime {
        let longest = Arc::clone(&self.longest);
        Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(|| WOKEN.set(Some(processor_time())))
            .on_thread_unpark(|| WOKEN.set(Some(processor_time())))
            .on_thread_park(move || {
                if let Some(woken) = WOKEN.take() {
                    let busy = processor_time().saturating_sub(woken);
                    longest.fetch_max(busy.as_micros().try_into().unwrap(), Ordering::SeqCst);
                }
            })
            .build()
            .unwrap()
    }

    /// Remembers the longest time while `work` runs on another runtime.
    async fn measure<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        self.longest.store(0, Ordering::SeqCst);
        let done = work.await;
        tokio::time::sleep(AFTERMATH).await;
        let longest = Duration::from_micros(self.longest.load(Ordering::SeqCst));
        assert!(longest > Duration::ZERO, "{what} took no time: does the meter work?");
        self.seen.push((longest, what.to_owned()));
        done
    }

    /// Fails if anything took longer, and lists all of it.
    #[track_caller]
    fn assert_below(mut self, bound: Duration) {
        self.seen.sort_unstable_by(|one, other| other.cmp(one));
        let list: Vec<_> = self.seen.iter().map(|(longest, what)| format!("{longest:>10.1?} {what}")).collect();
        println!("{}", list.join("\n"));
        let longest = self.seen.first().unwrap();
        assert!(longest.0 < bound, "{} of {:?}:\n{}", longest.1, longest.0, list.join("\n"));
    }
}

/// A node on a runtime of its own.
struct Measured {
    // First, so that nothing of the node is left on the runtime when it ends.
    node: Arc<Node>,
    runtime: Runtime,
}

impl Measured {
    fn start(meter: &Meter, builder: NodeBuilder) -> Self {
        let runtime = meter.runtime();
        let node = Arc::new(runtime.block_on(builder.start_alone()));
        Self { node, runtime }
    }

    fn end(self) {
        drop(self.node);
        self.runtime.shutdown_background();
    }
}

/// Runs the clients of a test, on a runtime that is not measured.
fn clients<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A node whose runtime has a single thread, with a task on it that yields again and again. The processor time between
/// two of its turns is how long it was held up: the polls of the tasks that were ready in between. It is more exact than
/// the meter for a task that yields by itself, and keeps a processor busy.
struct Probed {
    node: Node,
    runtime: Runtime,
    longest: Arc<AtomicU64>,
}

impl Probed {
    fn start(builder: NodeBuilder) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let node = runtime.block_on(builder.start_alone());
        Self { node, runtime, longest: Arc::default() }
    }

    /// The longest time that the probe was held up while `work` ran on another runtime.
    async fn measure<T>(&self, what: &str, seen: &mut Meter, work: impl Future<Output = T>) -> T {
        let longest = Arc::clone(&self.longest);
        longest.store(0, Ordering::SeqCst);
        let probe = self.runtime.spawn(async move {
            let mut before = processor_time();
            loop {
                tokio::task::yield_now().await;
                let now = processor_time();
                longest.fetch_max(now.saturating_sub(before).as_micros().try_into().unwrap(), Ordering::SeqCst);
                before = now;
            }
        });
        let done = work.await;
        // The probe needs a turn after the work to see it.
        tokio::time::sleep(AFTERMATH).await;
        probe.abort();
        seen.seen.push((Duration::from_micros(self.longest.load(Ordering::SeqCst)), what.to_owned()));
        done
    }
}

/// Takes 30 milliseconds of processor time.
fn keep_busy() {
    let begun = processor_time();
    while processor_time().saturating_sub(begun) < Duration::from_millis(30) {
        std::hint::spin_loop();
    }
}

/// A thread that is busy is seen: otherwise nothing here could fail.
#[test]
fn the_meter_sees_a_long_poll() {
    let mut meter = Meter::default();
    let runtime = meter.runtime();
    clients(meter.measure("a loop", async { runtime.spawn(async { keep_busy() }).await.unwrap() }));
    assert!(meter.seen[0].0 >= Duration::from_millis(30), "{:?}", meter.seen);
    runtime.shutdown_background();
    let probed = Probed::start(Node::build());
    let mut seen = Meter::default();
    clients(probed.measure("a loop", &mut seen, async { probed.runtime.spawn(async { keep_busy() }).await.unwrap() }));
    assert!(seen.seen[0].0 >= Duration::from_millis(30), "{:?}", seen.seen);
    drop(probed.node);
    probed.runtime.shutdown_background();
}
