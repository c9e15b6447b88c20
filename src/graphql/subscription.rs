//! Subscriptions to the log: who is let in, and what each item of the stream is rendered as.

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

/// What a subscription is made of before it is rendered.
pub type Items = BoxStream<'static, InboxItem>;

/// Data of a request: which part of a subscription is to be run. Without it, all of it is. A subscription that shares
/// nothing does not look at it: it is run for its viewer from its opening on.
pub enum Phase {
    /// Who asks is checked, and what they ask for; what will come goes here instead of being rendered.
    Open(Opened),
    /// One item is rendered, for whoever was let in.
    Render(InboxItem),
}

/// Where the items of a subscription are put that was opened.
#[derive(Clone, Default)]
pub struct Opened(Arc<Mutex<Option<Items>>>);

impl Opened {
    fn put(&self, items: Items) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(items);
    }

    /// None where it was not let in.
    pub fn take(&self) -> Option<Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[derive(Default)]
pub struct LogSubscription;

#[GraphqlSubscription]
impl LogSubscription {
    /// Everything that concerns the viewer, in one stream: what a phone or a chat window opens once.
    /// With `after`, first every durable event since that cursor, then CaughtUp, then live, with nothing
    /// lost and nothing twice. Without it, CaughtUp at once, then live. Live are also TypingChanged of the others in
    /// the viewer's conversations, and PresenceChanged of the viewer alone; these have no cursor, nor have the events of
    /// calls, which may come again after a reconnect: a call rings only while it does.
    async fn inbox(
        &self,
        ctx: &Context<'_>,
        after: Option<String>,
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

    /// New messages of one conversation, or of all; `after` resumes as in inbox. A cursor that is too old
    /// or unknown ends it with BAD_USER_INPUT; that the viewer takes no part in the conversation any more,
    /// with NOT_FOUND.
    async fn message_added(
        &self,
        ctx: &Context<'_>,
        conversation_id: Option<ID>,
        after: Option<String>,
    ) -> Result<impl Stream<Item = Result<MessageAdded>> + use<>> {
        let items = items(ctx, async |viewer| {
            let conversation: Option<ConversationId> =
                conversation_id.map(|id| parse_id(&id, "conversationId")).transpose()?;
            if let Some(id) = conversation {
                ctx.app().conversations().get(viewer, id).await?;
            }
            let interest = Interest::Messages(conversation);
            Ok(ctx.app().log().follow(viewer.user, interest, parse_cursor(after)?).boxed())
        });
        let missed = Error::bad_input("after", "This cursor is too old or unknown. Fetch the messages anew.");
        Ok(events(ctx.app().log().clone(), ctx.loaders().clone(), items.await?, missed, |event| match event {
            InboxEvent::MessageAdded(event) => Some(event),
            _ => None,
        }))
    }

    /// Changes of messages already seen: edits, deletions, reactions, pins. From now on: after a reconnect the messages
    /// are to be read anew. That the viewer takes no part in the conversation any more ends it with NOT_FOUND.
    async fn message_updated(
        &self,
        ctx: &Context<'_>,
        conversation_id: ID,
    ) -> Result<impl Stream<Item = Result<MessageUpdated>> + use<>> {
        let items = items(ctx, async |viewer| {
            let conversation: ConversationId = parse_id(&conversation_id, "conversationId")?;
            ctx.app().conversations().get(viewer, conversation).await?;
            let items = ctx.app().log().follow(viewer.user, Interest::Updates(conversation), None);
            Ok(without_concealed(ctx, viewer, items))
        });
        let missed = "Changes were missed. Fetch the messages anew and subscribe again.";
        let missed = Error::new(ErrorCode::Unavailable, missed);
        Ok(events(ctx.app().log().clone(), ctx.loaders().clone(), items.await?, missed, |event| match event {
            InboxEvent::MessageUpdated(event) => Some(event),
            _ => None,
        }))
    }
}

/// The items less the changes of messages that are not the viewer's to see, from before their time in the conversation,
/// or deleted for themselves, and less calls that are not. All who are to hear of a change are looked up together.
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
                // One that cannot be looked up is not shown: it may be one to be hidden.
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

/// What is to be rendered now: the items of the subscription that `open` lets the viewer into, or the one at hand.
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

/// The events of one kind among the items; an error, and the end, where the viewer takes no part any more, or where
/// something was missed, as `missed` says.
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
                    yield Err(Error::new(ErrorCode::NotFound, "You take no part in this conversation any more."));
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
    let malformed = |InvalidCursor| Error::bad_input("after", "This is no cursor of an event.");
    after.map(|text| text.parse().map_err(malformed)).transpose()
}
