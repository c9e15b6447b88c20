//! Compares the log with a model. Each case is a random sequence of steps of writers, brokers, nodes and clients. At
//! the end of a case, each stream must have delivered exactly the events that the model predicts, in order and once.
//!
//! The tests use the log, the tails and the streams of the server, on a real Postgres. The steps control the broker. A
//! seed determines the cases: PROPTEST_RNG_SEED changes the seed, and PROPTEST_CASES the number of cases.

mod broker;
mod model;
mod steps;
mod world;

use parlance::store::Database;
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngSeed, TestRunner};
use tokio::runtime::Runtime;

use crate::support::{TestDatabase, scale};
use steps::{Case, From, Settings, Step, Wanted, Write};
use world::World;

/// Seed of the cases, unless PROPTEST_RNG_SEED is set. The number is arbitrary.
const SEED: u64 = 20_260_214;

#[test]
fn streams_deliver_exactly_what_the_model_predicts() {
    let laboratory = Laboratory::new();
    let result = TestRunner::new(config()).run(&Case::any(), |case| laboratory.play(case).map_err(TestCaseError::fail));
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// When the queue of a stream is full, the stream is detached from the tail, but the queue still contains events.
#[test]
fn a_full_queue_delivers_no_events_after_the_user_leaves_the_conversation() {
    let (events, loss) = (Write::Message(CONVERSATION), Write::Leave(USER, CONVERSATION));
    Laboratory::new().play(full_queue(events, loss)).unwrap();
}

#[test]
fn a_full_queue_delivers_no_read_positions_after_the_user_turns_read_receipts_off() {
    let (events, loss) = (Write::Read(CONVERSATION, USER + 1), Write::Receipts(USER, false));
    Laboratory::new().play(full_queue(events, loss)).unwrap();
}

const USER: usize = 0;
const CONVERSATION: usize = 0;

/// Returns a case in which `events` fill the queue of a stream. After the write `loss` the user may no longer receive
/// these events.
fn full_queue(events: Write, loss: Write) -> Case {
    const STREAM: usize = 0;
    let append = |write, times| vec![Step::Append { node: 0, writes: vec![write] }; times];
    let long_pause = || vec![Step::Pause; 20];
    let steps = [
        // The stream becomes live when the tail has reached the events that created the memberships.
        vec![Step::Subscribe { node: 0, user: USER, wanted: Wanted::Inbox, from: From::Now, items: 1 }],
        vec![Step::Gap { node: 0 }],
        long_pause(),
        append(events, 4),
        append(loss, 1),
        vec![Step::Gap { node: 0 }],
        long_pause(),
        vec![Step::Read { stream: STREAM, items: 5 }],
        long_pause(),
    ]
    .concat();
    let settings = Settings { hole_wait_ms: 1, looks: false, tail_memory: 8, stream_queue: 2, catch_up_page: 5 };
    Case { settings, members: [[true; steps::CONVERSATIONS]; steps::USERS], steps }
}

/// The database and the runtime in which all cases run. Each case creates its own users and conversations.
struct Laboratory {
    runtime: Runtime,
    database: Database,
    test_database: TestDatabase,
}

impl Laboratory {
    fn new() -> Self {
        // The runtime has one thread, so that the result of a case depends little on scheduling.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (test_database, database) = runtime.block_on(async {
            let test_database = TestDatabase::new().await;
            let database = Database::connect(&test_database.url, &world::postgres_settings()).await.unwrap();
            (test_database, database)
        });
        Self { runtime, database, test_database }
    }

    fn play(&self, case: Case) -> Result<(), String> {
        self.runtime.block_on(async {
            let mut world = World::new(&self.test_database, &self.database, &case).await;
            for step in case.steps {
                world.take(step).await;
            }
            world.finish().await
        })
    }
}

fn config() -> Config {
    let mut config = Config::default();
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = scale().model_cases;
    }
    if config.rng_seed == RngSeed::Random && !scale().random {
        config.rng_seed = RngSeed::Fixed(SEED);
    }
    config.source_file = Some(file!());
    config.test_name = Some("streams_deliver_exactly_what_the_model_predicts");
    config.failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("regressions")));
    config
}
