//! Searching in the messages that the viewer may see.

use chrono::{DateTime, Utc};

use super::error::{Error, Result};
use super::{App, Viewer};
use crate::ids::MessageId;
use crate::limiter::Rate;
use crate::store::messages::Message;
use crate::store::search;

pub use crate::store::search::Search;

/// Characters of a query. A whole message may be one; its first words count.
const MAX_QUERY: usize = 8000;

pub struct Searches<'a> {
    pub(super) app: &'a App,
}

impl Searches<'_> {
    /// Newest first, after the place `after`. No word, nothing found.
    pub async fn messages(
        &self,
        viewer: Viewer,
        mut search: Search,
        after: Option<(DateTime<Utc>, MessageId)>,
        limit: i64,
    ) -> Result<Vec<Message>> {
        if search.query.chars().count() > MAX_QUERY {
            return Err(Error::invalid("query", format!("A search has at most {MAX_QUERY} characters.")));
        }
        self.app.take(Rate::Searches, viewer, 1)?;
        // No message holds it, and Postgres takes it nowhere.
        search.query = search.query.replace('\0', " ");
        if let Some(conversation) = search.conversation {
            self.app.conversations().get(viewer, conversation).await?;
        }
        Ok(search::messages(&mut *self.app.connection().await?, viewer.user, &search, after, limit).await?)
    }
}
