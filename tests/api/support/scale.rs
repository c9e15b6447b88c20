//! How long and how large: small in `make test`, the rest in `make soak`.

use std::time::Duration;

/// Every number that differs between the two.
pub struct Scale {
    /// Cases of the log's model.
    pub model_cases: u32,
    /// Whether each run takes other cases.
    pub random: bool,
    /// How often a fault is repeated within its test.
    pub rounds: usize,
    /// What goes on during a fault.
    pub load: LoadScale,
    /// The same for those who reconnect all at once.
    pub crowd: LoadScale,
    /// How long a node stands still.
    pub node_pause: Duration,
    /// How long Redis stands still, and how long it is gone.
    pub redis_pause: Duration,
    /// How long Postgres is gone.
    pub postgres_pause: Duration,
    /// How long connections to Postgres are cut again and again.
    pub cutting: Duration,
}

#[derive(Clone, Copy)]
pub struct LoadScale {
    /// Each sends. An even number: each has a direct conversation too.
    pub users: usize,
    /// Sockets that listen, shared out among the users.
    pub listeners: usize,
    /// How long a sender waits between two messages.
    pub pause: Duration,
    /// How many messages of each sender it takes to call it going on.
    pub messages: usize,
    /// How long a client waits for an answer, and every other listener for an event, before it turns to another node.
    pub patience: Duration,
}

const SMALL: Scale = Scale {
    model_cases: 60,
    random: false,
    rounds: 2,
    load: LoadScale {
        users: 4,
        listeners: 8,
        pause: Duration::from_millis(10),
        messages: 5,
        patience: Duration::from_secs(2),
    },
    crowd: LoadScale {
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
    load: LoadScale {
        users: 10,
        listeners: 50,
        pause: Duration::from_millis(10),
        messages: 50,
        patience: Duration::from_secs(2),
    },
    crowd: LoadScale {
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
