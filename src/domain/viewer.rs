//! The caller of an operation, and the users for whom rows are read.

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

/// For whom a row is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// The row is read for one user. The domain checks that the user may see it.
    User(UserId),
    /// The row is read for the recipients of the event that is rendered. The log has checked them.
    Recipients,
}
