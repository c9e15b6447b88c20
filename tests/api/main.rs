//! Tests of the API with real Postgres and Redis, over real HTTP and WebSocket connections. Each test has its own
//! database and Redis prefix, so that all tests can run at the same time. `make test` starts Postgres, Redis and the
//! other services that the tests need.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic fails the test and shows the location"
)]

mod addresses;
mod calls;
mod conversations;
mod files;
mod messaging;
mod people;
mod push;

mod bad_input;
mod connection_limits;
mod connections;
mod consumers;
mod documents;
mod event_streams;
mod events_of_mutations;
mod fair;
mod faults;
mod floods;
mod generated;
mod guarantees;
mod home;
mod http;
mod imports;
mod legacy_socket;
mod limits;
mod live;
mod log;
mod log_model;
mod metrics;
mod migrations;
mod next_steps;
mod nodes;
mod personal;
mod polls;
mod rates;
mod retention;
mod schema;
mod seed;
mod sharing;
mod shutdown;
mod socket;
mod specification;
mod statements;
mod strangers;
mod subscription_budget;
mod subscriptions;
mod support;
mod texts;
mod watchdog;
