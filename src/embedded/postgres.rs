//! A private PostgreSQL, for a server without `DATABASE_URL`.
//!
//! Uses the PostgreSQL programs that are installed on the machine, and downloads programs only if no suitable programs
//! are installed. The database cluster belongs to one data directory and listens on 127.0.0.1 only. If the server is
//! killed, the cluster keeps running, and the next server adopts it.

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
    /// Locks that are held while this value exists, so that only one server uses a data directory.
    _locks: Vec<File>,
}

impl Postgres {
    /// Starts the cluster of `data_dir`, or adopts it if it is running. Creates the cluster if it does not exist.
    ///
    /// The first start takes a few seconds, and later starts take less than a second. A start after a crash takes as
    /// long as PostgreSQL needs to recover.
    ///
    /// # Errors
    /// The message of each error says what to do; see [`Error`].
    pub async fn start(data_dir: &Path, holder: Holder) -> Result<Self, Error> {
        let data_dir = location::prepare(data_dir)?;
        let mut locks = vec![lock::acquire(&data_dir, holder)?];
        let location = Location::find(&data_dir).await?;
        if location.home() != data_dir {
            // A copy of a data directory contains the path of the same home, so the home must be locked too.
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

    /// Whether `data_dir` has a cluster. If not, a start creates a cluster.
    ///
    /// # Errors
    /// [`Error::Io`] if the directory cannot be read.
    pub fn exists(data_dir: &Path) -> Result<bool, Error> {
        location::has_cluster(data_dir)
    }

    /// Returns the URL of the cluster of `data_dir`. None if the cluster does not accept connections.
    ///
    /// # Errors
    /// The same errors as [`Postgres::start`].
    pub async fn url_of_running(data_dir: &Path) -> Result<Option<String>, Error> {
        let data_dir = location::prepare(data_dir)?;
        let location = Location::find(&data_dir).await?;
        let password = location::password(&data_dir, Some(location.cluster()))?;
        Ok(match pidfile::read_state(location.cluster())? {
            State::Ready { port } => Some(address(&password, port)),
            _ => None,
        })
    }

    /// Returns the URL to connect to, with role and password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the version of the PostgreSQL programs, such as `17.6`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.binaries.version
    }

    /// Returns the origin of the PostgreSQL programs.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.binaries.origin
    }

    /// Returns the directory of the cluster: `data_dir/postgres`, or a directory elsewhere if the account that runs
    /// PostgreSQL cannot enter `data_dir`.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.location.cluster()
    }

    /// Returns the path of the file that PostgreSQL logs to.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.location.log_file()
    }

    /// Whether the cluster was already running at the start, because an earlier server was killed.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Shuts the cluster down in fast mode (clients are disconnected, all data is written), and waits until PostgreSQL
    /// has ended. After that the data directory can be used again.
    ///
    /// # Errors
    /// [`Error::Stop`] if PostgreSQL has not ended in time.
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
