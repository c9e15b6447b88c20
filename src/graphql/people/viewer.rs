//! The signed-in account, with the data that only its owner sees.

use async_graphql::{Context, ID, InputObject, Object};
use chrono::Utc;

use super::contact::{ContactRequest, ContactRequestDirection};
use super::identity::Identity as LinkedIdentity;
use super::passkey::Passkey;
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
use crate::graphql::push::notification_settings::NotificationSettings;
use crate::graphql::push::push_subscription::PushSubscription;
use crate::ids::{ContactRequestId, ConversationId, ScheduledMessageId, UserId, ViewerId};
use crate::store::conversations::conversations::Filter;
use crate::store::people::users::User as Row;

/// Default number of conversations on a page.
const DEFAULT_PAGE: i32 = 20;
/// Default number of scheduled messages on a page.
const DEFAULT_SCHEDULED: i32 = DEFAULT_PAGE_SIZE as i32;

/// Default number of contacts, contact requests or blocked users on a page.
const DEFAULT_PAGE_OF_USERS: i32 = DEFAULT_PAGE_SIZE as i32;

pub struct Viewer {
    pub identity: Identity,
    pub row: Row,
}

/// The signed-in account, with the data that only its owner sees.
#[Object]
impl Viewer {
    /// Id with the prefix `vwr_`, for the caches of clients. The id never changes, and `node` does not accept it.
    async fn id(&self) -> ID {
        ViewerId(self.row.id.0).to_string().into()
    }

    /// The account in the form that other users see.
    async fn user(&self) -> User {
        User(self.row.clone())
    }

    /// E-mail address. Null if the account has no e-mail address.
    async fn email(&self) -> Option<&str> {
        self.row.email.as_deref()
    }

    /// Whether the viewer has proved by a code, or an issuer has stated, that `email` is their address. False without
    /// an e-mail address. An unverified address works neither for login nor in searches, and other accounts may have
    /// the same address.
    async fn email_verified(&self) -> bool {
        self.row.email_verified_at.is_some()
    }

    /// Phone number with its country code, in the form of ITU-T E.164. Null if the account has no phone number.
    async fn phone(&self) -> Option<&str> {
        self.row.phone.as_deref()
    }

    /// Whether the viewer has proved by a code that `phone` is their number. False without a phone number. An
    /// unverified number has the same restrictions as an unverified e-mail address.
    async fn phone_verified(&self) -> bool {
        self.row.phone_verified_at.is_some()
    }

    /// Whether the account has a password. An account that `loginWithCode`, `signInWithToken` or `createGuest` made has
    /// none until a mutation such as `changePassword` sets one.
    async fn has_password(&self) -> bool {
        self.row.password_hash.is_some()
    }

    /// Whether the account has an authenticator app as its second factor.
    async fn totp_enabled(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(ctx.app().second_factors().is_totp_enabled(self.identity).await?)
    }

    /// Number of unused recovery codes. Null if the account has no authenticator app.
    async fn recovery_codes_left(&self, ctx: &Context<'_>) -> Option<Result<i32>> {
        let left = ctx.app().second_factors().recovery_codes_left(self.identity).await;
        let left = left.map(|left| left.map(|left| i32::try_from(left).unwrap_or(i32::MAX)));
        left.map_err(Into::into).transpose()
    }

    /// The passkeys of the account, oldest first, at most 20.
    async fn passkeys(&self, ctx: &Context<'_>) -> Result<Vec<Passkey>> {
        let rows = ctx.app().passkeys().list(self.identity).await?;
        Ok(rows.into_iter().map(Passkey).collect())
    }

    /// The viewer's conversations, most recently active first. Archived conversations are listed only with the filter
    /// `archived`.
    async fn conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
        #[graphql(desc = "Which conversations to list.")] filter: Option<ConversationFilter>,
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

    /// Number of unread messages in all conversations that are neither muted nor archived.
    async fn unread_count(&self, ctx: &Context<'_>) -> Result<i32> {
        let count = ctx.app().conversations().unread_count(self.identity).await?;
        Ok(i32::try_from(count).unwrap_or(i32::MAX))
    }

    /// Privacy settings of the account.
    async fn privacy(&self) -> PrivacySettings {
        self.row.privacy.into()
    }

    /// The viewer's contacts, newest first.
    async fn contacts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE_OF_USERS)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<User>> {
        let page = users_page(first, after.as_deref())?;
        let rows = ctx.app().contacts().list(self.identity, page.after, page.limit()).await?;
        Ok(page.connection(rows, |(at, user)| (*at, user.id), |(_, user)| User(user)))
    }

    /// The contact requests that wait for an answer, newest first.
    async fn contact_requests(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which requests to list.", default_with = "ContactRequestDirection::Incoming")]
        direction: ContactRequestDirection,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE_OF_USERS)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<ContactRequest>> {
        let first = first.unwrap_or(DEFAULT_PAGE_OF_USERS);
        let page = Forward::<(chrono::DateTime<Utc>, ContactRequestId)>::new(first, after.as_deref())?;
        let requests = ctx.app().contacts();
        let rows = requests.list_requests(self.identity, direction.into(), page.after, page.limit()).await?;
        Ok(page.connection(rows, |row| (row.created_at, row.id), ContactRequest))
    }

    /// The users whom the viewer blocks, newest block first.
    async fn blocked_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE_OF_USERS)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<User>> {
        let page = users_page(first, after.as_deref())?;
        let rows = ctx.app().blocks().list(self.identity, page.after, page.limit()).await?;
        Ok(page.connection(rows, |(at, user)| (*at, user.id), |(_, user)| User(user)))
    }

    /// The viewer's scheduled messages, sorted by `sendAt`, earliest first.
    async fn scheduled_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_SCHEDULED)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<ScheduledMessage>> {
        let first = first.unwrap_or(DEFAULT_SCHEDULED);
        let page = Forward::<(chrono::DateTime<Utc>, ScheduledMessageId)>::new(first, after.as_deref())?;
        let rows = ctx.app().scheduled_messages().list(self.identity, page.after, page.limit()).await?;
        Ok(page.connection(rows, |row| (row.send_at, row.id), ScheduledMessage))
    }

    /// The call that the viewer is in, with any device. Null if the viewer is in no call.
    async fn call(&self, ctx: &Context<'_>) -> Option<Result<Call>> {
        let row = ctx.app().calls().current(self.identity).await;
        row.map(|row| row.map(|row| Call::of_user(row, self.identity.user))).map_err(Into::into).transpose()
    }

    /// The identities at issuers by which the viewer can sign in, oldest first. At most 20.
    async fn identities(&self, ctx: &Context<'_>) -> Result<Vec<LinkedIdentity>> {
        let rows = ctx.app().identities().list(self.identity).await?;
        Ok(rows.into_iter().map(|row| LinkedIdentity { row }).collect())
    }

    /// The devices of the viewer that get push notifications, newest first, at most 20.
    async fn push_subscriptions(&self, ctx: &Context<'_>) -> Result<Vec<PushSubscription>> {
        let rows = ctx.app().push_subscriptions().of_viewer(self.identity).await?;
        PushSubscription::with_sessions(ctx, self.identity, rows).await
    }

    /// Settings of the viewer's notifications.
    async fn notification_settings(&self, ctx: &Context<'_>) -> Result<NotificationSettings> {
        Ok(ctx.app().notification_settings().get(self.identity).await?.into())
    }

    /// The signed-in devices of the viewer, most recently used first.
    async fn sessions(&self, ctx: &Context<'_>) -> Result<Vec<Session>> {
        let rows = ctx.app().sessions().list(self.identity).await?;
        let current = self.identity.session;
        Ok(rows.into_iter().map(|row| Session { is_current: row.id == current, row }).collect())
    }
}

/// Parses the arguments of a list of users that is sorted by the time when each user became a contact or was blocked.
fn users_page(first: Option<i32>, after: Option<&str>) -> Result<Forward<(chrono::DateTime<Utc>, UserId)>> {
    Forward::new(first.unwrap_or(DEFAULT_PAGE_OF_USERS), after)
}

impl Viewer {
    pub(in crate::graphql) async fn load(ctx: &Context<'_>, identity: Identity) -> Result<Self> {
        let row = ctx.app().users().get(identity.user).await?;
        let row =
            row.ok_or(Error::Unauthenticated("This account no longer exists. Call `register` to create another."))?;
        Ok(Self { identity, row })
    }
}

/// Filter of `Viewer.conversations`. A conversation must meet all conditions.
#[derive(InputObject)]
pub struct ConversationFilter {
    /// Kind of the conversations. Any kind if omitted.
    kind: Option<ConversationKind>,
    /// If true, list only archived conversations. If false, list only conversations that are not archived.
    #[graphql(default_with = "Some(false)")]
    archived: Option<bool>,
    /// Whether to list only conversations with unread messages.
    #[graphql(default_with = "Some(false)")]
    unread_only: Option<bool>,
    /// Text that the title must contain. Case, accents and width are ignored. Direct conversations have no title and do
    /// not match.
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
    /// The signed-in account. Errors: UNAUTHENTICATED if no user is signed in.
    async fn viewer(&self, ctx: &Context<'_>) -> Result<Viewer> {
        Viewer::load(ctx, ctx.viewer()?).await
    }
}
