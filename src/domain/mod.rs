//! The rules: who may do what, and what follows from it. Knows neither GraphQL nor HTTP nor Redis.

pub mod accounts;
mod batch;
pub mod conversations;
mod error;
pub mod export;
mod groups;
mod housekeeping;
pub mod invites;
pub mod messages;
pub mod participants;
mod passwords;
pub mod permissions;
pub mod receipts;
pub mod search;
pub mod seed;
pub mod sessions;
mod system;
mod tokens;
pub mod users;
mod validate;
mod writer;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

pub use error::{Error, Result, Violation};
use housekeeping::Housekeeping;
use passwords::Passwords;
pub use tokens::Tokens;

use crate::clock::Clock;
use crate::config::{Config, Limits};
use crate::ids::{SessionId, UserId};
use crate::log::{Broker, Log};
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::{Database, PooledConnection};
use writer::Writers;

/// Everything the rules work with. Cheap to clone.
#[derive(Clone)]
pub struct App {
    parts: Arc<Parts>,
}

struct Parts {
    database: Database,
    log: Log,
    clock: Clock,
    random: Random,
    limits: Limits,
    passwords: Passwords,
    tokens: Tokens,
    writers: Writers,
    metrics: Metrics,
    housekeeping: Housekeeping,
}

/// Why a node could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Part(#[from] crate::error::Error),
    #[error(transparent)]
    Key(#[from] tokens::KeyError),
}

/// Who asks: a user on one signed-in device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub user: UserId,
    pub session: SessionId,
    /// When the access token that told so runs out.
    pub expires_at: DateTime<Utc>,
}

impl App {
    /// Puts a node together: its database, its tail on the log, its keys. It runs until `stop` is cancelled.
    pub async fn open(
        config: &Config,
        database_url: &str,
        broker: Arc<dyn Broker>,
        clock: Clock,
        random: Random,
        stop: CancellationToken,
    ) -> Result<Self, OpenError> {
        let database = Database::connect(database_url, &config.postgres).await?;
        let metrics = Metrics::default();
        let log = Log::open(database.clone(), broker, clock, config.log.clone(), metrics.clone(), stop.clone()).await?;
        let writers = Writers::start(&log, clock, &random, &metrics, &config.writing, &stop);
        let housekeeping = Housekeeping::start(database.clone(), log.clone(), config.housekeeping.clone(), stop);
        let passwords = Passwords::new(&config.auth, random.clone()).await?;
        let tokens = Tokens::open(&config.auth, &config.places.data_dir)?;
        let limits = config.limits.clone();
        let parts = Parts { database, log, clock, random, limits, passwords, tokens, writers, metrics, housekeeping };
        Ok(Self { parts: Arc::new(parts) })
    }

    pub fn accounts(&self) -> accounts::Accounts<'_> {
        accounts::Accounts { app: self }
    }

    pub fn sessions(&self) -> sessions::Sessions<'_> {
        sessions::Sessions { app: self }
    }

    pub fn users(&self) -> users::Users<'_> {
        users::Users { app: self }
    }

    pub fn conversations(&self) -> conversations::Conversations<'_> {
        conversations::Conversations { app: self }
    }

    pub fn participants(&self) -> participants::Participants<'_> {
        participants::Participants { app: self }
    }

    pub fn invites(&self) -> invites::Invites<'_> {
        invites::Invites { app: self }
    }

    pub fn messages(&self) -> messages::Messages<'_> {
        messages::Messages { app: self }
    }

    pub fn searches(&self) -> search::Searches<'_> {
        search::Searches { app: self }
    }

    pub fn receipts(&self) -> receipts::Receipts<'_> {
        receipts::Receipts { app: self }
    }

    pub fn log(&self) -> &Log {
        &self.parts.log
    }

    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    pub fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    pub fn clock(&self) -> Clock {
        self.parts.clock
    }

    pub fn tokens(&self) -> &Tokens {
        &self.parts.tokens
    }

    /// Whether the node's own tasks run and Postgres answers.
    pub async fn is_ready(&self) -> bool {
        let parts = &self.parts;
        let running = parts.log.is_running() && parts.writers.are_running() && parts.housekeeping.is_running();
        running && parts.database.ping().await.is_ok()
    }

    pub(crate) async fn connection(&self) -> crate::error::Result<PooledConnection<'_>> {
        self.parts.database.connection().await
    }

    fn now(&self) -> DateTime<Utc> {
        self.parts.clock.now()
    }
}
