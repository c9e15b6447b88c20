use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The kind of process that uses a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Server,
    /// A command that an operator runs, which stops its PostgreSQL when the command ends.
    Command,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Server => "server",
            Self::Command => "command",
        })
    }
}

/// Reason why the private PostgreSQL is not available. The messages are for operators, and each message says what to
/// do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error(
        "another {by} (pid {pid}) is using {}: stop it, or set DATA_DIR to another directory",
        .directory.display()
    )]
    Locked { directory: PathBuf, pid: String, by: Holder },

    #[error(
        "DATA_DIR {} has a character that PostgreSQL's own tools cannot handle (one of \" $ ` \\ \
         or a line break): choose another, or set DATABASE_URL",
        .0.display()
    )]
    Path(PathBuf),

    #[error(
        "PostgreSQL refuses to run as root and there is no account to run it as (looked for {0}): \
         create one, start this server as an ordinary user, or set DATABASE_URL"
    )]
    NoAccount(String),

    #[error(
        "cannot run programs as {account} ({source}): start this server as an ordinary user, \
         or set DATABASE_URL"
    )]
    Account { account: String, source: io::Error },

    #[error(
        "the database in {} belongs to {account}, which cannot reach it: let that account \
         enter every directory above it (chmod o+x), or set DATABASE_URL",
        .directory.display()
    )]
    Unreachable { directory: PathBuf, account: String },

    #[error(
        "the database in {} belongs to another user (uid {owner}): start this server as that user \
         or as root, or set DATA_DIR or DATABASE_URL",
        .directory.display()
    )]
    Owner { directory: PathBuf, owner: u32 },

    #[error(
        "{} is missing, and without it the database in {} cannot be opened: restore it, or remove \
         that directory to begin with an empty database",
        .file.display(),
        .directory.display()
    )]
    PasswordMissing { file: PathBuf, directory: PathBuf },

    #[error(
        "{} is not a PostgreSQL database directory: move it away, or set DATA_DIR or DATABASE_URL",
        .0.display()
    )]
    NotACluster(PathBuf),

    #[error(
        "the database in {} was created by PostgreSQL {wanted}, this machine has {found}, and \
         downloading {wanted} failed ({reason}): install PostgreSQL {wanted}, or set DATABASE_URL",
        .directory.display()
    )]
    OtherMajor { directory: PathBuf, wanted: u32, found: String, reason: String },

    #[error(
        "found no PostgreSQL 14 or newer on this machine, and downloading one failed ({reason}): \
         install it (Debian, Ubuntu: apt install postgresql; macOS: brew install postgresql), \
         or set DATABASE_URL"
    )]
    NoBinaries { reason: String },

    #[error(
        "PostgreSQL could not create a database in {}: {output}. Correct this, or set DATABASE_URL",
        .directory.display()
    )]
    Create { directory: PathBuf, output: String },

    #[error("PostgreSQL did not start: {output}. Its log is {}. Correct this, or set DATABASE_URL", .log.display())]
    Start { log: PathBuf, output: String },

    #[error("PostgreSQL has not stopped: {output}. Its log is {}", .log.display())]
    Stop { log: PathBuf, output: String },

    #[error("{}: {source}. DATA_DIR must be a directory this server can write to; or set DATABASE_URL", .path.display())]
    Io { path: PathBuf, source: io::Error },

    #[error("the system returned no random bytes for a password: {0}")]
    Random(#[from] getrandom::Error),
}

impl Error {
    /// Returns a function for `map_err` that adds the path to an I/O error.
    pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
