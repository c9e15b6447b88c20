//! The table of limits in the documentation.

use std::fmt::Write as _;

use super::docs::{default_of, is_setting};
use super::{
    CODE_LIFETIME, CODE_TRIES, CODES_PER_SLOT, HTTP2_MAX_STREAMS, HTTP2_PING_TIMEOUT, ISSUER_EXCHANGES, ISSUER_TIMEOUT,
    LOGIN_CHALLENGE_LIFETIME, LOGIN_CHALLENGE_TRIES, LOGIN_CHALLENGES_PER_NETWORK, MAX_IDENTITIES, MAX_ISSUER_ANSWER,
    MAX_ISSUER_TOKEN, MAX_PASSKEYS, MAX_PUSH_ADDRESS, MAX_PUSH_SUBSCRIPTIONS, MEDIA_MAX_FRAMES, MEDIA_MAX_WAVEFORM,
    MEDIA_TIMEOUT, NOTICE_QUEUE, NOTICE_QUEUE_SHARE, OPERATION_QUEUE, OPERATION_QUEUE_SHARE,
    PASSKEY_CHALLENGE_LIFETIME, PASSWORD_MAX_DELAY, SITE_ALLOWANCE,
};

/// A setting or a constant that limits what clients may do or store.
struct Limit {
    name: &'static str,
    /// Value of a limit that is a constant. None for an argument, because its default is the value.
    value: Option<u64>,
    unit: &'static str,
    /// The part of the service that suffers without the limit.
    protects: &'static str,
    /// Response to a client that exceeds the limit, or the other effect on the client.
    answer: &'static str,
}

const fn limit(name: &'static str, unit: &'static str, protects: &'static str, answer: &'static str) -> Limit {
    Limit { name, value: None, unit, protects, answer }
}

impl Limit {
    const fn fixed(self, value: u64) -> Self {
        Self { value: Some(value), ..self }
    }
}

const RATE_LIMITED: &str = "RATE_LIMITED, 429";
const TOO_COMPLEX: &str = "OPERATION_TOO_COMPLEX";
const BAD_INPUT: &str = "BAD_USER_INPUT";
const UNAVAILABLE: &str = "UNAVAILABLE, 503";
const NOT_SENT: &str = "the notice is not sent";
const REJECTED: &str = "the file becomes REJECTED";
const CLOSED: &str = "the connection is closed";

/// The sections of the table: each has a heading and limits.
const GROUPS: [(&str, &[Limit]); 12] = [
    (
        "How often",
        &[
            limit("RATE_REQUESTS", "requests of an address", "the node from floods", RATE_LIMITED),
            limit("RATE_OPERATIONS", "operations of a user or address", "the node from one client", RATE_LIMITED),
            limit(
                "RATE_COST",
                "fields for a user or address",
                "processors and Postgres from costly documents",
                RATE_LIMITED,
            ),
            limit(
                "RATE_REGISTRATIONS",
                "accounts from an address",
                "the service from accounts made by machines",
                RATE_LIMITED,
            ),
            limit(
                "RATE_CODES_PER_TARGET",
                "codes from an address for an e-mail address or phone number",
                "people from unwanted codes",
                RATE_LIMITED,
            ),
            limit(
                "RATE_CODES_PER_TARGET_DAY",
                "codes for an e-mail address or phone number",
                "people from unwanted codes, codes from guessing",
                RATE_LIMITED,
            ),
            limit("RATE_CODES_PER_ADDRESS", "codes from an address", "the operator's bill for SMS", RATE_LIMITED),
            limit("RATE_CODES_PER_USER", "codes of a user", "the operator's bill for SMS", RATE_LIMITED),
            limit("RATE_SMS", "SMS with codes", "the operator's bill for SMS", NOT_SENT),
            limit("CODE_TRIES", "tries of a code", "codes from guessing", BAD_INPUT).fixed(CODE_TRIES as u64),
            limit(
                "CODES_PER_SLOT",
                "live codes of a purpose for an e-mail address or phone number",
                "Postgres",
                "the oldest is replaced",
            )
            .fixed(CODES_PER_SLOT.unsigned_abs()),
            limit("CODE_LIFETIME", "seconds", "codes from guessing", BAD_INPUT).fixed(CODE_LIFETIME.as_secs()),
            limit("LOGIN_CHALLENGE_TRIES", "second factors for a sign-in", "accounts from guessing", BAD_INPUT)
                .fixed(LOGIN_CHALLENGE_TRIES as u64),
            limit("LOGIN_CHALLENGE_LIFETIME", "seconds", "accounts from guessing", BAD_INPUT)
                .fixed(LOGIN_CHALLENGE_LIFETIME.as_secs()),
            limit(
                "LOGIN_CHALLENGES_PER_NETWORK",
                "unfinished sign-ins to an account from a network",
                "Postgres",
                "the oldest is replaced",
            )
            .fixed(LOGIN_CHALLENGES_PER_NETWORK.unsigned_abs()),
            limit("RATE_PASSKEY_CHALLENGES", "challenges for passkeys from an address", "Postgres", RATE_LIMITED),
            limit("PASSKEY_CHALLENGE_LIFETIME", "seconds", "Postgres", BAD_INPUT)
                .fixed(PASSKEY_CHALLENGE_LIFETIME.as_secs()),
            limit("RATE_MESSAGES", "messages of a user", "recipients and the log", RATE_LIMITED),
            limit("RATE_FORWARDS", "copies by a user", "recipients and the log", RATE_LIMITED),
            limit("RATE_EDITS", "changes by a user", "the log", RATE_LIMITED),
            limit("RATE_REACTIONS", "reactions and pins by a user", "recipients and the log", RATE_LIMITED),
            limit(
                "RATE_ANNOUNCEMENTS",
                "changes of typing and presence by a user",
                "recipients and Redis",
                RATE_LIMITED,
            ),
            limit("RATE_GROUPS", "groups by a user", "Postgres", RATE_LIMITED),
            limit(
                "RATE_DIRECT_CONVERSATIONS",
                "new conversations by a user",
                "people from unwanted messages",
                RATE_LIMITED,
            ),
            limit("RATE_ADDITIONS", "people added by a user", "people from unwanted groups", RATE_LIMITED),
            limit("RATE_CONTACT_REQUESTS", "requests by a user", "people from unwanted requests", RATE_LIMITED),
            limit("RATE_INVITES", "invites by a user", "Postgres", RATE_LIMITED),
            limit("RATE_JOINS", "joins by a user", "groups from people who come and go", RATE_LIMITED),
            limit("RATE_UPLOADS", "uploads of a user", "S3 and the workers that inspect files", RATE_LIMITED),
            limit("RATE_SEARCHES", "searches of a user", "Postgres", RATE_LIMITED),
            limit("RATE_CHANGES", "changes by a user", "the log", RATE_LIMITED),
            limit(
                "PASSWORD_TRIES_PER_ACCOUNT",
                "wrong passwords, codes or second factors",
                "accounts from guessing",
                RATE_LIMITED,
            ),
            limit(
                "PASSWORD_TRIES_PER_ADDRESS",
                "wrong passwords, codes, second factors or tokens",
                "accounts from guessing",
                RATE_LIMITED,
            ),
            limit("PASSWORD_MAX_DELAY", "seconds", "owners from being locked out", RATE_LIMITED)
                .fixed(PASSWORD_MAX_DELAY.as_secs()),
            limit(
                "SITE_ALLOWANCE",
                "times the allowance of an address, for an IPv6 network of 48 bits",
                "the service from clients with many addresses",
                RATE_LIMITED,
            )
            .fixed(SITE_ALLOWANCE as u64),
            limit("CALL_STARTS_PER_MINUTE", "calls by a user", "people from ringing phones", RATE_LIMITED),
            limit("CALL_JOINS_PER_MINUTE", "calls entered by a user", "the log", RATE_LIMITED),
            limit("CALL_SIGNALS_PER_SECOND", "signals of a device", "Postgres", RATE_LIMITED),
        ],
    ),
    (
        "Passwords",
        &[
            limit("PASSWORD_THREADS", "threads", "processors and memory", "the request waits"),
            limit("PASSWORD_QUEUE", "requests that wait", "memory", UNAVAILABLE),
            limit("PASSWORD_QUEUE_SHARE", "requests of an address that wait", "other addresses", RATE_LIMITED),
        ],
    ),
    (
        "Issuers",
        &[
            limit("MAX_ISSUER_TOKEN", "bytes of a token", "processors", BAD_INPUT).fixed(MAX_ISSUER_TOKEN as u64),
            limit("MAX_ISSUER_ANSWER", "bytes of an answer of an issuer", "memory", UNAVAILABLE)
                .fixed(MAX_ISSUER_ANSWER as u64),
            limit("ISSUER_TIMEOUT", "seconds", "requests that wait for an issuer", UNAVAILABLE)
                .fixed(ISSUER_TIMEOUT.as_secs()),
            limit("ISSUER_EXCHANGES", "logins that wait for an issuer", "memory and the issuer", UNAVAILABLE)
                .fixed(ISSUER_EXCHANGES as u64),
            limit(
                "MAX_IDENTITIES",
                "identities of an account",
                "Postgres",
                "BAD_USER_INPUT, or FORBIDDEN for a sign-in that would link one",
            )
            .fixed(MAX_IDENTITIES as u64),
        ],
    ),
    (
        "E-mail and SMS",
        &[
            limit("NOTICE_QUEUE", "codes and other notices, each by e-mail and SMS; digests", "memory", NOT_SENT)
                .fixed(NOTICE_QUEUE as u64),
            limit("NOTICE_QUEUE_SHARE", "places of an address in such a queue", "other addresses", NOT_SENT)
                .fixed(NOTICE_QUEUE_SHARE as u64),
        ],
    ),
    (
        "Push",
        &[
            limit(
                "MAX_PUSH_SUBSCRIPTIONS",
                "push subscriptions of a user",
                "Postgres and push services",
                "the oldest is replaced",
            )
            .fixed(MAX_PUSH_SUBSCRIPTIONS as u64),
            limit("MAX_PUSH_ADDRESS", "bytes of an endpoint or a token", "Postgres", BAD_INPUT)
                .fixed(MAX_PUSH_ADDRESS as u64),
        ],
    ),
    (
        "Requests and operations",
        &[
            limit("MAX_REQUEST_BYTES", "bytes", "memory", "413"),
            limit(
                "REQUEST_READ_TIMEOUT",
                "seconds",
                "memory from requests that send no bytes",
                "408, or the connection is closed",
            ),
            limit("OPERATION_MAX_BYTES", "bytes of a document", "memory", TOO_COMPLEX),
            limit("OPERATION_MAX_TOKENS", "tokens of a document", "processors", TOO_COMPLEX),
            limit("OPERATION_MAX_NESTING", "levels", "the stack", TOO_COMPLEX),
            limit("OPERATION_MAX_DEPTH", "levels of nested fields", "Postgres", TOO_COMPLEX),
            limit("OPERATION_MAX_ALIASES", "aliases", "processors and Postgres", TOO_COMPLEX),
            limit("OPERATION_MAX_FRAGMENTS", "fragments × operations", "processors", TOO_COMPLEX),
            limit("OPERATION_MAX_DIRECTIVES", "directives", "processors", TOO_COMPLEX),
            limit("OPERATION_MAX_COMPLEXITY", "fields", "processors and Postgres", TOO_COMPLEX),
            limit("OPERATION_MAX_BATCH", "operations in a list", "processors and Postgres", "413"),
            limit("OPERATION_MAX_ANSWER_BYTES", "bytes of texts in an answer", "memory", TOO_COMPLEX),
            limit(
                "OPERATION_TIMEOUT",
                "seconds",
                "connections to Postgres",
                "OPERATION_TOO_COMPLEX for a query, UNAVAILABLE for a mutation",
            ),
            limit("OPERATION_QUEUE", "costly operations that wait", "memory", UNAVAILABLE)
                .fixed(OPERATION_QUEUE as u64),
            limit(
                "OPERATION_QUEUE_SHARE",
                "costly operations of a user or address that wait",
                "other addresses",
                RATE_LIMITED,
            )
            .fixed(OPERATION_QUEUE_SHARE as u64),
            limit("DOCUMENT_CACHE_BYTES", "bytes", "memory", "the document is parsed again"),
        ],
    ),
    (
        "WebSockets and event streams",
        &[
            limit("SOCKET_INIT_TIMEOUT", "seconds", "memory from sockets that do nothing", "close code 4408"),
            limit("SOCKET_PONG_TIMEOUT", "seconds", "memory from sockets that are dead", CLOSED),
            limit("SOCKET_MAX_OPERATIONS", "operations on a socket", "memory", RATE_LIMITED),
            limit("SOCKET_OPERATIONS_PER_SECOND", "operations on a socket", "processors", RATE_LIMITED),
            limit("SOCKET_MAX_PER_USER", "connections of a user", "memory", "close code 4410, or 429"),
            limit("SOCKET_MAX_MESSAGE_BYTES", "bytes", "memory", "close code 1009"),
            limit("SOCKET_WRITE_TIMEOUT", "seconds", "memory from clients that do not read", CLOSED),
        ],
    ),
    (
        "Content",
        &[
            limit("MAX_PASSKEYS", "passkeys of a user", "readers and Postgres", BAD_INPUT).fixed(MAX_PASSKEYS as u64),
            limit("MAX_MESSAGE_LENGTH", "Unicode scalar values", "readers", BAD_INPUT),
            limit(
                "MAX_GROUP_SIZE",
                "participants",
                "the nodes from events with too many recipients",
                "BAD_USER_INPUT or CONFLICT",
            ),
            limit(
                "MAX_KEPT_EDITS",
                "former bodies of a message",
                "Postgres",
                "bodies between the first and the newest are deleted",
            ),
            limit("CALL_MAX_MESH", "devices in a call", "phones from too many streams", "CONFLICT with CALL_FULL"),
            limit("CALL_MAX_GROUP_SIZE", "participants", "people from ringing phones", BAD_INPUT),
            limit("CALL_MAX_PENDING_SIGNALS", "signals for a device", "Postgres", RATE_LIMITED),
            limit("CALL_MAX_PENDING_BYTES", "bytes for a device", "memory", RATE_LIMITED),
        ],
    ),
    (
        "Files",
        &[
            limit("MAX_UPLOAD_BYTES", "bytes", "S3", BAD_INPUT),
            limit("MAX_IMAGE_BYTES", "bytes", "memory", "BAD_USER_INPUT, or the file becomes REJECTED"),
            limit("MAX_VIDEO_BYTES", "bytes", "S3", "BAD_USER_INPUT, or the file becomes REJECTED"),
            limit("MAX_AUDIO_BYTES", "bytes", "S3", "BAD_USER_INPUT, or the file becomes REJECTED"),
            limit("STORAGE_QUOTA_BYTES", "bytes of a user", "S3", BAD_INPUT),
            limit("MEDIA_WORKERS", "files", "processors and memory", "the request waits"),
            limit("MEDIA_QUEUE", "files that wait", "disk", UNAVAILABLE),
            limit("MEDIA_QUEUE_SHARE", "files of a user that wait", "other users", RATE_LIMITED),
            limit("MEDIA_TIMEOUT", "seconds", "processors", REJECTED).fixed(MEDIA_TIMEOUT.as_secs()),
            limit(
                "MEDIA_MAX_PIXELS",
                "pixels",
                "memory",
                "a JPEG with up to four times as many pixels has no thumbnails; otherwise the file becomes REJECTED",
            ),
            limit("MEDIA_MAX_FRAMES", "frames", "processors", REJECTED).fixed(MEDIA_MAX_FRAMES as u64),
            limit("MEDIA_MAX_MEMORY", "bytes", "memory", "the picture has no thumbnails"),
            limit("MEDIA_MAX_WAVEFORM", "seconds", "processors", "the recording has no waveform")
                .fixed(MEDIA_MAX_WAVEFORM.as_secs()),
        ],
    ),
    (
        "Connections",
        &[
            limit(
                "MAX_CONNECTIONS",
                "connections to a node",
                "open files and memory",
                "503, and the connection is closed",
            ),
            limit(
                "MAX_CONNECTIONS_PER_ADDRESS",
                "connections of an address",
                "other addresses",
                "429, and the connection is closed",
            ),
            limit("REQUEST_HEADER_TIMEOUT", "seconds", "connections from clients that send no request", CLOSED),
            limit("KEEP_ALIVE_TIMEOUT", "seconds", "connections from clients that are idle", CLOSED),
            limit("MAX_HEADER_BYTES", "bytes", "memory", "431"),
            limit("REQUEST_BODY_TIMEOUT", "seconds", "memory from bodies that never end", "408"),
            limit("MAX_UNFINISHED_BYTES", "bytes of a node", "memory", "503 with UNAVAILABLE, or close code 1013"),
            limit(
                "MAX_UNFINISHED_BYTES_PER_ADDRESS",
                "bytes of an address",
                "other addresses",
                "503 with UNAVAILABLE, or close code 1013",
            ),
            limit("HTTP2_MAX_STREAMS", "requests of a connection in flight", "memory", "the client waits")
                .fixed(HTTP2_MAX_STREAMS as u64),
            limit("HTTP2_PING_TIMEOUT", "seconds", "connections from clients that are gone", CLOSED)
                .fixed(HTTP2_PING_TIMEOUT.as_secs()),
            limit("SOCKET_MESSAGE_TIMEOUT", "seconds", "memory from messages that never end", "close code 4412"),
            limit("SOCKET_ANONYMOUS_TIMEOUT", "seconds", "memory from sockets that do nothing", "close code 4411"),
            limit("SOCKET_MAX_ANONYMOUS_PER_ADDRESS", "anonymous sockets of an address", "other addresses", "429"),
        ],
    ),
    (
        "Subscriptions",
        &[
            limit("SUBSCRIPTION_BUDGET", "cost of all subscriptions of a user", "processors", RATE_LIMITED),
            limit("STREAM_QUEUE", "events", "memory from clients that are slow", "the stream reads them from Postgres"),
        ],
    ),
    (
        "Writers and Postgres",
        &[
            limit("WRITE_QUEUE", "messages and receipts", "memory", UNAVAILABLE),
            limit("DATABASE_POOL_SIZE", "connections", "Postgres", "the request waits"),
            limit("DATABASE_STATEMENT_TIMEOUT", "seconds", "Postgres", UNAVAILABLE),
            limit("DATABASE_IDLE_TIMEOUT", "seconds", "other nodes from a node that stopped", UNAVAILABLE),
        ],
    ),
];

/// Returns a Markdown table of every limit with its default, its unit, the part that it protects, and the response to a
/// client that exceeds the limit.
pub fn limits_table() -> String {
    let mut text = String::from(
        "# Limits\n\n\
         Limits on what clients may do, and the answer to a client that exceeds one. Most limits are settings, which\n\
         docs/configuration.md describes. The others are fixed. RATE_LIMITED has `extensions.limit`, the name of the limit, and\n\
         `extensions.retryAfter` in seconds. Over HTTP its status is 429 with `Retry-After` if nothing was executed.\n\
         A rate such as `300/1m` allows 300 at once and then one every 200 ms, by the generic cell rate algorithm.\n\
         Nodes share rates through Redis: each node decides by itself, and they exchange their counts every 20 ms.\n\
         An address is an IPv4 address or an IPv6 network of 64 bits. Rates and PASSWORD_TRIES_PER_ADDRESS also count\n\
         each IPv6 network of 48 bits, with SITE_ALLOWANCE times the allowance of an address; RATE_REQUESTS does not.\n\
         `RATE_LIMITS=off` turns off the rates and all limits for each address. Generated by `make generate`.\n",
    );
    for (heading, limits) in GROUPS {
        let _ = write!(
            text,
            "\n## {heading}\n\n| limit | default | unit | what it protects | beyond it |\n|---|---|---|---|---|\n"
        );
        for Limit { name, value, unit, protects, answer } in limits {
            let value = value.map(|value| value.to_string()).or_else(|| default_of(name)).unwrap_or_default();
            let fixed = if is_setting(name) { "" } else { ", fixed" };
            let _ = writeln!(text, "| `{name}` | `{value}`{fixed} | {unit} | {protects} | {answer} |");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::docs::numbers;
    use super::*;

    /// Arguments with a number that does not limit clients: addresses, intervals, lifetimes and the work of a node.
    const NO_LIMITS: [&str; 37] = [
        "LISTEN_ADDR",
        "DRAIN_DELAY",
        "DRAIN_TIMEOUT",
        "S3_TIMEOUT",
        "S3_TRANSFER_TIMEOUT",
        "ACCESS_TOKEN_TTL",
        "REFRESH_TOKEN_TTL",
        "PASSWORD_MEMORY_KIB",
        "PASSWORD_PASSES",
        "PASSWORD_FIRST_DELAY",
        "WRITE_BATCH",
        "WRITERS",
        "SCHEDULE_POLL_INTERVAL",
        "TAIL_HOLE_WAIT",
        "TAIL_POLL_INTERVAL",
        "TAIL_MEMORY",
        "CATCH_UP_PAGE",
        "CONSUMER_INTERVAL",
        "TYPING_TIMEOUT",
        "PRESENCE_GRACE",
        "PRESENCE_NODE_TTL",
        "CALL_RING_TIMEOUT",
        "CALL_ABSENCE_TIMEOUT",
        "CALL_SIGNAL_TTL",
        "TURN_TTL",
        "EVENT_RETENTION",
        "SESSION_RETENTION",
        "GUEST_RETENTION",
        "ISSUER_REFETCH_INTERVAL",
        "EMAIL_DIGEST_AFTER",
        "HOUSEKEEPING_INTERVAL",
        "ATTACHMENT_SWEEP_INTERVAL",
        "CLAMD_TIMEOUT",
        "SOCKET_PING_INTERVAL",
        "PUBLIC_MAX_AGE",
        "HTTP2_PING_INTERVAL",
        "WATCHDOG_TIMEOUT",
    ];

    fn limits() -> impl Iterator<Item = &'static Limit> {
        GROUPS.iter().flat_map(|(_, limits)| limits.iter())
    }

    #[test]
    fn each_limit_is_an_argument_or_has_a_value() {
        for Limit { name, value, .. } in limits() {
            assert_ne!(default_of(name).is_some(), value.is_some(), "{name} has no value, or two");
        }
    }

    #[test]
    fn each_number_is_in_groups_or_in_no_limits() {
        for name in numbers() {
            let limit = limits().filter(|other| other.name == name).count();
            let other = usize::from(NO_LIMITS.contains(&name.as_str()));
            assert_eq!(limit + other, 1, "{name} belongs either to GROUPS or to NO_LIMITS");
        }
    }
}
