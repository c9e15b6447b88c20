//! The signed-in account: what only its owner may see.

use async_graphql::{Context, ID, InputObject, Object};
use chrono::Utc;

use super::contact::{ContactRequest, ContactRequestDirection};
use super::privacy::PrivacySettings;
use super::session::Session;
use super::user::User;
use crate::domain::{Error, Viewer as Identity};
use crate::graphql::calls::call::Call;
use crate::graphql::context::ContextExt as _;
use crate::graphql::conversations::conversation::{Conversation, ConversationKind};
use crate::graphql::error::Result;
use crate::graphql::messaging::scheduled_message::ScheduledMessage;
use crate::graphql::page::{Connection, DEFAULT_PAGE_SIZE, Forward};
use crate::ids::{ContactRequestId, ConversationId, ScheduledMessageId, UserId, ViewerId};
use crate::store::conversations::conversations::Filter;
use crate::store::people::users::User as Row;

/// Conversations on a page whose size was not asked for.
const DEFAULT_PAGE: i32 = 20;
const DEFAULT_SCHEDULED: i32 = DEFAULT_PAGE_SIZE as i32;

/// Contacts, requests or blocked users on a page whose size was not asked for.
const DEFAULT_PAGE_OF_USERS: i32 = DEFAULT_PAGE_SIZE as i32;

pub struct Viewer {
    pub identity: Identity,
    pub row: Row,
}

/// The signed-in account: what only its owner may see.
#[Object]
impl Viewer {
    /// The same for as long as the account is: lets a normalised cache keep one Viewer.
    async fn id(&self) -> ID {
        ViewerId(self.row.id.0).to_string().into()
    }

    async fn user(&self) -> User {
        User(self.row.clone())
    }

    async fn email(&self) -> Option<&str> {
        self.row.email.as_deref()
    }

    /// Whether the viewer has proved that `email` is theirs. False without an e-mail address. An unverified address is
    /// accepted neither for login nor in searches, and other accounts may have entered the same one.
    async fn email_verified(&self) -> bool {
        self.row.email_verified_at.is_some()
    }

    async fn phone(&self) -> Option<&str> {
        self.row.phone.as_deref()
    }

    /// Whether the viewer has proved that `phone` is theirs. The same rules as for `emailVerified`.
    async fn phone_verified(&self) -> bool {
        self.row.phone_verified_at.is_some()
    }

    /// Most recently active first; archived ones only when asked for.
    async fn conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        after: Option<String>,
        filter: Option<ConversationFilter>,
    ) -> Result<Connection<Conversation>> {
        let page =
            Forward::<(chrono::DateTime<Utc>, ConversationId)>::new(first.unwrap_or(DEFAULT_PAGE), after.as_deref())?;
        let filter = filter.map(Filter::from).unwrap_or_default();
        let rows = ctx.app().conversations().list(self.identity, filter, page.after, page.limit()).await?;
        Ok(page.connection(
            rows,
            |(conversation, _)| (conversation.last_activity_at, conversation.id),
            |(row, membership)| Conversation::of_member(row, membership),
        ))
    }

    /// Sum over conversations that are neither muted nor archived.
    async fn unread_count(&self, ctx: &Context<'_>) -> Result<i32> {
        let count = ctx.app().conversations().unread_count(self.identity).await?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    async fn privacy(&self) -> PrivacySettings {
        self.row.privacy.into()
    }

    /// Newest first.
    async fn contacts(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "Some(DEFAULT_PAGE_OF_USERS)")] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<User>> {
        let page = users_page(first, after.as_deref())?;
        let rows = ctx.app().contacts().list(self.identity, page.after, page.limit()).await?;
        Ok(page.connection(rows, |(at, user)| (*at, user.id), |(_, user)| User(user)))
    }

    /// Newest first. What was accepted or declined is gone.
    async fn contact_requests(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "ContactRequestDirection::Incoming")] direction: ContactRequestDirection,
        #[graphql(default_with = "Some(DEFAULT_PAGE_OF_USERS)")] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<ContactRequest>> {
        let first = first.unwrap_or(DEFAULT_PAGE_OF_USERS);
        let page = Forward::<(chrono::DateTime<Utc>, ContactRequestId)>::new(first, after.as_deref())?;
        let requests = ctx.app().contacts();
        let rows = requests.list_requests(self.identity, direction.into(), page.after, page.limit()).await?;
        Ok(page.connection(rows, |row| (row.created_at, row.id), ContactRequest))
    }

    /// Newest first.
    async fn blocked_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "Some(DEFAULT_PAGE_OF_USERS)")] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<User>> {
        let page = users_page(first, after.as_deref())?;
        let rows = ctx.app().blocks().list(self.identity, page.after, page.limit()).await?;
        Ok(page.connection(rows, |(at, user)| (*at, user.id), |(_, user)| User(user)))
    }

    /// The first to be sent first.
    async fn scheduled_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(default_with = "Some(DEFAULT_SCHEDULED)")] first: Option<i32>,
        after: Option<String>,
    ) -> Result<Connection<ScheduledMessage>> {
        let first = first.unwrap_or(DEFAULT_SCHEDULED);
        let page = Forward::<(chrono::DateTime<Utc>, ScheduledMessageId)>::new(first, after.as_deref())?;
        let rows = ctx.app().scheduled_messages().list(self.identity, page.after, page.limit()).await?;
        Ok(page.connection(rows, |row| (row.send_at, row.id), ScheduledMessage))
    }

    /// The call that this user is in, with whichever device.
    async fn call(&self, ctx: &Context<'_>) -> Option<Result<Call>> {
        let row = ctx.app().calls().current(self.identity).await;
        row.map(|row| row.map(Call::from)).map_err(Into::into).transpose()
    }

    /// The devices that are signed in, last used first.
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Vec<Session>> {
        let rows = ctx.app().sessions().list(self.identity).await?;
        let current = self.identity.session;
        Ok(rows.into_iter().map(|row| Session { is_current: row.id == current, row }).collect())
    }
}

/// A page of users, by the time since which they are what they are to the viewer.
fn users_page(first: Option<i32>, after: Option<&str>) -> Result<Forward<(chrono::DateTime<Utc>, UserId)>> {
    Forward::new(first.unwrap_or(DEFAULT_PAGE_OF_USERS), after)
}

impl Viewer {
    pub(super) async fn load(ctx: &Context<'_>, identity: Identity) -> Result<Self> {
        let row = ctx.app().users().get(identity.user).await?;
        let row = row.ok_or(Error::Unauthenticated("The account is gone."))?;
        Ok(Self { identity, row })
    }
}

#[derive(InputObject)]
pub struct ConversationFilter {
    kind: Option<ConversationKind>,
    /// The archived ones, in place of the others.
    #[graphql(default_with = "Some(false)")]
    archived: Option<bool>,
    #[graphql(default_with = "Some(false)")]
    unread_only: Option<bool>,
    /// In any case of letters.
    title_contains: Option<String>,
}

impl From<ConversationFilter> for Filter {
    fn from(filter: ConversationFilter) -> Self {
        Self {
            kind: filter.kind.map(Into::into),
            archived: filter.archived.unwrap_or_default(),
            unread_only: filter.unread_only.unwrap_or_default(),
            title_contains: filter.title_contains,
        }
    }
}

#[derive(Default)]
pub struct ViewerQuery;

#[Object]
impl ViewerQuery {
    /// The signed-in account; UNAUTHENTICATED without one.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer> {
        Viewer::load(ctx, ctx.viewer()?).await
    }
}
