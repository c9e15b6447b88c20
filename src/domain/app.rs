//! `App`: starts the domain of a node. `services` gives access to its services.

mod services;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::base::Base;
use super::calls::call_events;
use super::calls::call_timeouts::CallTimeouts;
use super::calls::core::CallsCore;
use super::conversations::core::ConversationsCore;
use super::error::Result;
use super::files::core::FilesCore;
use super::files::files::Files;
use super::files::sweeper::Sweep;
use super::housekeeping::Housekeeper;
use super::messaging::core::MessagingCore;
use super::messaging::expiry::MessageExpiry;
use super::messaging::scheduler::Scheduler;
use super::messaging::search_indexer::SearchIndexer;
use super::messaging::writer::{Committer, Writers};
use super::people::core::PeopleCore;
use super::people::last_seen;
use super::people::passwords::Passwords;
use super::people::presence;
use super::people::tokens::{KeyError, Tokens};
use super::phone;
use super::push::core::PushError;
use super::push::start::Pushes;
use super::tasks::Tasks;
use crate::blobs::Blobs;
use crate::clock::Clock;
use crate::config::{Config, Limits, RegistrationMode};
use crate::issuers::{self, Issuers};
use crate::limiter::{Key, Limiter, Rate};
use crate::live::{Exchange, Live};
use crate::log::{Broker, LiveSessions, Log, Observers, RowCache};
use crate::metrics::Metrics;
use crate::notices::{self, Notifier};
use crate::random::Random;
use crate::store::Database;

/// The parts of a node that the domain uses. Cheap to clone.
#[derive(Clone)]
pub struct App {
    inner: Arc<Inner>,
}

struct Inner {
    base: Base,
    row_cache: RowCache,
    live: Live,
    files: Arc<FilesCore>,
    people: Arc<PeopleCore>,
    messaging: Arc<MessagingCore>,
    calls: Arc<CallsCore>,
    conversations: Arc<ConversationsCore>,
    pushes: Pushes,
    tasks: Tasks,
}

/// Reason why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Part(#[from] crate::error::Error),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Notices(#[from] notices::OpenError),
    #[error(transparent)]
    Issuers(#[from] issuers::FileError),
    #[error(transparent)]
    Pushes(#[from] PushError),
    #[error("GUESTS=on needs REGISTRATION=open: a guest becomes a regular account without an invite or an issuer")]
    Guests,
    #[error("REGISTRATION=external needs ISSUERS_FILE: only the sign-in at an issuer makes an account")]
    External,
    #[error(
        "WEBAUTHN_ORIGINS has {origin}, but browsers accept the passkeys of WEBAUTHN_RP_ID ({rp_id}) only on pages of \
         this domain and of its subdomains"
    )]
    Webauthn { origin: String, rp_id: String },
}

/// The channels between a node and the other nodes: through Redis, or in memory for a single node.
pub struct Cluster {
    pub broker: Arc<dyn Broker>,
    pub exchange: Arc<dyn Exchange>,
    pub limiter: Limiter,
}

impl App {
    /// Checks the settings that depend on each other or on a file, before anything is started or migrated.
    pub fn check(config: &Config) -> Result<(), OpenError> {
        if config.registration.guests && config.registration.registration != RegistrationMode::Open {
            return Err(OpenError::Guests);
        }
        if config.registration.registration == RegistrationMode::External && config.issuers.issuers_file.is_none() {
            return Err(OpenError::External);
        }
        if let Some(origin) = config.webauthn.foreign_origin() {
            return Err(OpenError::Webauthn {
                origin: origin.to_owned(),
                rp_id: config.webauthn.webauthn_rp_id.clone(),
            });
        }
        Pushes::check(&config.push)?;
        Ok(Issuers::check(config.issuers.issuers_file.as_deref())?)
    }

    /// Opens the database, the log and the keys of a node, and starts its background tasks. The tasks run until `stop`
    /// is cancelled.
    pub async fn open(
        config: &Config,
        database_url: &str,
        cluster: Cluster,
        clock: Clock,
        random: Random,
        stop: CancellationToken,
    ) -> Result<Self, OpenError> {
        Self::check(config)?;
        let Cluster { broker, exchange, limiter } = cluster;
        let metrics = Metrics::default();
        let notices = Notifier::open(&config.notices, config.logs_codes(), clock, &random, &metrics.notices(), &stop)?;
        let issuers = Issuers::open(config.issuers.issuers_file.as_deref(), config.issuers.issuer_refetch_interval)?;
        let database = Database::connect(database_url, &config.postgres).await?;
        let observers = Observers::default();
        let (observing, settings) = (observers.clone(), config.log.clone());
        let log =
            Log::open(database.clone(), broker, observing, clock, settings, metrics.clone(), stop.clone()).await?;
        let Observers { rows: row_cache, sessions: live_sessions, signals } = observers;
        let mut tasks = Tasks::new(stop.clone());
        let committer = Committer { log: log.clone(), clock, random: random.clone(), metrics: metrics.clone() };
        let writers = Writers::start(&mut tasks, &committer, &config.writing);
        let scheduler = Scheduler::start(&mut tasks, &database, committer, &config.writing);
        let tail_poll_interval = config.log.tail_poll_interval;
        tasks.spawn(MessageExpiry::new(&database, &log, &signals, clock, tail_poll_interval).run());
        let indexer = SearchIndexer::open(&database, &metrics, &random, &config.log).await?;
        tasks.spawn(indexer.run(log.clone()));
        let settings = config.housekeeping.clone();
        let housekeeper =
            Housekeeper { database: database.clone(), log: log.clone(), settings, metrics: metrics.clone() };
        tasks.spawn(housekeeper.run());
        let call_settings = config.calls.with_signal_ttl_for(&config.socket);
        let call_timeouts =
            CallTimeouts::new(&database, &log, &live_sessions, &signals, &random, &call_settings, tail_poll_interval);
        tasks.spawn(call_timeouts.run());
        let listener_log = log.clone();
        let listeners = Arc::new(move |conversation| listener_log.listeners(conversation));
        let (live, departed) = Live::open(exchange, clock, &random, &config.live, metrics.clone(), listeners, &stop);
        tasks.spawn(last_seen::write_all(database.clone(), departed));
        tasks.spawn(presence::refresh_presences(signals.updated_users(), live.clone()));
        let blobs = Blobs::open(&config.s3, &config.web, clock, metrics.clone()).await?;
        let files = Arc::new(Files::new(blobs, config));
        tasks.spawn(Sweep { database: database.clone(), files: files.clone() }.run());
        tokio::task::spawn_blocking(phone::load_rules);
        let passwords = Passwords::new(&config.auth, random.clone()).await?;
        let tokens = Tokens::open(&config.auth, &config.places.data_dir)?;
        let base = Base { database, log, clock, random, limits: Arc::new(config.limits.clone()), limiter, metrics };
        let files = Arc::new(FilesCore { base: base.clone(), files });
        let people = Arc::new(PeopleCore {
            base: base.clone(),
            files: files.clone(),
            live: live.clone(),
            live_sessions,
            passwords,
            tokens,
            registration: config.registration.registration,
            guests: config.registration.guests,
            issuers,
            issuer_settings: config.issuers.clone(),
            webauthn: config.webauthn.clone(),
            app_name: config.notices.app_name.clone(),
            notices,
            sms_countries: config.notices.sms_countries.clone(),
        });
        let messaging = Arc::new(MessagingCore { base: base.clone(), live: live.clone(), writers, scheduler });
        let calls = Arc::new(CallsCore {
            base: base.clone(),
            settings: call_settings,
            webrtc: config.webrtc.clone(),
            delivery_timeout: call_events::delivery_timeout(&config.socket),
        });
        let conversations = Arc::new(ConversationsCore {
            base: base.clone(),
            live: live.clone(),
            files: files.clone(),
            people: people.clone(),
            calls: calls.clone(),
        });
        let pushes = Pushes::start(&mut tasks, &base, &live, &people.notices, config).await?;
        let inner = Inner { base, row_cache, live, files, people, messaging, calls, conversations, pushes, tasks };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sends the notices that are queued, waits for the pushes in flight, closes the live state, and stores the last-seen
    /// time of all users who are connected to this node. This is the last step of a regular shutdown. The users may
    /// already have reconnected to another node.
    pub async fn close(&self) {
        let leave = async {
            let departed = self.inner.live.close().await;
            if let Err(error) = last_seen::write(&self.inner.base.database, departed).await {
                tracing::warn!(%error, "could not store when users were last seen");
            }
        };
        tokio::join!(leave, self.inner.people.notices.close(), self.inner.pushes.close());
    }

    pub(super) fn people(&self) -> &Arc<PeopleCore> {
        &self.inner.people
    }

    pub(super) fn live(&self) -> &Live {
        &self.inner.live
    }

    pub fn log(&self) -> &Log {
        &self.inner.base.log
    }

    pub fn row_cache(&self) -> &RowCache {
        &self.inner.row_cache
    }

    pub fn live_sessions(&self) -> &LiveSessions {
        &self.inner.people.live_sessions
    }

    pub fn metrics(&self) -> &Metrics {
        &self.inner.base.metrics
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.base.limits
    }

    pub fn registration(&self) -> RegistrationMode {
        self.inner.people.registration
    }

    pub fn clock(&self) -> Clock {
        self.inner.base.clock
    }

    /// Returns the public key with which browsers subscribe to pushes of this server, in Base64 for URLs.
    pub fn vapid_public_key(&self) -> String {
        self.inner.pushes.core.pusher.vapid_public_key()
    }

    pub fn tokens(&self) -> &Tokens {
        &self.inner.people.tokens
    }

    /// Whether all background tasks of the node run and Postgres answers.
    pub async fn is_ready(&self) -> bool {
        let inner = &self.inner;
        let running = inner.base.log.is_running() && inner.live.is_running() && inner.tasks.are_running();
        running && inner.base.database.ping().await.is_ok()
    }

    pub fn blobs(&self) -> &Blobs {
        &self.inner.files.files.blobs
    }

    pub fn limiter(&self) -> &Limiter {
        &self.inner.base.limiter
    }

    /// Counts `count` actions of `key`. If the rate does not allow all of them now, counts no action and returns
    /// RATE_LIMITED.
    pub fn check_rate_for(&self, rate: Rate, key: Key, count: u32) -> Result<()> {
        self.inner.base.check_rate_for(rate, key, count)
    }
}
