//! Secrets that a server creates once and stores in files that only the owner of the file can read.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Result, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Returns the content of the file. If the file does not exist, first creates it with the text that `create` returns.
pub fn load_or_create(path: &Path, create: impl FnOnce() -> Result<String>) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read,
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let partial = path.with_added_extension(std::process::id().to_string());
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(create()?.as_bytes())?;
    file.sync_all()?;
    // Creating a hard link never replaces a file. If two servers start at the same time, both use the file that was
    // linked first.
    let linked = fs::hard_link(&partial, path);
    fs::remove_file(&partial)?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => fs::read_to_string(path),
    }
}
