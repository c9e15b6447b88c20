//! Sizes and durations of the long tests: small in `make test`, large in `make soak`.

use std::time::Duration;

/// The sizes and durations that differ between `make test` and `make soak`.
pub struct Scale {
    /// Number of random cases of the log model.
    pub model_cases: u32,
    /// Whether each run uses a new random seed.
    pub random: bool,
    /// Number of times that a test repeats its fault.
    pub rounds: usize,
    /// Clients in the tests of faults.
    pub clients: ClientScale,
    /// Clients in the test in which all clients reconnect at the same time.
    pub crowd: ClientScale,
    /// Time for which a node is paused.
    pub node_pause: Duration,
    /// Time for which Redis is paused, and time for which Redis is stopped.
    pub redis_pause: Duration,
    /// Time for which Postgres is stopped.
    pub postgres_pause: Duration,
    /// Time during which connections to Postgres are terminated repeatedly.
    pub cutting: Duration,
}

#[derive(Clone, Copy)]
pub struct ClientScale {
    /// Number of users. Each user sends messages.
    pub users: usize,
    /// Number of sockets with a subscription, distributed over the users.
    pub listeners: usize,
    /// Pause of a sender between two messages.
    pub pause: Duration,
    /// Number of messages of each sender that must be acknowledged before a test continues.
    pub messages: usize,
    /// Time that a client waits for a response before it uses another node. Every second listener also uses another
    /// node if no event arrives within this time.
    pub patience: Duration,
}

const SMALL: Scale = Scale {
    model_cases: 60,
    random: false,
    rounds: 2,
    clients: ClientScale {
        users: 4,
        listeners: 8,
        pause: Duration::from_millis(10),
        messages: 5,
        patience: Duration::from_secs(2),
    },
    crowd: ClientScale {
        users: 4,
        listeners: 80,
        pause: Duration::from_millis(100),
        messages: 2,
        patience: Duration::from_mins(1),
    },
    node_pause: Duration::from_secs(2),
    redis_pause: Duration::from_secs(2),
    postgres_pause: Duration::from_secs(1),
    cutting: Duration::from_secs(1),
};

const SOAK: Scale = Scale {
    model_cases: 3000,
    random: true,
    rounds: 5,
    clients: ClientScale {
        users: 10,
        listeners: 50,
        pause: Duration::from_millis(10),
        messages: 50,
        patience: Duration::from_secs(2),
    },
    crowd: ClientScale {
        users: 40,
        listeners: 2000,
        pause: Duration::from_secs(30),
        messages: 1,
        patience: Duration::from_mins(1),
    },
    node_pause: Duration::from_secs(10),
    redis_pause: Duration::from_secs(30),
    postgres_pause: Duration::from_secs(10),
    cutting: Duration::from_secs(30),
};

pub fn scale() -> &'static Scale {
    if std::env::var_os("SOAK").is_some() { &SOAK } else { &SMALL }
}
