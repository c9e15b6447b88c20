//! A text message of a client that nobody knows yet, on a socket of either subprotocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| parlance::http::fuzzing::socket_message(text));
