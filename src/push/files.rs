//! The files of keys that the settings name.

use std::path::{Path, PathBuf};

use crate::outbound::with_causes;

/// Reason why the server cannot send pushes with these settings. The text names the setting.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{setting} ({}) cannot be read: {reason}", .path.display())]
    Unreadable { setting: &'static str, path: PathBuf, reason: std::io::Error },
    #[error("{setting} ({}) {reason}", .path.display())]
    Malformed { setting: &'static str, path: PathBuf, reason: String },
    #[error("the clients for pushes cannot be prepared: {0}")]
    Client(String),
}

impl From<reqwest::Error> for OpenError {
    fn from(error: reqwest::Error) -> Self {
        Self::Client(with_causes(error))
    }
}

pub(super) fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|reason| OpenError::Unreadable { setting, path: path.to_owned(), reason })
}

/// Returns the error for a file with a wrong content. `reason` continues the sentence, such as "is not a key".
pub(super) fn malformed(setting: &'static str, path: &Path, reason: impl Into<String>) -> OpenError {
    OpenError::Malformed { setting, path: path.to_owned(), reason: reason.into() }
}
