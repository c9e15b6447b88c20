//! Searching in messages.

use async_graphql::{Context, ID, Object};
use chrono::Utc;

use super::message::Message;
use crate::domain::messaging::search::Search;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::page::{Connection, Forward};
use crate::graphql::scalars::parse_id;
use crate::ids::MessageId;

/// Messages on a page whose size was not asked for.
const DEFAULT_PAGE: i32 = 20;

#[derive(Default)]
pub struct SearchQuery;

#[Object]
impl SearchQuery {
    /// Full-text search over the viewer's own conversations, newest first. All words must be there, the last one as
    /// the beginning of one; case and accents make no difference.
    async fn search_messages(
        &self,
        ctx: &Context<'_>,
        query: String,
        conversation_id: Option<ID>,
        sender_id: Option<ID>,
        #[graphql(default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        after: Option<String>,
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
