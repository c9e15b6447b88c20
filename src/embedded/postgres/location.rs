use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::Error;
use super::account::{Account, Owner};

/// Parent directory of the homes for data directories that PostgreSQL's account cannot enter.
const FALLBACK_DIRECTORY: &str = "/var/lib/parlance";

/// Name of the file in a data directory that contains the path of the home, if the home is another directory.
const LOCATION_FILE: &str = "postgres.location";

/// Number of random bytes in the password, which is written in hexadecimal.
const PASSWORD_BYTES: usize = 24;

/// Bytes that a path must not contain, because pg_ctl and initdb put paths in double quotes and pass them to a shell.
const FORBIDDEN_BYTES: &[u8] = b"\"$`\\\n\r";

/// The directories of a cluster, and the account that runs PostgreSQL in them.
#[derive(Clone, Debug)]
pub(super) struct Location {
    /// Directory that contains the cluster and downloaded programs. The data directory, or another directory if the
    /// account cannot enter the data directory.
    home: PathBuf,
    cluster: PathBuf,
    account: Account,
}

/// Creates the data directory if it does not exist. Returns its absolute path, in which links are resolved.
pub(super) fn prepare(data_dir: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(data_dir).map_err(Error::at(data_dir))?;
    let data_dir = fs::canonicalize(data_dir).map_err(Error::at(data_dir))?;
    if data_dir.as_os_str().as_bytes().iter().any(|byte| FORBIDDEN_BYTES.contains(byte)) {
        return Err(Error::Path(data_dir));
    }
    Ok(data_dir)
}

impl Location {
    /// Finds the home of the cluster: the data directory, or a directory elsewhere if PostgreSQL's account cannot enter
    /// the data directory. In this case a file in the data directory contains the path of the home.
    pub(super) async fn find(data_dir: &Path) -> Result<Self, Error> {
        let recorded = read_location_file(data_dir)?;
        let location = Self::at(recorded.clone().unwrap_or_else(|| data_dir.to_owned()))?;
        if recorded.is_some() {
            // Creates the home again if it was removed.
            create_open(&location.home)?;
        }
        if !location.account.is_other() || location.account.can_enter(&location.home).await? {
            return Ok(location);
        }
        if location.cluster.exists() || recorded.is_some() {
            // A new, empty database elsewhere would look like the loss of all data.
            return Err(location.unreachable());
        }
        let location = Self::at(Path::new(FALLBACK_DIRECTORY).join(short_hash(data_dir)))?;
        create_open(Path::new(FALLBACK_DIRECTORY))?;
        create_open(&location.home)?;
        if !location.account.can_enter(&location.home).await? {
            return Err(location.unreachable());
        }
        let content = [location.home.as_os_str().as_bytes(), b"\n"].concat();
        write_atomically(&data_dir.join(LOCATION_FILE), &content)?;
        Ok(location)
    }

    fn at(home: PathBuf) -> Result<Self, Error> {
        let cluster = home.join("postgres");
        let owner = match fs::metadata(&cluster) {
            Ok(found) => Some(Owner { uid: found.uid(), gid: found.gid() }),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(source) => {
                return Err(Error::Io { path: cluster, source });
            }
        };
        let account = Account::choose(owner)?;
        let own_uid = nix::unistd::Uid::effective().as_raw();
        match owner {
            Some(Owner { uid, .. }) if !account.is_other() && uid != own_uid => {
                Err(Error::Owner { directory: cluster, owner: uid })
            }
            _ => Ok(Self { home, cluster, account }),
        }
    }

    fn unreachable(&self) -> Error {
        Error::Unreachable { directory: self.cluster.clone(), account: self.account.name().to_owned() }
    }

    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    pub(super) fn cluster(&self) -> &Path {
        &self.cluster
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.cluster.join("postgres.log")
    }

    /// Reads the major version that created the cluster. None if the cluster does not exist yet.
    pub(super) fn cluster_major(&self) -> Result<Option<u32>, Error> {
        let path = self.cluster.join("PG_VERSION");
        match fs::read_to_string(&path) {
            Ok(text) => match text.trim().parse() {
                Ok(major) => Ok(Some(major)),
                Err(_) => Err(Error::NotACluster(self.cluster.clone())),
            },
            // A cluster gets its name only when it is complete, so a directory without this file is not a cluster.
            Err(error) if error.kind() == ErrorKind::NotFound && self.cluster.exists() => {
                Err(Error::NotACluster(self.cluster.clone()))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::Io { path, source }),
        }
    }
}

/// Whether `data_dir` has a cluster.
pub(super) fn has_cluster(data_dir: &Path) -> Result<bool, Error> {
    let home = read_location_file(data_dir)?.unwrap_or_else(|| data_dir.to_owned());
    Ok(home.join("postgres").exists())
}

/// Reads the path of the home from the location file in `data_dir`. None if the file does not exist.
fn read_location_file(data_dir: &Path) -> Result<Option<PathBuf>, Error> {
    let path = data_dir.join(LOCATION_FILE);
    match fs::read(&path) {
        Ok(content) => Ok(Some(PathBuf::from(OsStr::from_bytes(content.trim_ascii())))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// Creates a directory that all accounts may enter, whatever the umask is.
fn create_open(directory: &Path) -> Result<(), Error> {
    if directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).create(directory).map_err(Error::at(directory))?;
    fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(Error::at(directory))
}

/// Creates a directory that only the account may enter.
pub(super) fn create_private(directory: &Path, account: &Account) -> Result<(), Error> {
    DirBuilder::new().mode(0o700).create(directory).map_err(Error::at(directory))?;
    account.make_owner(directory)
}

/// Reads the password of the role. If the file does not exist, creates a password for a new cluster (`cluster` is
/// None), but fails for an existing cluster.
pub(super) fn password(data_dir: &Path, cluster: Option<&Path>) -> Result<String, Error> {
    let file = data_dir.join("postgres.password");
    match fs::read_to_string(&file) {
        Ok(password) => return Ok(password.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(source) => return Err(Error::Io { path: file, source }),
    }
    if let Some(cluster) = cluster {
        return Err(Error::PasswordMissing { file, directory: cluster.to_owned() });
    }
    let password = random_hex::<PASSWORD_BYTES>()?;
    write_atomically(&file, format!("{password}\n").as_bytes())?;
    Ok(password)
}

/// Writes a file atomically. Only the owner of the file can read it.
fn write_atomically(path: &Path, content: &[u8]) -> Result<(), Error> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".tmp");
    let fresh = PathBuf::from(fresh);
    let written = private_file(&fresh).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(Error::at(&fresh))?;
    fs::rename(&fresh, path).map_err(Error::at(path))?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Creates a file that only its owner can read. Replaces an existing file, which an interrupted start may have left.
pub(super) fn private_file(path: &Path) -> std::io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Syncs `directory`, so that renames in it survive a crash.
pub(super) fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(Error::at(directory))
}

pub(super) fn random_hex<const N: usize>() -> Result<String, Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}

fn short_hash(path: &Path) -> String {
    hex(&Sha256::digest(path.as_os_str().as_bytes())[..6])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_path_never_changes() {
        assert_eq!(short_hash(Path::new("/srv/chat")), "78f30f26bf3f");
    }

    #[test]
    fn a_password_is_created_once_with_a_new_cluster_and_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let cluster = directory.path().join("postgres");
        let missing = password(directory.path(), Some(&cluster));
        assert!(matches!(missing, Err(Error::PasswordMissing { .. })));

        let first = password(directory.path(), None).unwrap();
        assert_eq!(first.len(), 2 * PASSWORD_BYTES);
        assert_eq!(first, password(directory.path(), Some(&cluster)).unwrap());
        let mode = fs::metadata(directory.path().join("postgres.password")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn paths_with_characters_special_to_a_shell_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(prepare(&directory.path().join("with space")).is_ok());
        assert!(matches!(prepare(&directory.path().join("a$b")), Err(Error::Path(_))));
    }
}
