//! Parses a text message of a client that is not signed in yet, as a message of each subprotocol.
#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| parlance::http::fuzzing::socket_message(text));
