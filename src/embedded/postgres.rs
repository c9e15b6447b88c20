//! A private PostgreSQL, for a server without `DATABASE_URL`.
//!
//! It uses the PostgreSQL programs of the machine, and downloads programs only if the machine has none. The cluster
//! belongs to one data directory and listens on 127.0.0.1 only. If the server is killed, the cluster keeps running, and
//! the next server adopts it.

mod account;
mod binaries;
mod cluster;
mod download;
mod error;
mod location;
mod lock;
mod pidfile;
mod postmaster;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use binaries::Binaries;
use location::Location;
use pidfile::State;

pub use binaries::Origin;
pub use error::{Error, Holder};

/// The name of the role and of its database.
const ROLE: &str = "parlance";

/// A running private cluster. If it is dropped without [`Postgres::stop`], the cluster keeps running, and the next
/// start on its data directory adopts it.
pub struct Postgres {
    location: Location,
    binaries: Binaries,
    url: String,
    adopted: bool,
    /// Held while this value exists, so that only one server uses a data directory.
    _locks: Vec<File>,
}

impl Postgres {
    /// Starts, or adopts, the cluster of `data_dir`; creates it on first use.
    ///
    /// The first start takes a few seconds, later ones a fraction of one, and
    /// one after a crash as long as PostgreSQL needs to recover.
    ///
    /// # Errors
    /// Each error says what to do; see [`Error`].
    pub async fn start(data_dir: &Path, holder: Holder) -> Result<Self, Error> {
        let data_dir = location::prepare(data_dir)?;
        let mut locks = vec![lock::acquire(&data_dir, holder)?];
        let location = Location::find(&data_dir).await?;
        if location.home() != data_dir {
            // A copied data directory names the same home: it must be locked too.
            locks.push(lock::acquire(location.home(), holder)?);
        }
        let cluster_major = location.cluster_major()?;
        let password = location::password(&data_dir, cluster_major.map(|_| location.cluster()))?;
        let binaries = Binaries::find(&location, cluster_major).await?;
        if cluster_major.is_none() {
            cluster::create(&location, &binaries, &password).await?;
        }
        let server = postmaster::ensure(&location, &binaries).await?;
        Ok(Self { url: address(&password, server.port), adopted: server.adopted, location, binaries, _locks: locks })
    }

    /// Whether `data_dir` has a cluster, so that a start does not create one.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read.
    pub fn exists(data_dir: &Path) -> Result<bool, Error> {
        location::has_cluster(data_dir)
    }

    /// The URL of the cluster of `data_dir` while it runs. None if it accepts no connections.
    ///
    /// # Errors
    /// The same as of [`Postgres::start`].
    pub async fn url_of_running(data_dir: &Path) -> Result<Option<String>, Error> {
        let data_dir = location::prepare(data_dir)?;
        let location = Location::find(&data_dir).await?;
        let password = location::password(&data_dir, Some(location.cluster()))?;
        Ok(match pidfile::read_state(location.cluster())? {
            State::Ready { port } => Some(address(&password, port)),
            _ => None,
        })
    }

    /// The URL to connect to, with role and password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The version of the programs, like `17.6`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// The origin of the programs.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.binaries.origin
    }

    /// The directory of the cluster: `data_dir/postgres`, or another one if the account that runs PostgreSQL cannot
    /// reach that.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.location.cluster()
    }

    /// The file PostgreSQL logs to.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.location.log_file()
    }

    /// Whether the cluster was already running, because an earlier server was killed.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Shuts the cluster down in fast mode (clients are disconnected, all data is written) and waits for its end. Then
    /// the data directory can be used again.
    ///
    /// # Errors
    /// [`Error::Stop`] if it has not ended in time.
    pub async fn stop(self) -> Result<(), Error> {
        postmaster::stop(&self.location, &self.binaries).await
    }
}

fn address(password: &str, port: u16) -> String {
    format!("postgres://{ROLE}:{password}@127.0.0.1:{port}/{ROLE}")
}

impl fmt::Debug for Postgres {
    /// Omits the URL, because it contains the password.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Postgres")
            .field("directory", &self.location.cluster())
            .field("version", &self.binaries.version)
            .finish_non_exhaustive()
    }
}
