//! Subscriptions to the log: checking the viewer, and rendering each item of the stream.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::{Context, ID, Subscription as GraphqlSubscription};
use futures_util::future::{Either, ready};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::calls::call_event::concerns;
use super::context::ContextExt as _;
use super::conversations::typing::TypingChanged;
use super::error::{Error, ErrorCode, Result};
use super::event::{InboxEvent, MessageAdded, MessageUpdated};
use super::loaders::{Loaders, VisibilityKey};
use super::lookups::Lookups;
use super::people::presence::PresenceChanged;
use super::scalars::parse_id;
use crate::domain::Viewer;
use crate::domain::inbox::InboxItem;
use crate::ids::ConversationId;
use crate::log::{Change, Cursor, Event, Interest, InvalidCursor, Item, Log};

/// The items of a subscription before they are rendered.
pub type Items = BoxStream<'static, InboxItem>;

/// Data of a request: the part of a subscription to run. Without it the whole subscription runs. Subscriptions that
/// share no renderings ignore it and run for their viewer.
pub enum Phase {
    /// Checks the viewer and the arguments, and puts the items here without rendering them.
    Open(Opened),
    /// Renders one item for viewers who were checked before.
    Render(InboxItem),
}

/// Receives the items of a subscription from `Phase::Open`.
#[derive(Clone, Default)]
pub struct Opened(Arc<Mutex<Option<Items>>>);

impl Opened {
    fn put(&self, items: Items) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(items);
    }

    /// None if the subscription was refused.
    pub fn take(&self) -> Option<Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Default)]
pub struct LogSubscription;

#[GraphqlSubscription]
impl LogSubscription {
    /// All events of the viewer in one stream; a client opens it once. With `after` it first sends each DurableEvent
    /// since that cursor exactly once, then CaughtUp, then live events. Without `after` it sends CaughtUp at once, then
    /// live events. If events after the cursor are no longer stored, it sends ResyncRequired. Live events include
    /// TypingChanged of other participants and PresenceChanged of the viewer. These and the events of calls have no
    /// cursor; events of calls may be sent again after a reconnect, but CallRinging only while the call rings. Errors:
    /// BAD_USER_INPUT if `after` is not a cursor.
    async fn inbox(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Cursor of the newest event that the client has received.")] after: Option<String>,
    ) -> Result<impl Stream<Item = Result<InboxEvent>> + use<>> {
        let items = items(ctx, async |viewer| {
            let items = ctx.app().inbox(viewer, parse_cursor(after)?);
            Ok(without_concealed(ctx, viewer, items))
        });
        let (items, log, loaders) = (items.await?, ctx.app().log().clone(), ctx.loaders().clone());
        Ok(items.filter_map(move |item| {
            let (log, loaders) = (log.clone(), loaders.clone());
            async move {
                let event = match item {
                    InboxItem::Logged(item) => InboxEvent::load(&log, &loaders, item).await,
                    InboxItem::Typing(typing, _) => {
                        TypingChanged::new(&loaders, typing).await.map(|it| it.map(Into::into))
                    }
                    InboxItem::Presence(user, status, _) => {
                        PresenceChanged::of_viewer(&loaders, user, status).await.map(|it| it.map(Into::into))
                    }
                };
                event.transpose()
            }
        }))
    }

    /// New messages of one conversation, or of all conversations of the viewer. With `after` it first sends the
    /// messages since that cursor, then live ones. Errors: NOT_FOUND if the viewer is not a participant, or later
    /// leaves or is removed. BAD_USER_INPUT if `after` is unknown, or events after it are no longer stored.
    async fn message_added(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the conversation. All of the viewer's if omitted.")] conversation_id: Option<ID>,
        #[graphql(desc = "Cursor of the newest event that the client has received.")] after: Option<String>,
    ) -> Result<impl Stream<Item = Result<MessageAdded>> + use<>> {
        let items = items(ctx, async |viewer| {
            let conversation: Option<ConversationId> =
                conversation_id.map(|id| parse_id(&id, "conversationId")).transpose()?;
            if let Some(id) = conversation {
                ctx.app().conversations().get(viewer, id).await?;
            }
            let interest = Interest::Messages(conversation);
            Ok(ctx.app().log().stream(viewer.user, interest, parse_cursor(after)?).boxed())
        });
        let missed = Error::bad_input("after", "This cursor is too old or unknown. Query the messages again.");
        Ok(events(ctx.app().log().clone(), ctx.loaders().clone(), items.await?, missed, |event| match event {
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
        let items = items(ctx, async |viewer| {
            let conversation: ConversationId = parse_id(&conversation_id, "conversationId")?;
            ctx.app().conversations().get(viewer, conversation).await?;
            let items = ctx.app().log().stream(viewer.user, Interest::Updates(conversation), None);
            Ok(without_concealed(ctx, viewer, items))
        });
        let missed = "Some changes were missed. Query the messages again and subscribe again.";
        let missed = Error::new(ErrorCode::Unavailable, missed);
        Ok(events(ctx.app().log().clone(), ctx.loaders().clone(), items.await?, missed, |event| match event {
            InboxEvent::MessageUpdated(event) => Some(event),
            _ => None,
        }))
    }
}

/// Filters out changes of messages that are not visible to the viewer, and personal events of calls that do not concern
/// the viewer. All streams that receive the same change share one query.
fn without_concealed<T>(ctx: &Context<'_>, viewer: Viewer, items: impl Stream<Item = T> + Send + 'static) -> Items
where
    T: Into<InboxItem> + 'static,
{
    // The stream outlives the execution that opens it, and therefore the loaders of that execution.
    let lookups = ctx.data_unchecked::<Lookups>().clone();
    let filtered = items.map(Into::into).filter_map(move |item| match item {
        InboxItem::Logged(Item::Event(Event { change: Change::MessageUpdated { message, .. }, .. })) => {
            let visibilities = Arc::clone(lookups.visibilities());
            let look = async move {
                let visibility = visibilities.get(VisibilityKey(viewer.user, message)).await;
                // After a failed lookup the message is not shown, because it may be hidden.
                visibility
                    .is_ok_and(|visibility| visibility.is_none_or(|visibility| visibility.visible))
                    .then_some(item)
            };
            Either::Left(look.boxed())
        }
        InboxItem::Logged(Item::Event(Event { change, .. })) if change.is_personal_of_call() => {
            let lookups = lookups.clone();
            let look = async move { concerns(&lookups, viewer.user, &change).await.then_some(item) };
            Either::Left(look.boxed())
        }
        _ => Either::Right(ready(Some(item))),
    });
    filtered.boxed()
}

/// Returns the items to render: those of the subscription that `open` returns, or the one in `Phase::Render`.
async fn items<T: Into<InboxItem> + 'static>(
    ctx: &Context<'_>,
    open: impl AsyncFnOnce(Viewer) -> Result<BoxStream<'static, T>>,
) -> Result<Items> {
    let open = async |viewer| Ok::<Items, Error>(open(viewer).await?.map(Into::into).boxed());
    match ctx.data_opt() {
        Some(Phase::Render(item)) => Ok(stream::iter([*item]).boxed()),
        Some(Phase::Open(opened)) => {
            opened.put(open(ctx.viewer()?).await?);
            Ok(stream::empty().boxed())
        }
        None => open(ctx.viewer()?).await,
    }
}

/// Picks the events of one kind. The stream ends with NOT_FOUND if the viewer is no longer a participant, and with the
/// error `missed` if events were missed.
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

fn parse_cursor(after: Option<String>) -> Result<Option<Cursor>> {
    let malformed = |InvalidCursor| Error::bad_input("after", "This is not the cursor of an event.");
    after.map(|text| text.parse().map_err(malformed)).transpose()
}
