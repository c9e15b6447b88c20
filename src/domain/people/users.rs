//! Users: finding them by id, by username and by search.

use std::collections::HashSet;
use std::sync::Arc;

use diesel::QueryResult;

use super::core::PeopleCore;
use crate::domain::error::{Error, Result, Violation};
use crate::domain::validate;
use crate::domain::viewer::Viewer;
use crate::ids::UserId;
use crate::limiter::Rate;
use crate::store::Connection;
use crate::store::people::users::{self, Found, User};

/// Maximum length of a search query in characters.
const MAX_QUERY: usize = 64;

pub struct Users<'a> {
    pub(in crate::domain) core: &'a Arc<PeopleCore>,
}

impl Users<'_> {
    pub async fn get(&self, id: UserId) -> Result<Option<User>> {
        Ok(users::by_id(&mut *self.core.base.connection().await?, id).await?)
    }

    pub async fn get_many(&self, ids: &[UserId]) -> Result<Vec<User>> {
        Ok(users::by_ids(&mut *self.core.base.connection().await?, ids).await?)
    }

    pub async fn by_username(&self, username: &str) -> Result<Option<User>> {
        let username = username.trim().to_lowercase();
        if username.contains('\0') {
            return Ok(None);
        }
        Ok(users::by_username(&mut *self.core.base.connection().await?, &username).await?)
    }

    /// Searches users by a prefix of the username, by the display name, or by the complete verified e-mail address or
    /// phone number if the user allows such searches. Exact matches come first, then matches of a prefix of the
    /// username, then matches of the display name.
    pub async fn search(
        &self,
        viewer: Viewer,
        query: &str,
        after: Option<(i32, &str)>,
        limit: i64,
    ) -> Result<Vec<Found>> {
        let contact_point = validate::contact_point(query);
        let query = query.trim().to_lowercase();
        // `@ada` is how a mention shows a username.
        let query = query.strip_prefix(['@', '＠']).unwrap_or(&query);
        if query.is_empty() || query.chars().count() > MAX_QUERY || query.contains('\0') {
            return Err(Error::invalid("query", format!("A search has 1 to {MAX_QUERY} characters.")));
        }
        self.core.base.check_rate(Rate::Searches, viewer, 1)?;
        let contact_point = contact_point.as_deref();
        let mut connection = self.core.base.connection().await?;
        Ok(users::search(&mut connection, viewer.user, query, contact_point, after, limit).await?)
    }
}

/// Reads the user with this id or username, for commands.
pub(super) async fn by_id_or_username(conn: &mut Connection, user: &str) -> QueryResult<Option<User>> {
    match user.parse::<UserId>() {
        Ok(id) => users::by_id(conn, id).await,
        Err(_) => users::by_username(conn, &user.trim().to_lowercase()).await,
    }
}

/// Returns BAD_USER_INPUT if one of the users does not exist. `path` is the input field with the list of ids.
pub(in crate::domain) async fn check_existing(conn: &mut Connection, ids: &[UserId], path: &str) -> Result<()> {
    let existing: HashSet<UserId> = users::existing(conn, ids).await?.into_iter().collect();
    let missing = ids.iter().enumerate().filter(|(_, id)| !existing.contains(id));
    let violations: Vec<_> = missing
        .map(|(index, _)| Violation::new(format!("{path}.{index}"), "No such user. `searchUsers` finds users."))
        .collect();
    if violations.is_empty() { Ok(()) } else { Err(Error::Invalid(violations)) }
}
