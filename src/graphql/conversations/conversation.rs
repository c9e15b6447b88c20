//! Direct conversations and groups.

use async_graphql::connection::Edge;
use async_graphql::{Context, Enum, ID, Object};
use chrono::Utc;
use tokio::sync::OnceCell;

use super::ban::banned;
use super::invite::{Invite, invites};
use super::membership::Membership;
use super::participant::Participant;
use crate::domain::{Error as Domain, Reader};
use crate::graphql::calls::call::{Call, LiveCallKey};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::files::attachment::{Attachment, avatar};
use crate::graphql::loaders::{ConversationKey, MembershipKey, ParticipantPage};
use crate::graphql::message_loaders::MessagePage;
use crate::graphql::messaging::message::Message;
use crate::graphql::messaging::pin::{PINS_PAGE, pinned};
use crate::graphql::page::{Connection, DEFAULT_PAGE_SIZE, Forward, check_size, decode_cursor, encode_cursor};
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::{ConversationId, MessageId, ParticipantId, UserId};
use crate::store::conversations::conversations::{Conversation as Row, ConversationKind as KindRow};
use crate::store::conversations::participants::Participant as ParticipantRow;
use crate::store::messaging::messages::Range;

const DEFAULT_PAGE: i32 = DEFAULT_PAGE_SIZE as i32;

/// Kind of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "KindRow")]
pub enum ConversationKind {
    /// A conversation of two users. Two users have at most one direct conversation.
    Direct,
    /// A conversation with a title, roles and invites.
    Group,
}

#[derive(Clone)]
pub struct Conversation {
    id: ConversationId,
    /// The row, which is loaded when a field needs it. Many clients query only the id of a message's conversation.
    row: OnceCell<Row>,
    /// The viewer's own state and the number of the newest message, if they were read with the row.
    membership: Option<(ParticipantRow, i32)>,
    /// The user for whom the row is loaded. None for the viewer of the request, or the recipients of an event.
    reader: Option<UserId>,
}

impl From<Row> for Conversation {
    fn from(row: Row) -> Self {
        Self { id: row.id, row: OnceCell::new_with(Some(row)), membership: None, reader: None }
    }
}

/// Makes the conversation that another row refers to. The conversation exists as long as that row exists.
impl From<ConversationId> for Conversation {
    fn from(id: ConversationId) -> Self {
        Self { id, row: OnceCell::new(), membership: None, reader: None }
    }
}

/// A direct conversation of two users, or a group. It is visible to its participants.
#[Object]
impl Conversation {
    /// Global id, with the prefix `cnv_`.
    pub async fn id(&self) -> ID {
        self.id.to_string().into()
    }

    /// Whether this is a direct conversation or a group.
    async fn kind(&self, ctx: &Context<'_>) -> Result<ConversationKind> {
        Ok(self.row(ctx).await?.kind.into())
    }

    /// Title of a group, 1 to 100 characters. Null for a direct conversation.
    async fn title(&self, ctx: &Context<'_>) -> Option<Result<&str>> {
        self.row(ctx).await.map(|row| row.title.as_deref()).transpose()
    }

    /// Description of a group, at most 500 characters. Null for a group without a topic, and for a direct conversation.
    async fn topic(&self, ctx: &Context<'_>) -> Option<Result<&str>> {
        self.row(ctx).await.map(|row| row.topic.as_deref()).transpose()
    }

    /// Picture of a group. Null for a group without a picture, and for a direct conversation.
    async fn avatar(&self, ctx: &Context<'_>) -> Option<Result<Attachment>> {
        match self.row(ctx).await {
            Ok(row) => avatar(ctx, row.avatar_id).await,
            Err(error) => Some(Err(error)),
        }
    }

    /// The user who created the group or was the first to open the direct conversation. Null if the account was
    /// deleted.
    async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        match self.row(ctx).await.map(|row| row.created_by).transpose()? {
            Ok(user) => ctx.loaders().user(user).await.map(|row| row.map(User)).transpose(),
            Err(error) => Some(Err(error)),
        }
    }

    /// When the conversation was created.
    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(self.row(ctx).await?.created_at.into())
    }

    /// When the newest message was sent, or when the conversation was created if it has no message.
    /// `Viewer.conversations` is sorted by this time.
    async fn last_activity_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(self.row(ctx).await?.last_activity_at.into())
    }

    /// The newest message that is visible to the viewer. Null if no message is visible.
    async fn last_message(&self, ctx: &Context<'_>) -> Option<Result<Message>> {
        self.newest(ctx).await.transpose()
    }

    /// Whether users who join later see earlier messages. True for a direct conversation.
    async fn history_visible(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(self.row(ctx).await?.history_visible)
    }

    /// Number of participants.
    async fn participant_count(&self, ctx: &Context<'_>) -> Result<i32> {
        Ok(self.row(ctx).await?.participant_count)
    }

    /// The participants, in the order in which they joined.
    async fn participants(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<Participant>> {
        let page =
            Forward::<(chrono::DateTime<Utc>, ParticipantId)>::new(first.unwrap_or(DEFAULT_PAGE), after.as_deref())?;
        let key = ParticipantPage { conversation: self.id, after: page.after, limit: page.limit() };
        let rows = ctx.loaders().load(key).await?.unwrap_or_default();
        Ok(page.connection(rows, |row| (row.joined_at, row.id), Participant))
    }

    /// The messages that are visible to the viewer. A page is sorted by number, oldest first. Without `first` and
    /// `last`, a page has the last 50 messages of the range, or the first 50 if `after` is given. Use `last` and
    /// `before` to page backwards. Errors: BAD_USER_INPUT for both `first` and `last`, and for a size outside of 1 to
    /// 100.
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Maximum number of messages from the start of the range, 1 to 100.")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: the range starts after it.")] after: Option<String>,
        #[graphql(desc = "Maximum number of messages from the end of the range, 1 to 100.")] last: Option<i32>,
        #[graphql(desc = "Cursor of this list: the range ends before it.")] before: Option<String>,
    ) -> Result<Connection<Message>> {
        let user = ctx.viewer()?.user;
        let range = message_range(first, after.as_deref(), last, before.as_deref())?;
        // The query reads one row more than the page has, to find out whether more rows exist.
        let key = MessagePage { user, conversation: self.id, range: Range { limit: range.limit + 1, ..range } };
        let mut rows = ctx.loaders().load(key).await?.unwrap_or_default();
        let has_more = i64::try_from(rows.len()).is_ok_and(|rows| rows > range.limit);
        if has_more {
            rows.pop();
        }
        let before_newest = range.before < i32::MAX && range.before <= self.row(ctx).await?.last_message_number;
        let (mut has_previous, mut has_next) = (range.after > 0, before_newest);
        if range.newest_first {
            rows.reverse();
            has_previous |= has_more;
        } else {
            has_next |= has_more;
        }
        let mut connection = Connection::new(has_previous, has_next);
        connection.edges.extend(rows.into_iter().map(|row| Edge::new(encode_cursor(&row.number), Message(row))));
        Ok(connection)
    }

    /// The pinned messages that are visible to the viewer, newest pin first. A conversation has at most 50 pinned
    /// messages.
    async fn pinned_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(PINS_PAGE)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<Message>> {
        let page = Forward::<(chrono::DateTime<Utc>, MessageId)>::new(first.unwrap_or(PINS_PAGE), after.as_deref())?;
        pinned(ctx, self.id, &page).await
    }

    /// The invites of a group, newest first. Invites that are used up or expired are included. Empty for a direct
    /// conversation. Null on an error. Errors: FORBIDDEN if the viewer is neither the owner nor an admin.
    async fn invites(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Option<Result<Connection<Invite>>> {
        Some(invites(ctx, self.id, self.is_group(ctx), first.unwrap_or(DEFAULT_PAGE), after).await)
    }

    /// The users who are banned from a group, newest ban first. Empty for a direct conversation. Null on an error.
    /// Errors: FORBIDDEN if the viewer is neither the owner nor an admin.
    async fn banned_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Option<Result<Connection<User>>> {
        Some(banned(ctx, self.id, self.is_group(ctx), first.unwrap_or(DEFAULT_PAGE), after).await)
    }

    /// The call that rings or is ongoing in the conversation. Null if the conversation has no call, and for a direct
    /// call from a user whom the viewer blocks.
    async fn call(&self, ctx: &Context<'_>) -> Option<Result<Call>> {
        match ctx.viewer() {
            Ok(viewer) => {
                ctx.loaders().load(LiveCallKey(viewer.user, self.id)).await.map(|row| row.map(Call::from)).transpose()
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// The viewer's own state in this conversation. Null if the viewer is not a participant.
    async fn viewer_membership(&self, ctx: &Context<'_>) -> Option<Result<Membership>> {
        self.membership(ctx).await.transpose()
    }
}

impl Conversation {
    /// Makes the conversation that a row of this participant refers to. The conversation is loaded for the participant,
    /// because the requests `login` and `register` have no viewer but can also return the conversation.
    pub(in crate::graphql) fn for_participant(id: ConversationId, user: UserId) -> Self {
        Self { reader: Some(user), ..id.into() }
    }

    pub(in crate::graphql) fn of_member(row: Row, membership: ParticipantRow) -> Self {
        Self { membership: Some((membership, row.last_message_number)), ..row.into() }
    }

    async fn membership(&self, ctx: &Context<'_>) -> Result<Option<Membership>> {
        let viewer = ctx.viewer()?;
        let row = match &self.membership {
            Some(row) => Some(row.clone()),
            None => ctx.loaders().load(MembershipKey(viewer.user, self.id)).await?,
        };
        Ok(row.map(|(row, last_message_number)| Membership { row, last_message_number }))
    }

    async fn is_group(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(self.row(ctx).await?.kind == KindRow::Group)
    }

    async fn newest(&self, ctx: &Context<'_>) -> Result<Option<Message>> {
        let range = Range { after: 0, before: i32::MAX, newest_first: true, limit: 1 };
        let key = MessagePage { user: ctx.viewer()?.user, conversation: self.id, range };
        Ok(ctx.loaders().load(key).await?.and_then(|mut rows| rows.pop()).map(Message))
    }

    async fn row(&self, ctx: &Context<'_>) -> Result<&Row> {
        let load = async || {
            let reader = self.reader.map_or_else(|| ctx.reader(), |user| Ok(Reader::User(user)))?;
            let row = ctx.loaders().load(ConversationKey(reader, self.id)).await?;
            row.ok_or_else(|| Domain::NotFound("This conversation no longer exists.").into())
        };
        self.row.get_or_try_init(load).await
    }
}

fn message_range(first: Option<i32>, after: Option<&str>, last: Option<i32>, before: Option<&str>) -> Result<Range> {
    let number = |cursor: Option<&str>, path| cursor.map(|cursor| decode_cursor::<i32>(cursor, path)).transpose();
    let (size, newest_first) = match (first, last) {
        (Some(_), Some(_)) => return Err(Error::bad_input("last", "Use either `first` or `last`, not both.")),
        (Some(first), None) => (check_size(first, "first")?, false),
        (None, Some(last)) => (check_size(last, "last")?, true),
        // The page starts after the cursor `after`, or without it ends at the end of the range.
        (None, None) => (check_size(DEFAULT_PAGE, "last")?, after.is_none()),
    };
    Ok(Range {
        after: number(after, "after")?.unwrap_or(0),
        before: number(before, "before")?.unwrap_or(i32::MAX),
        newest_first,
        limit: size.into(),
    })
}

#[derive(Default)]
pub struct ConversationQuery;

#[Object]
impl ConversationQuery {
    /// The conversation with this id. Null if the conversation does not exist or the viewer is not a participant.
    async fn conversation(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Id of the conversation.")] id: ID,
    ) -> Option<Result<Conversation>> {
        find(ctx, &id).await.transpose()
    }
}

async fn find(ctx: &Context<'_>, id: &ID) -> Result<Option<Conversation>> {
    let viewer = ctx.viewer()?;
    let row = ctx.app().conversations().find(viewer, parse_id(id, "id")?).await?;
    Ok(row.map(Conversation::from))
}
