//! All that concerns a user, in one stream: the log's items, and what does not outlive the moment beside them.

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
use crate::log::{Cursor, Follow, Interest, Item};

/// What a subscription is made of before it is rendered: the same for everybody who may have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InboxItem {
    Logged(Item),
    /// The stamp keeps apart what happens twice.
    Typing(Typing, Stamp),
    /// The user's own, for all their devices.
    Presence(UserId, Status, Stamp),
}

impl From<Item> for InboxItem {
    fn from(item: Item) -> Self {
        Self::Logged(item)
    }
}

/// Never over.
pub struct Inbox {
    app: App,
    user: UserId,
    log: Follow,
    watch: Watch,
    typing: HashSet<(ConversationId, UserId)>,
    status: Status,
    /// Whether the user may know of a change is looked up.
    asking: Option<BoxFuture<'static, Option<(Typing, Stamp)>>>,
}

impl App {
    /// What the viewer has missed since the cursor, and what comes. What does not outlive the moment has no cursor and
    /// is not made up for.
    pub fn inbox(&self, viewer: Viewer, after: Option<Cursor>) -> Inbox {
        let user = viewer.user;
        Inbox {
            app: self.clone(),
            user,
            log: self.log().follow(user, Interest::Inbox, after),
            watch: self.live().watch(vec![Topic::Inbox(user)]),
            typing: HashSet::new(),
            status: self.live().status(user),
            asking: None,
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
            if let Some(asking) = &mut self.asking {
                let asked = ready!(asking.poll_unpin(cx));
                self.asking = None;
                let Some((typing, stamp)) = asked else { continue };
                let key = (typing.conversation, typing.user);
                if if typing.typing { self.typing.insert(key) } else { self.typing.remove(&key) } {
                    return Poll::Ready(Some(InboxItem::Typing(typing, stamp)));
                }
            }
            match ready!(self.watch.poll_changed(cx)) {
                (Subject::Typing(conversation, user), stamp) => {
                    self.asking = Some(ask(self.app.clone(), self.user, conversation, user, stamp).boxed());
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

/// None for who takes no part there any more.
async fn ask(
    app: App,
    viewer: UserId,
    conversation: ConversationId,
    user: UserId,
    stamp: Stamp,
) -> Option<(Typing, Stamp)> {
    let typing = app.typing().is_shown(viewer, conversation, user).await;
    app.log().is_listener(viewer, conversation).then_some((Typing { conversation, user, typing }, stamp))
}
