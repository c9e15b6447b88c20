//! The authenticated caller.

use chrono::{DateTime, Utc};

use crate::ids::{SessionId, UserId};

/// A user on one signed-in device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub user: UserId,
    pub session: SessionId,
    /// When the access token expires.
    pub expires_at: DateTime<Utc>,
}
