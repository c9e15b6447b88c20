//! The rules of the chat: validation, permissions and transactions. They know neither GraphQL nor HTTP nor Redis.

pub mod accounts;
pub mod addresses;
pub mod attachments;
mod avatars;
pub mod bans;
mod batch;
pub mod blocks;
pub mod call_access;
pub mod call_events;
mod call_keeper;
pub mod call_signals;
mod call_state;
pub mod calls;
mod change;
pub mod client;
pub mod contacts;
pub mod conversations;
mod error;
mod expiry;
pub mod export;
mod files;
mod groups;
mod housekeeping;
pub mod ice_servers;
pub mod inbox;
pub mod invites;
mod last_seen;
mod limits;
pub mod memberships;
pub mod mentions;
pub mod messages;
pub mod participants;
mod password_tries;
mod passwords;
pub mod permissions;
pub mod pins;
pub mod presence;
pub mod privacy;
pub mod reactions;
pub mod receipts;
mod refresh_tokens;
pub mod registration_invites;
pub mod rooms;
pub mod scheduled_messages;
mod scheduler;
pub mod search;
pub mod seed;
pub mod sessions;
mod sweeper;
mod system;
mod tasks;
mod tokens;
pub mod typing;
pub mod uploads;
pub mod users;
mod validate;
mod watch;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use call_keeper::CallKeeper;
pub use error::{CallConflict, Error, Result, Violation};
use expiry::Reaper;
use files::Files;
use housekeeping::Housekeeper;
use passwords::Passwords;
pub use tokens::Tokens;

use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::config::{CallSettings, Config, Limits, RegistrationMode, Webrtc};
use crate::ids::{SessionId, UserId};
use crate::limiter::Limiter;
use crate::live::{Exchange, Live};
use crate::log::{Broker, Log};
use crate::metrics::Metrics;
use crate::random::Random;
use crate::store::{Database, PooledConnection};
use scheduler::Scheduler;
use sweeper::Sweep;
use tasks::Tasks;
use writer::Writers;

/// The parts of a node that the domain works with. Cheap to clone.
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
    limiter: Limiter,
    registration: RegistrationMode,
    calls: CallSettings,
    /// Time after which a call signal has reached its device, or the device's connection is known to be broken.
    handed_over: Duration,
    webrtc: Webrtc,
    passwords: Passwords,
    tokens: Tokens,
    writers: Writers,
    metrics: Metrics,
    scheduler: Scheduler,
    live: Live,
    files: Arc<Files>,
    tasks: Tasks,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Part(#[from] crate::error::Error),
    #[error(transparent)]
    Key(#[from] tokens::KeyError),
}

/// The authenticated caller: a user with one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub user: UserId,
    pub session: SessionId,
    /// Time at which the caller's access token expires.
    pub expires_at: DateTime<Utc>,
}

/// Connections of a node to the other nodes.
pub struct Cluster {
    pub broker: Arc<dyn Broker>,
    pub exchange: Arc<dyn Exchange>,
    pub limiter: Limiter,
}

impl App {
    /// Starts the parts of a node: database, log, background tasks, keys. The tasks run until `stop` is cancelled.
    pub async fn open(
        config: &Config,
        database_url: &str,
        cluster: Cluster,
        clock: Clock,
        random: Random,
        stop: CancellationToken,
    ) -> Result<Self, OpenError> {
        let Cluster { broker, exchange, limiter } = cluster;
        let database = Database::connect(database_url, &config.postgres).await?;
        let metrics = Metrics::default();
        let log = Log::open(database.clone(), broker, clock, config.log.clone(), metrics.clone(), stop.clone()).await?;
        let mut tasks = Tasks::new(stop.clone());
        let writers = Writers::start(&mut tasks, &log, clock, &random, &metrics, &config.writing);
        let scheduler = Scheduler::start(&mut tasks, &database, &log, clock, &random, &metrics, &config.writing);
        let tail_look = config.log.tail_poll_interval;
        tasks.spawn(Reaper { database: database.clone(), log: log.clone(), clock, tail_look }.run());
        let settings = config.housekeeping.clone();
        tasks.spawn(Housekeeper { database: database.clone(), log: log.clone(), settings }.run());
        tasks.spawn(CallKeeper::new(&database, &log, &random, &config.calls, tail_look).run());
        let heard = log.clone();
        let listeners = Arc::new(move |conversation| heard.listeners(conversation));
        let (live, departed) = Live::open(exchange, clock, &random, &config.live, metrics.clone(), listeners, &stop);
        tasks.spawn(last_seen::write_all(database.clone(), departed));
        tasks.spawn(presence::look_again(log.updated_users(), live.clone()));
        let blobs = Blobs::open(&config.s3, &config.web, clock, metrics.clone()).await?;
        let files = Arc::new(Files::new(blobs, config));
        tasks.spawn(Sweep { database: database.clone(), files: files.clone() }.run());
        let passwords = Passwords::new(&config.auth, random.clone()).await?;
        let tokens = Tokens::open(&config.auth, &config.places.data_dir)?;
        let (limits, calls, webrtc) = (config.limits.clone(), config.calls.clone(), config.webrtc.clone());
        let parts = Parts {
            database,
            log,
            clock,
            random,
            limits,
            limiter,
            registration: config.registration.registration,
            calls,
            handed_over: call_events::handed_over(&config.socket),
            webrtc,
            passwords,
            tokens,
            writers,
            metrics,
            scheduler,
            live,
            files,
            tasks,
        };
        Ok(Self { parts: Arc::new(parts) })
    }

    /// Closes the live state and stores the last-seen time of all users who are connected to this node. It is the last
    /// step of a regular shutdown; the users may reconnect to another node.
    pub async fn close(&self) {
        let departed = self.parts.live.close().await;
        if let Err(error) = last_seen::write(&self.parts.database, departed).await {
            tracing::warn!(%error, "could not store when users were last seen");
        }
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

    pub fn bans(&self) -> bans::Bans<'_> {
        bans::Bans { app: self }
    }

    pub fn messages(&self) -> messages::Messages<'_> {
        messages::Messages { app: self }
    }

    pub fn reactions(&self) -> reactions::Reactions<'_> {
        reactions::Reactions { app: self }
    }

    pub fn pins(&self) -> pins::Pins<'_> {
        pins::Pins { app: self }
    }

    pub fn searches(&self) -> search::Searches<'_> {
        search::Searches { app: self }
    }

    pub fn receipts(&self) -> receipts::Receipts<'_> {
        receipts::Receipts { app: self }
    }

    pub fn contacts(&self) -> contacts::Contacts<'_> {
        contacts::Contacts { app: self }
    }

    pub fn blocks(&self) -> blocks::Blocks<'_> {
        blocks::Blocks { app: self }
    }

    pub fn privacy(&self) -> privacy::Privacy<'_> {
        privacy::Privacy { app: self }
    }

    pub fn memberships(&self) -> memberships::Memberships<'_> {
        memberships::Memberships { app: self }
    }

    pub fn scheduled_messages(&self) -> scheduled_messages::ScheduledMessages<'_> {
        scheduled_messages::ScheduledMessages { app: self }
    }

    pub fn uploads(&self) -> uploads::Uploads<'_> {
        uploads::Uploads { app: self }
    }

    pub fn attachments(&self) -> attachments::Attachments<'_> {
        attachments::Attachments { app: self }
    }

    pub fn calls(&self) -> calls::Calls<'_> {
        calls::Calls { app: self }
    }

    pub fn presences(&self) -> presence::Presences<'_> {
        presence::Presences { app: self }
    }

    pub fn typing(&self) -> typing::Typings<'_> {
        typing::Typings { app: self }
    }

    pub fn rooms(&self) -> rooms::Rooms<'_> {
        rooms::Rooms { app: self }
    }

    pub fn ice_servers(&self) -> ice_servers::IceServers<'_> {
        ice_servers::IceServers { app: self }
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

    pub fn registration(&self) -> RegistrationMode {
        self.parts.registration
    }

    pub fn clock(&self) -> Clock {
        self.parts.clock
    }

    pub fn tokens(&self) -> &Tokens {
        &self.parts.tokens
    }

    /// Whether all background tasks of the node run and Postgres answers.
    pub async fn is_ready(&self) -> bool {
        let parts = &self.parts;
        let running = parts.log.is_running() && parts.live.is_running() && parts.tasks.are_running();
        running && parts.database.ping().await.is_ok()
    }

    pub(crate) async fn connection(&self) -> crate::error::Result<PooledConnection<'_>> {
        self.parts.database.connection().await
    }

    pub fn blobs(&self) -> &Blobs {
        &self.parts.files.blobs
    }

    fn live(&self) -> &Live {
        &self.parts.live
    }

    fn now(&self) -> DateTime<Utc> {
        self.parts.clock.now()
    }
}
