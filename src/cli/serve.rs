//! `parlance serve`: starts the parts of a node, runs until SIGTERM or SIGINT, and stops the parts.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use parlance::clock::Clock;
use parlance::config::{Config, LogFormat, PostgresUrl};
use parlance::domain::{App, Cluster};
use parlance::embedded::postgres::{Holder, Postgres};
use parlance::embedded::s3::S3;
use parlance::http::{self, Server};
use parlance::limiter::Limiter;
use parlance::live::{MemoryExchange, RedisExchange};
use parlance::log::{MemoryBroker, RedisBroker};
use parlance::random::Random;
use parlance::{notices, store, watchdog};

use super::{open_files, signals};

/// Maximum time for the private Postgres to stop, in addition to the time limit of the drain.
const POSTGRES_GRACE: Duration = Duration::from_secs(10);

pub(super) fn run(config: Config) -> Result<()> {
    if std::env::var_os("TRUST_FORWARDED_FOR").is_some() {
        bail!("TRUST_FORWARDED_FOR is no longer a setting: set TRUSTED_PROXIES to the networks of your proxies");
    }
    start_logging(&config)?;
    warn_about_postgres(&config);
    let grace = if config.places.database_url.is_none() { POSTGRES_GRACE } else { Duration::ZERO };
    let process = &config.process;
    let stop = signals::listen(process.drain_delay + process.drain_timeout + notices::CLOSE_TIMEOUT + grace)?;
    let runtime = super::runtime()?;
    let timeout = config.process.watchdog_timeout;
    if !timeout.is_zero() {
        let end = move || {
            signals::exit_process(move || tracing::error!(?timeout, "the runtime does not answer: exiting at once"));
        };
        watchdog::watch(runtime.handle().clone(), timeout, end).context("starting the watchdog")?;
    }
    runtime.block_on(serve(config, stop))
}

async fn serve(mut config: Config, stop: CancellationToken) -> Result<()> {
    // The address is bound first, because a first start may take minutes, and an address in use must be reported at
    // once.
    let listener = TcpListener::bind(config.places.listen_addr)
        .await
        .with_context(|| format!("cannot listen on LISTEN_ADDR ({})", config.places.listen_addr))?;
    open_files::raise_file_limit(&mut config);
    if config.places.database_url.is_some() {
        return Box::pin(serve_on(&config, None, listener, stop)).await;
    }
    let postgres = Postgres::start(&config.places.data_dir, Holder::Server).await?;
    let served = Box::pin(serve_on(&config, Some(&postgres), listener, stop)).await;
    let stopped = postgres.stop().await.context("stopping the private Postgres");
    served.and(stopped)
}

async fn serve_on(
    config: &Config,
    postgres: Option<&Postgres>,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<()> {
    let mut config = config.clone();
    let s3 = open_own_s3(&mut config, &listener)?;
    let url = match (&config.places.database_url, postgres) {
        (Some(url), _) => url.as_str(),
        (None, Some(postgres)) => postgres.url(),
        (None, None) => bail!("there is no database"),
    };
    // The tail does not stop with the signal: streams continue until the drain ends them.
    let tail_stop = CancellationToken::new();
    let ends_tail = tail_stop.clone().drop_guard();
    let opened = async {
        prepare_schema(&config, url, postgres.is_some()).await?;
        open(&config, url, tail_stop).await
    };
    let Some(app) = stop.run_until_cancelled(opened).await else { return Ok(()) };
    let app = app?;
    let server = Server::new(app.clone(), config.clone(), s3.clone())?;
    // The error is ignored, because a closed standard output is no reason to stop.
    let _ = print_banner(&config, postgres, s3.as_ref(), &listener);
    http::serve(server, listener, stop).await?;
    app.close().await;
    // The tail must end before the runtime ends. Otherwise it would seem that Redis has closed the subscription.
    drop(ends_tail);
    tracing::info!("stopped");
    Ok(())
}

/// Opens the server's own S3 and changes the settings to use it. Returns None if S3_ENDPOINT is set. Also returns None
/// if the server's own S3 cannot be opened: then the server runs without files.
fn open_own_s3(config: &mut Config, listener: &TcpListener) -> Result<Option<S3>> {
    if config.s3.s3_endpoint.is_some() {
        return Ok(None);
    }
    let (places, address) = (&config.places, listener.local_addr()?);
    match S3::open(&places.data_dir, &config.s3, address, &Random::system()) {
        Ok(s3) => {
            if places.redis_url.is_some() {
                tracing::info!("files are on this node only: set S3_ENDPOINT if there is more than one node");
            }
            config.s3 = s3.settings(&config.s3);
            Ok(Some(s3))
        }
        Err(error) => {
            tracing::warn!(%error, "files are unavailable");
            Ok(None)
        }
    }
}

async fn open(config: &Config, url: &str, stop: CancellationToken) -> Result<App> {
    let random = Random::system();
    let prefix = &config.places.redis_prefix;
    let cluster = match &config.places.redis_url {
        Some(url) => Cluster {
            broker: Arc::new(RedisBroker::connect(url, prefix, random.clone()).await.context("REDIS_URL")?),
            exchange: Arc::new(RedisExchange::connect(url, prefix, random.clone()).await.context("REDIS_URL")?),
            limiter: Limiter::shared(&config.rates, url, prefix, stop.clone()).context("REDIS_URL")?,
        },
        None => Cluster {
            broker: Arc::new(MemoryBroker::default()),
            exchange: Arc::new(MemoryExchange::default()),
            limiter: Limiter::local(&config.rates),
        },
    };
    Ok(App::open(config, url, cluster, Clock::system(), random, stop).await?)
}

/// Runs missing migrations if the database is private or MIGRATE_ON_START is set. Otherwise returns an error if a
/// migration is missing.
async fn prepare_schema(config: &Config, url: &str, private: bool) -> Result<()> {
    if private || config.places.migrate_on_start {
        for name in store::migrate(url).await.context("DATABASE_URL")? {
            tracing::info!(name, "ran migration");
        }
        return Ok(());
    }
    match store::pending_migrations(url).await.context("DATABASE_URL")? {
        0 => Ok(()),
        missing => bail!(
            "the database lacks {missing} migrations: run `parlance migrate`, or start with MIGRATE_ON_START=true"
        ),
    }
}

fn start_logging(config: &Config) -> Result<()> {
    // The crate s3s logs every request that it refuses as an error, with the whole request, and
    // rustls_platform_verifier logs every certificate that it refuses. Their logs are off by default, and LOG_LEVEL can
    // turn them on again.
    let filter = format!("s3s=off,s3s_fs=off,rustls_platform_verifier=off,{}", config.process.log_level);
    let filter = EnvFilter::try_new(filter).context("LOG_LEVEL")?;
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(terminal);
    match config.process.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Prints the addresses of the server, the services that it uses, and the settings that change these services.
fn print_banner(config: &Config, postgres: Option<&Postgres>, s3: Option<&S3>, listener: &TcpListener) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let base = format!("http://{}", listener.local_addr()?);
    writeln!(out, "Parlance {} is ready.\n", env!("CARGO_PKG_VERSION"))?;
    writeln!(out, "  GraphQL    {base}/graphql   (subscriptions: the same address over WebSocket)")?;
    if config.web.explorers {
        writeln!(out, "  Explorer   {base}/graphiql   (or {base}/playground)")?;
    }
    writeln!(out, "  Health     {base}/health/ready\n")?;
    match postgres {
        Some(postgres) => writeln!(
            out,
            "  Postgres   a private {}, {} in {}; set DATABASE_URL to use your own",
            postgres.version(),
            if postgres.adopted() { "picked up again" } else { "started" },
            postgres.directory().display(),
        )?,
        None => writeln!(out, "  Postgres   from DATABASE_URL")?,
    }
    let redis = match config.places.redis_url {
        Some(_) => "from REDIS_URL",
        None => "none, events stay in this process; set REDIS_URL to run more than one node",
    };
    writeln!(out, "  Redis      {redis}")?;
    match (s3, &config.s3.s3_endpoint) {
        (Some(s3), _) => writeln!(
            out,
            "  Files      stored in {}; set S3_PUBLIC_ENDPOINT for other devices, or S3_ENDPOINT to use your own S3",
            s3.directory().display(),
        )?,
        (None, Some(_)) => writeln!(out, "  Files      from S3_ENDPOINT")?,
        (None, None) => writeln!(out, "  Files      unavailable; the log says why")?,
    }
    writeln!(out, "  Codes      {}", codes_line(config))?;
    if config.auth.jwt_secret.is_none() && config.auth.jwt_private_key_file.is_none() {
        writeln!(
            out,
            "  Tokens     signed with a key in {}; set JWT_PRIVATE_KEY_FILE or JWT_SECRET to share one among nodes",
            config.places.data_dir.display(),
        )?;
    }
    Ok(writeln!(out)?)
}

/// Warns about a connection to Postgres whose TLS an attacker could turn off.
fn warn_about_postgres(config: &Config) {
    let url = config.places.database_url.as_deref().and_then(|url| url.parse::<PostgresUrl>().ok());
    if url.is_some_and(|url| url.is_strippable) {
        tracing::warn!(
            "DATABASE_URL has no sslmode, so someone in the network can turn TLS off: set sslmode=verify-full, or \
             sslmode=disable if you trust the network"
        );
    }
}

/// Says how users get verification codes.
fn codes_line(config: &Config) -> &'static str {
    match (&config.notices.smtp_url, &config.notices.sms_hook_url) {
        (None, None) if config.logs_codes() => "printed in this log; set SMTP_URL and SMS_HOOK_URL to send them",
        (None, None) => "none; set SMTP_URL or SMS_HOOK_URL to send them, or LOG_CODES to print them in this log",
        (Some(_), None) => "sent by e-mail; set SMS_HOOK_URL to send them to phone numbers too",
        (None, Some(_)) => "sent by SMS; set SMTP_URL to send them to e-mail addresses too",
        (Some(_), Some(_)) => "sent by e-mail and SMS",
    }
}
