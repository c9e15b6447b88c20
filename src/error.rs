//! What goes wrong beneath the domain: the parts the server stands on.

/// A failure of Postgres, Redis, S3 or the machine. Operators read it in the log; clients never see it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("Postgres: {0}")]
    Database(#[from] diesel::result::Error),
    #[error("Postgres: {}", in_full(.0))]
    Bulk(#[from] tokio_postgres::Error),
    #[error("no connection to Postgres: {0}")]
    Connection(String),
    #[error("Redis: {0}")]
    Redis(#[from] bb8_redis::redis::RedisError),
    #[error("no connection to Redis: {0}")]
    RedisConnection(String),
    #[error("S3: {0}")]
    S3(String),
    #[error("S3 does not answer: {0}")]
    S3Away(String),
    #[error("missing in S3: {0}")]
    S3Missing(String),
    #[error("an object in S3 has more than {0} bytes")]
    S3TooLarge(u64),
    #[error("a file: {0}")]
    File(std::io::Error),
    #[error("migrations: {0}")]
    Migration(Box<dyn std::error::Error + Send + Sync>),
    #[error("a row that cannot be understood: {0}")]
    Corrupt(String),
    #[error("password hashing: {0}")]
    PasswordHash(String),
    #[error("signing a token: {0}")]
    Token(#[from] jsonwebtoken::errors::Error),
}

impl Error {
    /// Whether a part that the server needs is away, so that trying again later will do.
    pub fn is_unavailable(&self) -> bool {
        use diesel::result::{DatabaseErrorKind as Kind, Error as Diesel};
        match self {
            Self::Connection(_)
            | Self::RedisConnection(_)
            | Self::S3Away(_)
            | Self::Database(
                Diesel::BrokenTransactionManager
                | Diesel::DatabaseError(Kind::ClosedConnection | Kind::UnableToSendCommand, _),
            ) => true,
            Self::Database(Diesel::DatabaseError(Kind::Unknown, details)) => was_interrupted(details.message()),
            _ => false,
        }
    }
}

/// With Postgres's own words, which the client library keeps apart.
fn in_full(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Whether Postgres ended the connection or the statement by itself: SQLSTATE class 57, and 25P03. Diesel does not
/// pass the code on, so that Postgres's words must do.
fn was_interrupted(message: &str) -> bool {
    ["terminating connection", "canceling statement", "the database system is"]
        .iter()
        .any(|beginning| message.starts_with(beginning))
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Between two tries of a stream whose Postgres is away.
pub(crate) const RETRY: std::time::Duration = std::time::Duration::from_secs(1);
