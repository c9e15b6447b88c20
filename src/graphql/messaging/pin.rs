//! Pins: messages that a conversation highlights.

use std::collections::HashMap;

use async_graphql::dataloader::Loader;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};

use super::message::Message;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::loaders::{Rows, grouped};
use crate::graphql::page::{Connection, Forward};
use crate::graphql::scalars::parse_id;
use crate::ids::{ConversationId, MessageId, UserId};
use crate::store::messaging::messages::Message as Row;

/// Default number of pinned messages on a page.
pub const PINS_PAGE: i32 = 20;

/// Key of a page of a conversation's pinned messages that are visible to the user; not in the result if the page is
/// empty.
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
        let mut loaded: HashMap<_, Vec<_>> = HashMap::with_capacity(keys.len());
        let pages = keys.iter().map(|key| ((key.after, key.limit), (key.user, key.conversation)));
        for ((after, limit), wanted) in grouped(pages) {
            for row in self.app.pins().pages(&wanted, after, limit).await? {
                let key = PinPage { user: row.viewer_id, conversation: row.message.conversation_id, after, limit };
                loaded.entry(key).or_default().push(row.message);
            }
        }
        Ok(loaded)
    }
}

/// Returns a page of a conversation's pinned messages that are visible to the viewer.
pub(in crate::graphql) async fn pinned(
    ctx: &Context<'_>,
    conversation: ConversationId,
    page: &Forward<(DateTime<Utc>, MessageId)>,
) -> Result<Connection<Message>> {
    let user = ctx.viewer()?.user;
    let key = PinPage { user, conversation, after: page.after, limit: page.limit() };
    let rows = ctx.loaders().load(key).await?.unwrap_or_default();
    // The default is never used, because the statement returns only rows with `pinned_at`.
    Ok(page.connection(rows, |row| (row.pinned_at.unwrap_or_default(), row.id), Message))
}

/// Input of the `pinMessage` mutation.
#[derive(InputObject)]
pub struct PinMessageInput {
    /// Id of the message to pin.
    message_id: ID,
}

/// Result of the `pinMessage` mutation.
#[derive(SimpleObject)]
pub struct PinMessagePayload {
    /// The pinned message.
    message: Message,
}

/// Input of the `unpinMessage` mutation.
#[derive(InputObject)]
pub struct UnpinMessageInput {
    /// Id of the message to unpin.
    message_id: ID,
}

/// Result of the `unpinMessage` mutation.
#[derive(SimpleObject)]
pub struct UnpinMessagePayload {
    /// The message, which is no longer pinned.
    message: Message,
}

#[derive(Default)]
pub struct PinMutation;

#[Object]
impl PinMutation {
    /// Pins a message for all participants and adds a SYSTEM message. The owner and admins of a group and both users of
    /// a direct conversation can pin messages. Pinning again changes nothing. Errors: NOT_FOUND if the message is not
    /// visible to the viewer. FORBIDDEN for members of a group. BAD_USER_INPUT if the message is deleted, or the
    /// conversation has 50 pinned messages.
    async fn pin_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message to pin.")] input: PinMessageInput,
    ) -> Result<PinMessagePayload> {
        let viewer = ctx.viewer()?;
        let message = ctx.app().pins().pin(viewer, parse_id(&input.message_id, "messageId")?).await?;
        Ok(PinMessagePayload { message: Message(message) })
    }

    /// Unpins a message for all participants. Users who can pin a message can also unpin it. If the message is not
    /// pinned, nothing changes. Errors: NOT_FOUND if the message is not visible to the viewer. FORBIDDEN for members of
    /// a group.
    async fn unpin_message(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The message to unpin.")] input: UnpinMessageInput,
    ) -> Result<UnpinMessagePayload> {
        let viewer = ctx.viewer()?;
        let message = ctx.app().pins().unpin(viewer, parse_id(&input.message_id, "messageId")?).await?;
        Ok(UnpinMessagePayload { message: Message(message) })
    }
}
