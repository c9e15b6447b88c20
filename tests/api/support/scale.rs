//! Sizes and durations of the long tests: small in `make test`, large in `make soak`.

use std::time::Duration;

/// All numbers that differ between `make test` and `make soak`.
pub struct Scale {
    /// Number of random cases of the log model.
    pub model_cases: u32,
    /// Whether each run uses a new random seed.
    pub random: bool,
    /// Number of times that a test repeats its fault.
    pub rounds: usize,
    /// Clients during a fault.
    pub clients: ClientScale,
    /// Clients of the test in which all clients reconnect at the same time.
    pub crowd: ClientScale,
    /// How long a node is paused.
    pub node_pause: Duration,
    /// How long Redis is paused, and how long it is stopped.
    pub redis_pause: Duration,
    /// How long Postgres is stopped.
    pub postgres_pause: Duration,
    /// How long connections to Postgres are terminated repeatedly.
    pub cutting: Duration,
}

#[derive(Clone, Copy)]
pub struct ClientScale {
    /// Number of users; all of them send.
    pub users: usize,
    /// Number of subscribed sockets, distributed over the users.
    pub listeners: usize,
    /// Pause of a sender between two messages.
    pub pause: Duration,
    /// Number of messages that each sender must have acknowledged before a test continues.
    pub messages: usize,
    /// How long a client waits for an answer before it tries another node. Every second listener waits as long for an
    /// event.
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
