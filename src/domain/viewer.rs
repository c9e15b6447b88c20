//! The caller of an operation.

use chrono::{DateTime, Utc};

use crate::ids::{SessionId, UserId};

/// The authenticated caller: a user with one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub user: UserId,
    pub session: SessionId,
    /// When the access token expires.
    pub expires_at: DateTime<Utc>,
}
