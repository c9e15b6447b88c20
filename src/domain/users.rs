//! Users, as others find and see them.

use std::collections::HashSet;

use super::App;
use super::error::{Error, Result, Violation};
use crate::ids::UserId;
use crate::store::Connection;
use crate::store::users::{self, Found, User};

/// Characters in a search.
const MAX_QUERY: usize = 64;

pub struct Users<'a> {
    pub(super) app: &'a App,
}

impl Users<'_> {
    pub async fn get(&self, id: UserId) -> Result<Option<User>> {
        Ok(users::by_id(&mut *self.app.connection().await?, id).await?)
    }

    pub async fn get_many(&self, ids: &[UserId]) -> Result<Vec<User>> {
        Ok(users::by_ids(&mut *self.app.connection().await?, ids).await?)
    }

    pub async fn by_username(&self, username: &str) -> Result<Option<User>> {
        let username = username.trim().to_lowercase();
        if username.contains('\0') {
            return Ok(None);
        }
        Ok(users::by_username(&mut *self.app.connection().await?, &username).await?)
    }

    /// By username prefix or display name: the exact username first, then prefixes, then names.
    pub async fn search(&self, query: &str, after: Option<(i32, &str)>, limit: i64) -> Result<Vec<Found>> {
        let query = query.trim().to_lowercase();
        if query.is_empty() || query.chars().count() > MAX_QUERY || query.contains('\0') {
            return Err(Error::invalid("query", format!("A search has 1 to {MAX_QUERY} characters.")));
        }
        Ok(users::search(&mut *self.app.connection().await?, &query, after, limit).await?)
    }
}

/// Fails where one of the ids, which came in the list `path`, is nobody's.
pub(super) async fn check_existing(conn: &mut Connection, ids: &[UserId], path: &str) -> Result<()> {
    let existing: HashSet<UserId> = users::existing(conn, ids).await?.into_iter().collect();
    let missing = ids.iter().enumerate().filter(|(_, id)| !existing.contains(id));
    let violations: Vec<_> =
        missing.map(|(place, _)| Violation::new(format!("{path}.{place}"), "No such user.")).collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
