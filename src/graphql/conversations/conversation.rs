//! Conversations, direct and in groups.

use async_graphql::connection::Edge;
use async_graphql::{Context, Enum, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use chrono::Utc;
use tokio::sync::OnceCell;

use super::ban::banned;
use super::invite::{Invite, invites};
use super::membership::Membership;
use super::participant::Participant;
use crate::domain::Error as Domain;
use crate::domain::conversations::conversations::{GroupChanges, NewGroup};
use crate::graphql::calls::call::{Call, LiveCallKey};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::files::attachment::{Attachment, avatar};
use crate::graphql::loaders::{MembershipKey, MessagePage, ParticipantPage};
use crate::graphql::messaging::message::Message;
use crate::graphql::messaging::pin::{PINS_PAGE, pinned};
use crate::graphql::page::{Connection, DEFAULT_PAGE_SIZE, Forward, check_size, decode_cursor, encode_cursor};
use crate::graphql::people::user::User;
use crate::graphql::scalars::{DateTime, parse_changed_id, parse_id, parse_ids};
use crate::ids::{ConversationId, MessageId, ParticipantId};
use crate::store::conversations::conversations::{Conversation as Row, ConversationKind as KindRow};
use crate::store::conversations::participants::Participant as ParticipantRow;
use crate::store::messaging::messages::Range;

const DEFAULT_PAGE: i32 = DEFAULT_PAGE_SIZE as i32;

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "KindRow")]
pub enum ConversationKind {
    Direct,
    Group,
}

#[derive(Clone)]
pub struct Conversation {
    id: ConversationId,
    /// Loaded once a field asks for it: many a client wants to know of which conversation a message is, and no more.
    row: OnceCell<Row>,
    /// The viewer's own state with the number of the newest message, where they were read along.
    membership: Option<(ParticipantRow, i32)>,
}

impl From<Row> for Conversation {
    fn from(row: Row) -> Self {
        Self { id: row.id, row: OnceCell::new_with(Some(row)), membership: None }
    }
}

/// One that is there for certain, as long as the row that names it is.
impl From<ConversationId> for Conversation {
    fn from(id: ConversationId) -> Self {
        Self { id, row: OnceCell::new(), membership: None }
    }
}

#[Object]
impl Conversation {
    pub async fn id(&self) -> ID {
        self.id.to_string().into()
    }

    async fn kind(&self, ctx: &Context<'_>) -> Result<ConversationKind> {
        Ok(self.row(ctx).await?.kind.into())
    }

    /// Group title; null for a direct conversation.
    async fn title(&self, ctx: &Context<'_>) -> Option<Result<&str>> {
        self.row(ctx).await.map(|row| row.title.as_deref()).transpose()
    }

    async fn topic(&self, ctx: &Context<'_>) -> Option<Result<&str>> {
        self.row(ctx).await.map(|row| row.topic.as_deref()).transpose()
    }

    async fn avatar(&self, ctx: &Context<'_>) -> Option<Result<Attachment>> {
        match self.row(ctx).await {
            Ok(row) => avatar(ctx, row.avatar_id).await,
            Err(error) => Some(Err(error)),
        }
    }

    async fn created_by(&self, ctx: &Context<'_>) -> Option<Result<User>> {
        match self.row(ctx).await.map(|row| row.created_by).transpose()? {
            Ok(user) => ctx.loaders().user(user).await.map(|row| row.map(User)).transpose(),
            Err(error) => Some(Err(error)),
        }
    }

    async fn created_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(self.row(ctx).await?.created_at.into())
    }

    async fn last_activity_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(self.row(ctx).await?.last_activity_at.into())
    }

    /// The newest that the viewer may see.
    async fn last_message(&self, ctx: &Context<'_>) -> Option<Result<Message>> {
        self.newest(ctx).await.transpose()
    }

    /// Whether those who join see what was before; true for a direct conversation.
    async fn history_visible(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(self.row(ctx).await?.history_visible)
    }

    async fn participant_count(&self, ctx: &Context<'_>) -> Result<i32> {
        Ok(self.row(ctx).await?.participant_count)
    }

    /// Those who joined first come first.
    async fn participants(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Participant>> {
        let page =
            Forward::<(chrono::DateTime<Utc>, ParticipantId)>::new(first.unwrap_or(DEFAULT_PAGE), after.as_deref())?;
        let key = ParticipantPage { conversation: self.id, after: page.after, limit: page.limit() };
        let rows = ctx.loaders().load(key).await?.unwrap_or_default();
        Ok(page.connection(rows, |row| (row.joined_at, row.id), Participant))
    }

    /// Those that the viewer may see. Oldest first within a page; `last`/`before` pages back from the newest. The newest
    /// 50 unless asked otherwise.
    async fn messages(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> Result<Connection<Message>> {
        let user = ctx.viewer()?.user;
        let range = message_range(first, after.as_deref(), last, before.as_deref())?;
        // One more than the page holds tells whether there are more.
        let key = MessagePage { user, conversation: self.id, range: Range { limit: range.limit + 1, ..range } };
        let mut rows = ctx.loaders().load(key).await?.unwrap_or_default();
        let more = i64::try_from(rows.len()).is_ok_and(|rows| rows > range.limit);
        if more {
            rows.pop();
        }
        let before_newest = range.before < i32::MAX && range.before <= self.row(ctx).await?.last_message_number;
        let (mut has_previous, mut has_next) = (range.after > 0, before_newest);
        if range.newest_first {
            rows.reverse();
            has_previous |= more;
        } else {
            has_next |= more;
        }
        let mut connection = Connection::new(has_previous, has_next);
        connection.edges.extend(rows.into_iter().map(|row| Edge::new(encode_cursor(&row.number), Message(row))));
        Ok(connection)
    }

    /// The newest pin first, of those that the viewer may see.
    async fn pinned_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "Some(PINS_PAGE)")] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<Message>> {
        let page = Forward::<(chrono::DateTime<Utc>, MessageId)>::new(first.unwrap_or(PINS_PAGE), after.as_deref())?;
        pinned(ctx, self.id, &page).await
    }

    /// The invites of a group, newest first, including those that are used up or expired. Visible to the owner and admins;
    /// FORBIDDEN for other participants. Empty for a direct conversation.
    async fn invites(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        after: Option<String>,
    ) -> Option<Result<Connection<Invite>>> {
        Some(invites(ctx, self.id, self.is_group(ctx), first.unwrap_or(DEFAULT_PAGE), after).await)
    }

    /// The users who are banned from a group, newest ban first. Visible to the owner and admins; FORBIDDEN for other
    /// participants. Empty for a direct conversation.
    async fn banned_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        after: Option<String>,
    ) -> Option<Result<Connection<User>>> {
        Some(banned(ctx, self.id, self.is_group(ctx), first.unwrap_or(DEFAULT_PAGE), after).await)
    }

    /// Active call, if any. One of somebody whom the viewer blocks is none.
    async fn call(&self, ctx: &Context<'_>) -> Option<Result<Call>> {
        match ctx.viewer() {
            Ok(viewer) => {
                ctx.loaders().load(LiveCallKey(viewer.user, self.id)).await.map(|row| row.map(Call::from)).transpose()
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// The viewer's own state in this conversation.
    async fn viewer_membership(&self, ctx: &Context<'_>) -> Option<Result<Membership>> {
        self.membership(ctx).await.transpose()
    }
}

impl Conversation {
    pub(super) fn of_member(row: Row, membership: ParticipantRow) -> Self {
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
        let load = async || ctx.loaders().load(self.id).await?.ok_or_else(|| Domain::NotFound("It is gone.").into());
        self.row.get_or_try_init(load).await
    }
}

fn message_range(first: Option<i32>, after: Option<&str>, last: Option<i32>, before: Option<&str>) -> Result<Range> {
    let number = |cursor: Option<&str>, path| cursor.map(|cursor| decode_cursor::<i32>(cursor, path)).transpose();
    let (size, newest_first) = match (first, last) {
        (Some(_), Some(_)) => return Err(Error::bad_input("last", "Ask for the first or the last, not for both.")),
        (Some(first), None) => (check_size(first, "first")?, false),
        (None, Some(last)) => (check_size(last, "last")?, true),
        // Reading on from a cursor, or back from the newest.
        (None, None) => (check_size(DEFAULT_PAGE, "last")?, after.is_none()),
    };
    Ok(Range {
        after: number(after, "after")?.unwrap_or(0),
        before: number(before, "before")?.unwrap_or(i32::MAX),
        newest_first,
        limit: size.into(),
    })
}

#[derive(InputObject)]
pub struct OpenDirectConversationInput {
    user_id: ID,
}

#[derive(SimpleObject)]
pub struct OpenDirectConversationPayload {
    conversation: Conversation,
}

#[derive(InputObject)]
pub struct CreateGroupInput {
    /// 1 to 100 characters.
    title: String,
    /// The others; the viewer is its owner.
    participant_ids: Vec<ID>,
    /// At most 500 characters.
    topic: Option<String>,
    /// Whether those who join later see what was before.
    #[graphql(default_with = "Some(true)")]
    history_visible: Option<bool>,
    /// One of the viewer's own pictures, READY.
    avatar_id: Option<ID>,
}

#[derive(SimpleObject)]
pub struct CreateGroupPayload {
    conversation: Conversation,
}

/// What is left out stays.
#[derive(InputObject)]
pub struct UpdateGroupInput {
    conversation_id: ID,
    /// 1 to 100 characters.
    title: Option<String>,
    /// At most 500 characters; null or empty for none.
    topic: MaybeUndefined<String>,
    /// Whether those who join from then on see what was before. For others nothing changes.
    history_visible: Option<bool>,
    /// One of the viewer's own pictures, READY; null for none.
    avatar_id: MaybeUndefined<ID>,
}

#[derive(SimpleObject)]
pub struct UpdateGroupPayload {
    conversation: Conversation,
}

#[derive(Default)]
pub struct ConversationQuery;

#[Object]
impl ConversationQuery {
    /// Null where the viewer takes no part in it.
    async fn conversation(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Conversation>> {
        find(ctx, &id).await.transpose()
    }
}

async fn find(ctx: &Context<'_>, id: &ID) -> Result<Option<Conversation>> {
    let viewer = ctx.viewer()?;
    let row = ctx.app().conversations().find(viewer, parse_id(id, "id")?).await?;
    Ok(row.map(Conversation::from))
}

#[derive(Default)]
pub struct ConversationMutation;

#[Object]
impl ConversationMutation {
    /// Returns the one direct conversation with that user, made on first use.
    async fn open_direct_conversation(
        &self,
        ctx: &Context<'_>,
        input: OpenDirectConversationInput,
    ) -> Result<OpenDirectConversationPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().conversations().open_direct(viewer, parse_id(&input.user_id, "userId")?).await?;
        Ok(OpenDirectConversationPayload { conversation: row.into() })
    }

    async fn create_group(&self, ctx: &Context<'_>, input: CreateGroupInput) -> Result<CreateGroupPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().conversations().create_group(viewer, input.try_into()?, &ctx.client().gone).await?;
        Ok(CreateGroupPayload { conversation: row.into() })
    }

    /// The title, the topic and the avatar are for the owner and admins to change, the rest for the owner.
    async fn update_group(&self, ctx: &Context<'_>, input: UpdateGroupInput) -> Result<UpdateGroupPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.conversation_id, "conversationId")?;
        let row = ctx.app().conversations().update_group(viewer, id, input.try_into()?, &ctx.client().gone).await?;
        Ok(UpdateGroupPayload { conversation: row.into() })
    }
}

impl TryFrom<UpdateGroupInput> for GroupChanges {
    type Error = Error;

    fn try_from(input: UpdateGroupInput) -> Result<Self> {
        let topic = match input.topic {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(String::new()),
            MaybeUndefined::Value(text) => Some(text),
        };
        let avatar = parse_changed_id(input.avatar_id, "avatarId")?;
        Ok(Self { title: input.title, topic, history_visible: input.history_visible, avatar })
    }
}

impl TryFrom<CreateGroupInput> for NewGroup {
    type Error = Error;

    fn try_from(input: CreateGroupInput) -> Result<Self> {
        Ok(Self {
            title: input.title,
            topic: input.topic,
            participants: parse_ids(&input.participant_ids, "participantIds")?,
            history_visible: input.history_visible.unwrap_or(true),
            avatar: input.avatar_id.map(|id| parse_id(&id, "avatarId")).transpose()?,
        })
    }
}
