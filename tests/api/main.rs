//! Tests of the API over real Postgres, Redis, HTTP and WebSocket. Each test has its own database and Redis prefix, so
//! that all tests can run at the same time. `make test` starts the services that they need.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic fails the test and shows the location"
)]

mod account_life;
mod accounts;
mod addresses;
mod attachments;
mod avatars;
mod bad_input;
mod bans;
mod blobs;
mod blocks;
mod call_access;
mod call_departures;
mod call_events;
mod call_groups;
mod call_races;
mod call_signals;
mod call_timeouts;
mod calls;
mod connection_limits;
mod connections;
mod contact_points;
mod contacts;
mod contract;
mod conversations;
mod deletions;
mod documents;
mod event_streams;
mod events_of_mutations;
mod expiry;
mod fair;
mod faults;
mod files;
mod floods;
mod forwards;
mod generated;
mod groups;
mod guarantees;
mod history;
mod http;
mod ice_servers;
mod imports;
mod invites;
mod legacy_socket;
mod limits;
mod live;
mod load;
mod log;
mod log_model;
mod media;
mod memberships;
mod mentions;
mod message_changes;
mod messages;
mod metrics;
mod migrations;
mod nodes;
mod participants;
mod password_attacks;
mod permissions;
mod personal;
mod pins;
mod polls;
mod privacy;
mod rates;
mod reactions;
mod read_receipts;
mod receipts;
mod refreshes;
mod registration;
mod retention;
mod scanner;
mod scheduled_messages;
mod search;
mod seed;
mod sessions;
mod sharing;
mod shutdown;
mod socket;
mod statements;
mod status;
mod strangers;
mod subscription_budget;
mod subscriptions;
mod support;
mod sweeper;
mod unread;
mod users;
mod watchdog;
