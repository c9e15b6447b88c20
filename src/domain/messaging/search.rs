//! Search in the messages that are visible to the viewer.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::core::MessagingCore;
use crate::domain::error::{Error, NO_CONVERSATION, Result};
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::limiter::Rate;
use crate::store::conversations::conversations;
use crate::store::messaging::messages::Message;
use crate::store::messaging::search::{self, Criteria};
use crate::text;

/// Maximum length of a query in characters. A client can send the text of a whole message as a query; only its first
/// words count.
const MAX_QUERY: usize = 8000;

/// A search of a client.
pub struct Search {
    /// The words that a message must contain.
    pub query: String,
    pub conversation: Option<ConversationId>,
    pub sender: Option<UserId>,
}

pub struct Searches<'a> {
    pub(in crate::domain) core: &'a Arc<MessagingCore>,
}

impl Searches<'_> {
    /// Returns the matching messages after the position `after`, newest first. A query without words matches no
    /// message.
    pub async fn messages(
        &self,
        viewer: Viewer,
        search: Search,
        after: Option<(DateTime<Utc>, MessageId)>,
        limit: i64,
    ) -> Result<Vec<Message>> {
        if search.query.chars().count() > MAX_QUERY {
            return Err(Error::invalid("query", format!("A search has at most {MAX_QUERY} characters.")));
        }
        self.core.base.check_rate(Rate::Searches, viewer, 1)?;
        let terms = text::query(&search.query);
        let mut connection = self.core.base.connection().await?;
        if let Some(conversation) = search.conversation {
            let visible = conversations::visible_to(&mut connection, viewer.user, &[conversation]).await?;
            if visible.is_empty() {
                return Err(NO_CONVERSATION);
            }
        }
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let criteria = Criteria { terms, conversation: search.conversation, sender: search.sender };
        Ok(search::messages(&mut connection, viewer.user, &criteria, after, limit).await?)
    }
}
