//! Subscriptions: the events of the log as clients see them.

use std::sync::{Arc, Mutex, PoisonError};

use async_graphql::{Context, ID, Interface, SimpleObject, Subscription as GraphqlSubscription, Union};
use futures_util::future::{Either, ready};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::call_event::{CallAnswered, CallEnded, CallEvent, CallLeft, CallRinging, concerns};
use super::context::ContextExt as _;
use super::conversation::Conversation;
use super::error::{Error, ErrorCode, Result};
use super::loaders::{Loaders, MembershipKey, SightKey};
use super::message::Message;
use super::participant::Participant;
use super::presence::PresenceChanged;
use super::scalars::parse_id;
use super::typing::TypingChanged;
use super::user::User;
use crate::domain::inbox::Happening;
use crate::domain::{Viewer, call_events as calls};
use crate::ids::{ConversationId, MessageId};
use crate::log::{Change, Cursor, Event, Interest, InvalidCursor, Item, Log};
use crate::store::messages::Message as Row;

#[derive(SimpleObject)]
pub struct MessageAdded {
    cursor: String,
    message: Message,
}

/// Edited, deleted for everybody, reacted to, pinned or the like.
#[derive(SimpleObject)]
pub struct MessageUpdated {
    cursor: String,
    message: Message,
}

/// The viewer has deleted it for themselves alone.
#[derive(SimpleObject)]
pub struct MessageRemoved {
    cursor: String,
    message_id: ID,
    conversation_id: ID,
}

#[derive(SimpleObject)]
pub struct ConversationAdded {
    cursor: String,
    conversation: Conversation,
}

#[derive(SimpleObject)]
pub struct ConversationUpdated {
    cursor: String,
    conversation: Conversation,
}

/// The viewer takes no part in it any more.
#[derive(SimpleObject)]
pub struct ConversationRemoved {
    cursor: String,
    conversation_id: ID,
}

#[derive(SimpleObject)]
pub struct ReceiptAdvanced {
    cursor: String,
    conversation: Conversation,
    participant: Participant,
}

/// The viewer's own state in the conversation changed.
#[derive(SimpleObject)]
pub struct MembershipUpdated {
    cursor: String,
    conversation: Conversation,
}

/// Between the viewer and the user: a request, a contact, a block.
#[derive(SimpleObject)]
pub struct ContactsChanged {
    cursor: String,
    user: User,
}

/// Everything up to `cursor` has been sent; what follows is live.
#[derive(SimpleObject)]
pub struct CaughtUp {
    cursor: String,
}

/// The cursor given is too old or unknown: fetch state anew, then resume from `cursor`.
#[derive(SimpleObject)]
pub struct ResyncRequired {
    cursor: String,
}

#[derive(Union)]
pub enum InboxEvent {
    MessageAdded(MessageAdded),
    MessageUpdated(MessageUpdated),
    MessageRemoved(MessageRemoved),
    ConversationAdded(ConversationAdded),
    ConversationUpdated(ConversationUpdated),
    ConversationRemoved(ConversationRemoved),
    ReceiptAdvanced(ReceiptAdvanced),
    MembershipUpdated(MembershipUpdated),
    ContactsChanged(ContactsChanged),
    TypingChanged(TypingChanged),
    PresenceChanged(PresenceChanged),
    CallRinging(CallRinging),
    CallAnswered(CallAnswered),
    CallLeft(CallLeft),
    CallEnded(CallEnded),
    CaughtUp(CaughtUp),
    ResyncRequired(ResyncRequired),
}

/// A durable event: survives a disconnect, and its cursor resumes after it.
#[derive(Interface)]
#[graphql(field(name = "cursor", ty = "&String"))]
pub enum DurableEvent {
    MessageAdded(MessageAdded),
    MessageUpdated(MessageUpdated),
    MessageRemoved(MessageRemoved),
    ConversationAdded(ConversationAdded),
    ConversationUpdated(ConversationUpdated),
    ConversationRemoved(ConversationRemoved),
    ReceiptAdvanced(ReceiptAdvanced),
    MembershipUpdated(MembershipUpdated),
    ContactsChanged(ContactsChanged),
    CaughtUp(CaughtUp),
    ResyncRequired(ResyncRequired),
}

/// What a subscription is made of before it is rendered.
pub type Items = BoxStream<'static, Happening>;

/// Data of a request: which part of a subscription is to be run. Without it, all of it is. A subscription that shares
/// nothing does not look at it: it is run for its viewer from its opening on.
pub enum Turn {
    /// Who asks is checked, and what they ask for; what will come goes here instead of being rendered.
    Open(Opened),
    /// One item is rendered, for whoever was let in.
    Render(Happening),
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
                    Happening::Logged(item) => inbox_event(&log, &loaders, item).await,
                    Happening::Typing(typing, _) => {
                        TypingChanged::new(&loaders, typing).await.map(|it| it.map(Into::into))
                    }
                    Happening::Presence(user, status, _) => {
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
    T: Into<Happening> + 'static,
{
    let loaders = ctx.loaders().clone();
    let filtered = items.map(Into::into).filter_map(move |item| match item {
        Happening::Logged(Item::Event(Event { change: Change::MessageUpdated { message, .. }, .. })) => {
            let loaders = loaders.clone();
            let look = async move {
                let sight = loaders.load(SightKey(viewer.user, message)).await;
                // One that cannot be looked up is not shown: it may be one to be hidden.
                sight.is_ok_and(|sight| sight.is_none_or(|sight| sight.visible)).then_some(item)
            };
            Either::Left(look.boxed())
        }
        Happening::Logged(Item::Event(Event { change, .. })) if change.is_personal_of_call() => {
            let loaders = loaders.clone();
            let look = async move { concerns(&loaders, viewer.user, &change).await.then_some(item) };
            Either::Left(look.boxed())
        }
        _ => Either::Right(ready(Some(item))),
    });
    filtered.boxed()
}

/// What is to be rendered now: the items of the subscription that `open` lets the viewer into, or the one at hand.
async fn items<T: Into<Happening> + 'static>(
    ctx: &Context<'_>,
    open: impl AsyncFnOnce(Viewer) -> Result<BoxStream<'static, T>>,
) -> Result<Items> {
    let open = async |viewer| Ok::<Items, Error>(open(viewer).await?.map(Into::into).boxed());
    match ctx.data_opt() {
        Some(Turn::Render(item)) => Ok(stream::iter([*item]).boxed()),
        Some(Turn::Open(opened)) => {
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
            let Happening::Logged(item) = item else { continue };
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
                    let event = inbox_event(&log, &loaders, item).await;
                    if let Some(event) = event.map(|event| event.and_then(pick)).transpose() {
                        yield event;
                    }
                }
            }
        }
    }
}

/// None where what the event tells of is gone by now. Who may see it was decided by the log.
async fn inbox_event(log: &Log, loaders: &Loaders, item: Item) -> Result<Option<InboxEvent>> {
    let cursor = |seq| log.cursor(seq).to_string();
    let Event { seq, change } = match item {
        Item::Event(event) => event,
        Item::CaughtUp(seq) => return Ok(Some(InboxEvent::CaughtUp(CaughtUp { cursor: cursor(seq) }))),
        Item::ResyncRequired(seq) => {
            return Ok(Some(InboxEvent::ResyncRequired(ResyncRequired { cursor: cursor(seq) })));
        }
        // An inbox is never over.
        Item::Closed => return Ok(None),
    };
    let cursor = cursor(seq);
    Ok(match change {
        Change::MessageAdded { message, .. } | Change::MessageWithheld { message, .. } => {
            let row = load_message(log, loaders, message).await?;
            row.map(|row| InboxEvent::MessageAdded(MessageAdded { cursor, message: Message(row) }))
        }
        Change::MessageUpdated { message, .. } => {
            let row = loaders.load(message).await?;
            row.map(|row| InboxEvent::MessageUpdated(MessageUpdated { cursor, message: Message(row) }))
        }
        Change::MessageRemoved { message, .. } => {
            let row: Option<Row> = loaders.load(message).await?;
            row.map(|row| {
                let (message_id, conversation_id) = (row.id.to_string().into(), row.conversation_id.to_string().into());
                InboxEvent::MessageRemoved(MessageRemoved { cursor, message_id, conversation_id })
            })
        }
        Change::MembershipUpdated { conversation, .. } => {
            Some(InboxEvent::MembershipUpdated(MembershipUpdated { cursor, conversation: conversation.into() }))
        }
        Change::ContactsChanged { other, .. } => {
            let user = loaders.user(other).await?.map(User);
            user.map(|user| InboxEvent::ContactsChanged(ContactsChanged { cursor, user }))
        }
        Change::ConversationAdded { conversation, .. } => {
            let row = loaders.load(conversation).await?;
            row.map(|row| InboxEvent::ConversationAdded(ConversationAdded { cursor, conversation: row.into() }))
        }
        Change::ConversationUpdated { conversation } => {
            let row = loaders.load(conversation).await?;
            row.map(|row| InboxEvent::ConversationUpdated(ConversationUpdated { cursor, conversation: row.into() }))
        }
        Change::ConversationRemoved { conversation, .. } => {
            let conversation_id = conversation.to_string().into();
            Some(InboxEvent::ConversationRemoved(ConversationRemoved { cursor, conversation_id }))
        }
        Change::ReceiptAdvanced { conversation, user } => {
            let row = loaders.load(conversation).await?;
            let participant = loaders.load(MembershipKey(user, conversation)).await?;
            row.zip(participant).map(|(row, (participant, _))| {
                let (conversation, participant) = (row.into(), Participant(participant));
                InboxEvent::ReceiptAdvanced(ReceiptAdvanced { cursor, conversation, participant })
            })
        }
        // The others are for nobody's eyes.
        change => match calls::CallEvent::of(&change) {
            Some(event) => CallEvent::load(loaders, event).await?.and_then(CallEvent::for_inbox),
            None => None,
        },
    })
}

/// Mostly it has come along with its event.
async fn load_message(log: &Log, loaders: &Loaders, id: MessageId) -> Result<Option<Row>> {
    match log.carried(id) {
        Some(message) => Ok(Some(Row::clone(&message))),
        None => loaders.load(id).await,
    }
}

fn parse_cursor(after: Option<String>) -> Result<Option<Cursor>> {
    let malformed = |InvalidCursor| Error::bad_input("after", "This is no cursor of an event.");
    after.map(|text| text.parse().map_err(malformed)).transpose()
}
