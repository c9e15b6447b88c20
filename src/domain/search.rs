//! Search in the messages visible to the viewer.

use chrono::{DateTime, Utc};

use super::error::{Error, Result};
use super::{App, Viewer};
use crate::ids::MessageId;
use crate::limiter::Rate;
use crate::store::messages::Message;
use crate::store::search;

pub use crate::store::search::Search;

/// Maximum length of a query in characters. A client may search for a whole message; only its first words count.
const MAX_QUERY: usize = 8000;

pub struct Searches<'a> {
    pub(super) app: &'a App,
}

impl Searches<'_> {
    /// The matching messages after the place `after`, newest first. A query without words matches no message.
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
        // Postgres does not accept NUL in text, so no message contains one.
        search.query = search.query.replace('\0', " ");
        if let Some(conversation) = search.conversation {
            self.app.conversations().get(viewer, conversation).await?;
        }
        Ok(search::messages(&mut *self.app.connection().await?, viewer.user, &search, after, limit).await?)
    }
}
