use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use super::{Error, Holder};

/// Locks `directory/lock` while the returned file is open. The kernel releases the lock when the process ends, for
/// whatever reason.
pub(super) fn acquire(directory: &Path, holder: Holder) -> Result<File, Error> {
    let path = directory.join("lock");
    // The file is not truncated before it is locked, because it contains the pid of the holder.
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(Error::at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(locked(directory, file)),
        Err(TryLockError::Error(source)) => return Err(Error::Io { path, source }),
    }
    let named =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{} {holder}", std::process::id()));
    named.map_err(Error::at(&path))?;
    Ok(file)
}

fn locked(directory: &Path, mut file: File) -> Error {
    let mut text = String::new();
    // The file is empty until the holder of the lock has written its pid.
    let (pid, holder) = match file.read_to_string(&mut text) {
        Ok(_) if !text.trim().is_empty() => text.trim().split_once(' ').unwrap_or((text.trim(), "server")),
        _ => ("unknown", "server"),
    };
    let by = if holder == "command" { Holder::Command } else { Holder::Server };
    Error::Locked { directory: directory.to_owned(), pid: pid.to_owned(), by }
}
