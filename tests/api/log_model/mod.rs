//! The log against a model of it: random sequences of what writers, brokers, nodes and clients do, after which each
//! stream must have had exactly what the model says, in order, once.
//!
//! The log, its tails and its streams are the real ones, over a real Postgres; the broker is one that the steps
//! command. The cases follow from a seed: PROPTEST_RNG_SEED asks for others, PROPTEST_CASES for more.

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

/// Any number: without another in the environment every run tries the same cases.
const SEED: u64 = 20_260_214;

#[test]
fn every_stream_gets_what_the_model_says() {
    let laboratory = Laboratory::new();
    let result = TestRunner::new(config()).run(&Case::any(), |case| laboratory.play(case).map_err(TestCaseError::fail));
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// A stream that was let go because its queue was full still holds the queue.
#[test]
fn what_a_full_queue_holds_is_recalled_when_its_user_leaves() {
    let (events, loss) = (Write::Message(CONVERSATION), Write::Leave(USER, CONVERSATION));
    Laboratory::new().play(full_queue(events, loss)).unwrap();
}

#[test]
fn what_a_full_queue_holds_is_recalled_when_its_user_turns_read_receipts_off() {
    let (events, loss) = (Write::Read(CONVERSATION, USER + 1), Write::Receipts(USER, false));
    Laboratory::new().play(full_queue(events, loss)).unwrap();
}

const USER: usize = 0;
const CONVERSATION: usize = 0;

/// A queue fills with events, and then the user may not receive them any more.
fn full_queue(events: Write, loss: Write) -> Case {
    const STREAM: usize = 0;
    let append = |write, times| vec![Step::Append { node: 0, writes: vec![write] }; times];
    let long_pause = || vec![Step::Pause; 20];
    let steps = [
        // The stream is live once the tail knows of the memberships.
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

/// One database for many cases, each with users and conversations of its own.
struct Laboratory {
    runtime: Runtime,
    database: Database,
    test_database: TestDatabase,
}

impl Laboratory {
    fn new() -> Self {
        // One thread, so that what a case does depends on little else than its steps.
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
    config.test_name = Some("every_stream_gets_what_the_model_says");
    config.failure_persistence = Some(Box::new(FileFailurePersistence::WithSource("regressions")));
    config
}
