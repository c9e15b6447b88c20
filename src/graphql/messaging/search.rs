//! Full-text search in messages.

use async_graphql::{Context, ID, Object};
use chrono::Utc;

use super::message::Message;
use crate::domain::messaging::search::Search;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::page::{Connection, Forward};
use crate::graphql::scalars::parse_id;
use crate::ids::MessageId;

/// Default number of messages on a page.
const DEFAULT_PAGE: i32 = 20;

#[derive(Default)]
pub struct SearchQuery;

#[Object]
impl SearchQuery {
    /// Full-text search in the messages that are visible to the viewer, newest first. A message matches if its body
    /// contains all words of the query; the last word matches as a prefix. Case and accents are ignored. A new message is
    /// found about a second after it was sent at the latest. Only the first 16 words of the query count, and a query
    /// without a word finds no messages. Errors: NOT_FOUND if the viewer is not a participant of `conversationId`.
    /// BAD_USER_INPUT for a query of more than 8000 characters.
    async fn search_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Words to search for, at most 8000 characters.")] query: String,
        #[graphql(desc = "Id of a conversation to search. All conversations if omitted.")] conversation_id: Option<ID>,
        #[graphql(desc = "Id of the user who sent the messages. Any user if omitted.")] sender_id: Option<ID>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<Message>> {
        let viewer = ctx.viewer()?;
        let page = Forward::<(chrono::DateTime<Utc>, MessageId)>::new(first.unwrap_or(DEFAULT_PAGE), after.as_deref())?;
        let search = Search {
            query,
            conversation: conversation_id.map(|id| parse_id(&id, "conversationId")).transpose()?,
            sender: sender_id.map(|id| parse_id(&id, "senderId")).transpose()?,
        };
        let rows = ctx.app().searches().messages(viewer, search, page.after, page.limit()).await?;
        Ok(page.connection(rows, |row| (row.created_at, row.id), Message))
    }
}
