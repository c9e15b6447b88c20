//! Pins: messages that a conversation holds up.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::message::Message;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::loaders::{Rows, failed, grouped};
use crate::graphql::page::{Connection, Forward};
use crate::graphql::scalars::parse_id;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::messaging::messages::Message as Row;
use crate::store::messaging::pins;

/// Pinned messages on a page whose size was not asked for.
pub const PINS_PAGE: i32 = 20;

/// Of what the user may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PinPage {
    pub user: UserId,
    pub conversation: ConversationId,
    pub after: Option<(DateTime<Utc>, MessageId)>,
    pub limit: i64,
}

impl Loader<PinPage> for Rows {
    type Value = Vec<Row>;
    type Error = Error;

    async fn load(&self, keys: &[PinPage]) -> Result<HashMap<PinPage, Vec<Row>>> {
        let connection = self.app.connection().await.map_err(failed)?;
        let mut loaded: HashMap<_, Vec<_>> = HashMap::with_capacity(keys.len());
        let pages = keys.iter().map(|key| ((key.after, key.limit), (key.user, key.conversation)));
        for ((after, limit), wanted) in grouped(pages) {
            for row in pins::pages(&connection, &wanted, after, limit).await.map_err(failed)? {
                let key = PinPage { user: row.viewer_id, conversation: row.message.conversation_id, after, limit };
                loaded.entry(key).or_default().push(row.message);
            }
        }
        Ok(loaded)
    }
}

/// A page of a conversation's pinned messages, as the viewer sees them.
pub(super) async fn pinned(
    ctx: &Context<'_>,
    conversation: ConversationId,
    page: &Forward<(DateTime<Utc>, MessageId)>,
) -> Result<Connection<Message>> {
    let user = ctx.viewer()?.user;
    let key = PinPage { user, conversation, after: page.after, limit: page.limit() };
    let rows = ctx.loaders().load(key).await?.unwrap_or_default();
    // What the statement read is pinned.
    Ok(page.connection(rows, |row| (row.pinned_at.unwrap_or_default(), row.id), Message))
}

#[derive(InputObject)]
pub struct PinMessageInput {
    message_id: ID,
}

#[derive(SimpleObject)]
pub struct PinMessagePayload {
    message: Message,
}

#[derive(InputObject)]
pub struct UnpinMessageInput {
    message_id: ID,
}

#[derive(SimpleObject)]
pub struct UnpinMessagePayload {
    message: Message,
}

#[derive(Default)]
pub struct PinMutation;

#[Object]
impl PinMutation {
    /// In a group its owner and its admins may, in a direct conversation both. A SYSTEM message tells of it.
    async fn pin_message(&self, ctx: &Context<'_>, input: PinMessageInput) -> Result<PinMessagePayload> {
        let viewer = ctx.viewer()?;
        let message = ctx.app().pins().pin(viewer, parse_id(&input.message_id, "messageId")?).await?;
        Ok(PinMessagePayload { message: Message(message) })
    }

    /// Who may pin may unpin.
    async fn unpin_message(&self, ctx: &Context<'_>, input: UnpinMessageInput) -> Result<UnpinMessagePayload> {
        let viewer = ctx.viewer()?;
        let message = ctx.app().pins().unpin(viewer, parse_id(&input.message_id, "messageId")?).await?;
        Ok(UnpinMessagePayload { message: Message(message) })
    }
}
