//! Measures how long tasks occupy a thread of the runtime. A long poll delays all other tasks of its thread.
//!
//! Each node in these tests has its own runtime. The runtime reports when a thread wakes and when it parks. Between the
//! two reports the thread polls tasks, so the processor time between them is an upper bound for the longest poll.
//! Processor time does not include work of other processes.

mod costliest;
mod tour;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Runtime};

use crate::support::{Node, NodeBuilder, eventually};

/// Maximum time that a thread may be busy during each operation of the tour. The tests run a build without optimization,
/// often on machines whose processors are shared. A release build takes a fraction of this time.
const TOUR_BOUND: Duration = Duration::from_millis(25);
/// Maximum time that a thread may be busy with the costliest documents and the largest requests that are allowed.
const COSTLIEST_BOUND: Duration = Duration::from_millis(100);
/// Number of times that an operation is measured whose polls a busy thread may do one after another.
const ATTEMPTS: usize = 3;
/// Time that a measurement waits for work that continues after an operation has returned.
const AFTERMATH: Duration = Duration::from_millis(30);

/// Measures the longest time that a thread of a runtime is busy during an operation.
#[derive(Default)]
struct Meter {
    longest: Arc<AtomicU64>,
    seen: Vec<(Duration, String)>,
}

thread_local! {
    /// Processor time of this thread at its last wake. None after the thread has parked.
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

    /// Records the longest time that a thread of the measured runtime is busy while `work` runs on another runtime.
    async fn measure<T>(&mut self, what: &str, work: impl Future<Output = T>) -> T {
        self.longest.store(0, Ordering::SeqCst);
        let done = work.await;
        tokio::time::sleep(AFTERMATH).await;
        let longest = Duration::from_micros(self.longest.load(Ordering::SeqCst));
        assert!(longest > Duration::ZERO, "the meter measured no time for {what}");
        self.seen.push((longest, what.to_owned()));
        done
    }

    /// Keeps the shortest of the last `count` measurements. A busy thread does not park between two polls, so a
    /// measurement can contain several of them. The shortest one is closest to the longest poll.
    fn keep_shortest(&mut self, count: usize) {
        let shortest = self.seen.drain(self.seen.len() - count..).min().unwrap();
        self.seen.push(shortest);
    }

    /// Prints all measurements. Panics if a thread was busy for longer than `bound`.
    #[track_caller]
    fn assert_below(mut self, bound: Duration) {
        self.seen.sort_unstable_by(|one, other| other.cmp(one));
        let list: Vec<_> = self.seen.iter().map(|(longest, what)| format!("{longest:>10.1?} {what}")).collect();
        println!("{}", list.join("\n"));
        let longest = self.seen.first().unwrap();
        assert!(longest.0 < bound, "{} took {:?}:\n{}", longest.1, longest.0, list.join("\n"));
    }
}

/// A node on its own runtime.
struct Measured {
    // This must be the first field, so that the node is dropped before its runtime.
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

/// Runs the clients of a test on a separate runtime that is not measured.
fn clients<T>(work: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// A node on a runtime with a single thread, and a probe: a task that yields in a loop. The processor time between two
/// polls of the probe is the time that polls of other tasks take. For tasks that yield by themselves, the probe is more
/// exact than the meter, but the probe keeps a processor busy.
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

    /// Records the longest time between two polls of the probe while `work` runs on another runtime.
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
        // The probe must be polled once more to measure the last delay.
        tokio::time::sleep(AFTERMATH).await;
        probe.abort();
        seen.seen.push((Duration::from_micros(self.longest.load(Ordering::SeqCst)), what.to_owned()));
        done
    }
}

/// Uses 30 milliseconds of processor time.
fn keep_busy() {
    let begun = processor_time();
    while processor_time().saturating_sub(begun) < Duration::from_millis(30) {
        std::hint::spin_loop();
    }
}

/// Runs `keep_busy` on the runtime. Returns when the measurement contains it, because the thread may be delayed before it
/// ends the measurement.
async fn measured_loop(runtime: &Runtime, longest: &AtomicU64) {
    runtime.spawn(async { keep_busy() }).await.unwrap();
    eventually("the loop is measured", async || longest.load(Ordering::SeqCst) >= 30_000).await;
}

/// Checks the meter and the probe themselves. If they did not measure, the other tests would pass by mistake.
#[test]
fn the_meter_and_the_probe_measure_a_long_poll() {
    let mut meter = Meter::default();
    let runtime = meter.runtime();
    let longest = Arc::clone(&meter.longest);
    clients(meter.measure("a loop", measured_loop(&runtime, &longest)));
    assert!(meter.seen[0].0 >= Duration::from_millis(30), "{:?}", meter.seen);
    runtime.shutdown_background();
    let probed = Probed::start(Node::build());
    let mut seen = Meter::default();
    clients(probed.measure("a loop", &mut seen, measured_loop(&probed.runtime, &probed.longest)));
    assert!(seen.seen[0].0 >= Duration::from_millis(30), "{:?}", seen.seen);
    drop(probed.node);
    probed.runtime.shutdown_background();
}
