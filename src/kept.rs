//! Secrets that a server creates once and stores in its data directory.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Returns the path of the file. If it does not exist, creates it with the content of `make`. Only its owner can read
/// it.
pub fn kept(directory: &Path, name: &str, make: impl FnOnce() -> std::io::Result<String>) -> std::io::Result<PathBuf> {
    let path = directory.join(name);
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(directory)?;
    let partial = directory.join(format!("{name}.{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(make()?.as_bytes())?;
    file.sync_all()?;
    // A hard link never replaces a file. If two servers start at the same time, both use the first one's file.
    let linked = std::fs::hard_link(&partial, &path);
    std::fs::remove_file(&partial)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(path),
    }
}
