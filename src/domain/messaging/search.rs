//! Search in the messages that are visible to the viewer.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::core::MessagingCore;
use crate::domain::error::{Error, NO_CONVERSATION, Result};
use crate::domain::viewer::Viewer;
use crate::ids::MessageId;
use crate::limiter::Rate;
use crate::store::conversations::conversations;
use crate::store::messaging::messages::Message;
use crate::store::messaging::search;

pub use crate::store::messaging::search::Search;

/// Maximum length of a query in characters. A client can send the text of a whole message as a query; only its first
/// words count.
const MAX_QUERY: usize = 8000;

pub struct Searches<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Searches<'_> {
    /// Returns the matching messages after the position `after`, newest first. A query without words matches no
    /// message.
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
        self.core.base.check_rate(Rate::Searches, viewer, 1)?;
        // Postgres does not accept a NUL character in text, so no message contains a NUL.
        search.query = search.query.replace('\0', " ");
        let mut connection = self.core.base.connection().await?;
        if let Some(conversation) = search.conversation {
            let visible = conversations::visible_to(&mut connection, viewer.user, &[conversation]).await?;
            if visible.is_empty() {
                return Err(NO_CONVERSATION);
            }
        }
        Ok(search::messages(&mut connection, viewer.user, &search, after, limit).await?)
    }
}
