//! The caller of an operation, and the users for whom rows are read.

use chrono::{DateTime, Utc};

use crate::ids::{SessionId, UserId};

/// The authenticated caller: a user, and the session of the device that sent the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Viewer {
    pub user: UserId,
    pub session: SessionId,
    /// Time at which the access token expires.
    pub expires_at: DateTime<Utc>,
}

/// The users for whom a row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// A single user. The domain checks that this user may see the row.
    User(UserId),
    /// All recipients of the event that is being rendered. The log has already checked that they may get the event.
    Recipients,
}
