//! Subscriptions to the log, which render each item of a stream.

use async_graphql::{Context, ID, Subscription as GraphqlSubscription};
use futures_util::{Stream, StreamExt as _, stream};

use super::context::ContextExt as _;
use super::conversations::typing::TypingChanged;
use super::error::{Error, ErrorCode, Result};
use super::event::{InboxEvent, MessageAdded, MessageUpdated};
use super::loaders::Loaders;
use super::log_request::{Items, LogField};
use super::lookups::Lookups;
use super::people::presence::PresenceChanged;
use crate::domain::inbox::InboxItem;
use crate::log::{Item, Log};

/// Data of a request: the item of a subscription that the execution renders, for viewers who were checked when they
/// subscribed. Without this data, the field opens the subscription for the viewer of the request.
pub struct Rendering(pub InboxItem);

#[derive(Default)]
pub struct LogSubscription;

#[GraphqlSubscription]
impl LogSubscription {
    /// All events of the viewer in one stream. A client opens this subscription once. With `after`, the stream first
    /// sends each DurableEvent since that cursor exactly once, then CaughtUp, then live events. Without `after`, the
    /// stream sends CaughtUp at once, then live events. If the cursor is unknown or events after it are no longer
    /// stored, the stream sends ResyncRequired. Live events include TypingChanged of other participants and
    /// PresenceChanged of the viewer. TypingChanged, PresenceChanged and the events of calls have no cursor. Events of
    /// calls may be sent again after a reconnect, but CallRinging only while the call rings. Errors: BAD_USER_INPUT if
    /// `after` is not a cursor.
    async fn inbox(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Cursor of the newest event that the client has received.")] after: Option<String>,
    ) -> Result<impl Stream<Item = Result<InboxEvent>> + use<>> {
        let items = items(ctx, LogField::Inbox { after }).await?;
        let (log, loaders) = (ctx.app().log().clone(), ctx.loaders().clone());
        Ok(items.filter_map(move |item| {
            let (log, loaders) = (log.clone(), loaders.clone());
            async move {
                let event = match item {
                    InboxItem::Logged(item) => InboxEvent::load(&log, &loaders, item).await,
                    InboxItem::Typing(typing, _) => {
                        TypingChanged::new(&loaders, typing).await.map(|event| event.map(Into::into))
                    }
                    InboxItem::Presence(user, status, _) => {
                        PresenceChanged::of_viewer(&loaders, user, status).await.map(|event| event.map(Into::into))
                    }
                };
                event.transpose()
            }
        }))
    }

    /// New messages of one conversation, or of all conversations of the viewer. With `after`, the stream first sends
    /// the messages since that cursor, then live messages. Errors: NOT_FOUND if the viewer is not a participant, or
    /// later leaves or is removed. BAD_USER_INPUT if `after` is unknown, or events after it are no longer stored.
    async fn message_added(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the conversation. All conversations if omitted.")] conversation_id: Option<ID>,
        #[graphql(desc = "Cursor of the newest event that the client has received.")] after: Option<String>,
    ) -> Result<impl Stream<Item = Result<MessageAdded>> + use<>> {
        let items = items(ctx, LogField::MessageAdded { conversation_id, after }).await?;
        let missed = Error::bad_input("after", "This cursor is too old or unknown. Query the messages again.");
        Ok(events(ctx.app().log().clone(), ctx.loaders().clone(), items, missed, |event| match event {
            InboxEvent::MessageAdded(event) => Some(event),
            _ => None,
        }))
    }

    /// Changes of messages in a conversation: edits, deletions, reactions and pins. Only live changes are sent: query
    /// the messages again after a reconnect. Errors: NOT_FOUND if the viewer is not a participant, or later leaves or
    /// is removed. UNAVAILABLE ends the subscription if changes were missed.
    async fn message_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the conversation.")] conversation_id: ID,
    ) -> Result<impl Stream<Item = Result<MessageUpdated>> + use<>> {
        let items = items(ctx, LogField::MessageUpdated { conversation_id }).await?;
        let missed = "Some changes were missed. Query the messages again and subscribe again.";
        let missed = Error::new(ErrorCode::Unavailable, missed);
        Ok(events(ctx.app().log().clone(), ctx.loaders().clone(), items, missed, |event| match event {
            InboxEvent::MessageUpdated(event) => Some(event),
            _ => None,
        }))
    }
}

/// Returns the items to render: the item of `Rendering`, or without it the stream of items of the viewer.
async fn items(ctx: &Context<'_>, field: LogField) -> Result<Items> {
    match ctx.data_opt() {
        Some(Rendering(item)) => Ok(stream::iter([*item]).boxed()),
        None => field.open(ctx.app(), ctx.data_unchecked::<Lookups>(), ctx.viewer()?).await,
    }
}

/// Returns the events that `pick` selects. The stream ends with NOT_FOUND if the viewer is no longer a participant, and
/// with the error `missed` if events were missed.
fn events<T>(
    log: Log,
    loaders: Loaders,
    mut items: Items,
    missed: Error,
    pick: fn(InboxEvent) -> Option<T>,
) -> impl Stream<Item = Result<T>> {
    async_stream::stream! {
        while let Some(item) = items.next().await {
            let InboxItem::Logged(item) = item else { continue };
            match item {
                Item::Closed => {
                    yield Err(Error::new(ErrorCode::NotFound, "You are no longer a participant of this conversation."));
                    return;
                }
                Item::ResyncRequired(_) => {
                    yield Err(missed);
                    return;
                }
                Item::Event(_) | Item::CaughtUp(_) => {
                    let event = InboxEvent::load(&log, &loaders, item).await;
                    if let Some(event) = event.map(|event| event.and_then(pick)).transpose() {
                        yield event;
                    }
                }
            }
        }
    }
}
