//! Secrets that a server makes once and keeps in its data directory.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// The file of this name, with what `make` gives where there is none yet; none but its owner may read it.
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
    // A link never replaces: of two servers that start at once both use the first one's.
    let linked = std::fs::hard_link(&partial, &path);
    std::fs::remove_file(&partial)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(path),
    }
}
