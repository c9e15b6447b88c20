//! The inbox of a user: one stream with the items of the log and the changes of live state that concern the user.

use std::collections::HashSet;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::app::App;
use super::conversations::typing::Typing;
use super::people::presence::Status;
use super::viewer::Viewer;
use crate::ids::{ConversationId, UserId};
use crate::live::{Stamp, Subject, Topic, Watch};
use crate::log::{Cursor, Interest, Item, LogStream};

/// An item of an inbox before it is rendered for a subscription. The item is equal for all users who receive it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InboxItem {
    Logged(Item),
    /// A user has started or stopped typing. The stamp distinguishes two changes that are otherwise equal.
    Typing(Typing, Stamp),
    /// The user's own presence has changed. All devices of the user receive this item.
    Presence(UserId, Status, Stamp),
}

impl From<Item> for InboxItem {
    fn from(item: Item) -> Self {
        Self::Logged(item)
    }
}

/// The stream of a user's inbox. The stream never ends.
pub struct Inbox {
    app: App,
    user: UserId,
    log: LogStream,
    watch: Watch,
    /// The users whose last reported state is typing, with the conversation in which they type.
    typing: HashSet<(ConversationId, UserId)>,
    /// The presence of the user that was last reported.
    status: Status,
    /// A check in progress: whether the user may see a change of typing.
    pending_check: Option<BoxFuture<'static, Option<(Typing, Stamp)>>>,
}

impl App {
    /// Returns the viewer's inbox: the events after the cursor, then new events. Without a cursor, the inbox has only
    /// new events. Changes of live state have no cursor, so changes that the client missed are not delivered later.
    pub fn inbox(&self, viewer: Viewer, after: Option<Cursor>) -> Inbox {
        let user = viewer.user;
        Inbox {
            app: self.clone(),
            user,
            log: self.log().stream(user, Interest::Inbox, after),
            watch: self.live().watch(vec![Topic::Inbox(user)]),
            typing: HashSet::new(),
            status: self.live().status(user),
            pending_check: None,
        }
    }
}

impl Stream for Inbox {
    type Item = InboxItem;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<InboxItem>> {
        if let Poll::Ready(item) = self.log.poll_next_unpin(cx) {
            return Poll::Ready(item.map(InboxItem::Logged));
        }
        loop {
            if let Some(pending_check) = &mut self.pending_check {
                let checked = ready!(pending_check.poll_unpin(cx));
                self.pending_check = None;
                let Some((typing, stamp)) = checked else { continue };
                let key = (typing.conversation, typing.user);
                if if typing.typing { self.typing.insert(key) } else { self.typing.remove(&key) } {
                    return Poll::Ready(Some(InboxItem::Typing(typing, stamp)));
                }
            }
            match ready!(self.watch.poll_changed(cx)) {
                (Subject::Typing(conversation, user), stamp) => {
                    self.pending_check =
                        Some(read_typing(self.app.clone(), self.user, conversation, user, stamp).boxed());
                }
                (Subject::Presence(user), stamp) => {
                    let status = self.app.live().status(user);
                    if std::mem::replace(&mut self.status, status) != status {
                        return Poll::Ready(Some(InboxItem::Presence(user, status, stamp)));
                    }
                }
                (Subject::Room(..), _) => {}
            }
        }
    }
}

/// Reads whether the user is typing, as far as the viewer may see it. None if the viewer is no longer a participant of
/// the conversation.
async fn read_typing(
    app: App,
    viewer: UserId,
    conversation: ConversationId,
    user: UserId,
    stamp: Stamp,
) -> Option<(Typing, Stamp)> {
    let typing = app.typing().is_visible(viewer, conversation, user).await;
    app.log().is_listener(viewer, conversation).then_some((Typing { conversation, user, typing }, stamp))
}
