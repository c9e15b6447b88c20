//! Errors of the layers below the domain: Postgres, Redis, S3 and the machine.

use std::time::Duration;

/// An error of Postgres, Redis, S3 or the machine. Operators read the message in the log of the server; clients never
/// receive it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Postgres: {0}")]
    Database(#[from] diesel::result::Error),
    #[error("Postgres: {}", with_server_message(.0))]
    Bulk(#[from] tokio_postgres::Error),
    #[error("no connection to Postgres: {0}")]
    Connection(String),
    #[error(
        "a connection pooler gives transactions different sessions of Postgres: set it to session mode, or connect to \
         Postgres itself"
    )]
    SharedSessions,
    #[error("Redis: {0}")]
    Redis(#[from] bb8_redis::redis::RedisError),
    #[error("no connection to Redis: {0}")]
    RedisConnection(String),
    #[error("S3: {0}")]
    S3(String),
    #[error("S3 does not answer: {0}")]
    S3Unavailable(String),
    #[error("missing in S3: {0}")]
    S3Missing(String),
    #[error("an object in S3 has more than {0} bytes")]
    S3TooLarge(u64),
    #[error("file: {0}")]
    File(std::io::Error),
    #[error("migrations: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
    #[error("a row with an invalid value: {0}")]
    Corrupt(String),
    #[error("password hashing: {0}")]
    PasswordHash(String),
    #[error("signing a token: {0}")]
    Token(#[from] jsonwebtoken::errors::Error),
}

impl Error {
    /// Whether Postgres, Redis or S3 is unavailable, so that a later retry may succeed.
    pub fn is_unavailable(&self) -> bool {
        use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};
        match self {
            Self::Connection(_)
            | Self::RedisConnection(_)
            | Self::S3Unavailable(_)
            | Self::Database(
                Diesel::BrokenTransactionManager
                | Diesel::DatabaseError(Kind::ClosedConnection | Kind::UnableToSendCommand, _),
            ) => true,
            Self::Database(Diesel::DatabaseError(Kind::Unknown, details)) => was_interrupted(details.message()),
            _ => false,
        }
    }
}

/// Returns the text of an error with Postgres's own message, which the `Display` of the client library omits.
fn with_server_message(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Whether Postgres itself ended the connection or the statement (SQLSTATE class 57, or 25P03). Diesel does not expose
/// the code, so the function compares the message.
fn was_interrupted(message: &str) -> bool {
    ["terminating connection", "canceling statement", "the database system is"]
        .iter()
        .any(|beginning| message.starts_with(beginning))
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Delay before streams and background tasks retry when Postgres is unavailable.
pub(crate) const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Returns the delay before a retry, without jitter: `first`, doubled `doublings` times, and at most `max`.
pub(crate) fn backoff(first: Duration, max: Duration, doublings: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(doublings)).min(max)
}
