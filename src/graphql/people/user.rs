//! Users, in the form that other users see.

use async_graphql::{Context, ID, Object, OneofObject};

use super::presence::Presence;
use crate::domain::Error as Domain;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::files::attachment::{Attachment, avatar};
use crate::graphql::loaders::{PresenceKey, RelationKey};
use crate::graphql::page::{Connection, Forward};
use crate::graphql::scalars::{DateTime, parse_id};
use crate::store::people::contacts::Relation;
use crate::store::people::users::User as Row;

#[derive(Clone)]
pub struct User(pub Row);

/// A user, in the form that other users see.
#[Object]
impl User {
    /// Global id, with the prefix `usr_`.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// Unique public name, 3 to 32 letters a to z, digits, dots or underscores.
    async fn username(&self) -> &str {
        &self.0.username
    }

    /// Name to display, 1 to 64 characters. The name is not unique.
    async fn display_name(&self) -> &str {
        &self.0.display_name
    }

    /// Text about the user, at most 500 characters. Null if the user has no such text.
    async fn about(&self) -> Option<&str> {
        self.0.about.as_deref()
    }

    /// Profile picture. Null if the user has no picture.
    async fn avatar(&self, ctx: &Context<'_>) -> Option<Result<Attachment>> {
        avatar(ctx, self.0.avatar_id).await
    }

    /// Whether the user is connected, as far as the viewer may see this. OFFLINE if the user's privacy settings or a
    /// block hide the presence from the viewer.
    async fn presence(&self, ctx: &Context<'_>) -> Result<Presence> {
        let key = PresenceKey { viewer: ctx.viewer()?.user, user: self.0.id };
        let presence = ctx.loaders().load(key).await?;
        presence.map(Into::into).ok_or_else(|| Domain::NotFound("This user no longer exists.").into())
    }

    /// Whether the account is a guest: it has no way to sign in again, and ends with its session. See `createGuest`.
    async fn is_guest(&self) -> bool {
        self.0.is_guest
    }

    /// When the account was created.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// Whether the user is a contact of the viewer.
    async fn viewer_is_contact(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(self.relation(ctx).await?.is_contact)
    }

    /// Whether the viewer blocks the user.
    async fn viewer_has_blocked(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(self.relation(ctx).await?.has_blocked)
    }
}

impl User {
    /// Loads the viewer's relation to the user.
    async fn relation(&self, ctx: &Context<'_>) -> Result<Relation> {
        let viewer = ctx.viewer()?;
        Ok(ctx.loaders().load(RelationKey { viewer: viewer.user, other: self.0.id }).await?.unwrap_or_default())
    }
}

/// Default number of users on a page.
const DEFAULT_PAGE: i32 = 20;

/// Selects a user by an id or by a username.
#[derive(OneofObject)]
pub enum UserBy {
    /// Id of the user.
    Id(ID),
    /// Username. Case is ignored.
    Username(String),
}

#[derive(Default)]
pub struct UserQuery;

#[Object]
impl UserQuery {
    /// The user with this id or username. Null if no such user exists.
    async fn user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Which user to return.")] by: UserBy,
    ) -> Option<Result<User>> {
        find(ctx, by).await.transpose()
    }

    /// Searches for users. A user matches if the username begins with the query, if the display name contains the
    /// query, or if the verified e-mail address or phone number is equal to the query and the user's privacy settings
    /// allow this search. Exact matches come first, then usernames, then display names. A query of less than 3
    /// characters matches only the beginning of display names. Case is ignored. Errors: BAD_USER_INPUT if the query
    /// does not have 1 to 64 characters.
    async fn search_users(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Text to search for, 1 to 64 characters.")] query: String,
        #[graphql(desc = "Page size, 1 to 100.", default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        #[graphql(desc = "Cursor of this list: return the items after it.")] after: Option<String>,
    ) -> Result<Connection<User>> {
        let viewer = ctx.viewer()?;
        let page = Forward::<(i32, String)>::new(first.unwrap_or(DEFAULT_PAGE), after.as_deref())?;
        let after = page.after.as_ref().map(|(rank, username)| (*rank, username.as_str()));
        let found = ctx.app().users().search(viewer, &query, after, page.limit()).await?;
        Ok(page.connection(found, |found| (found.rank, found.user.username.clone()), |found| User(found.user)))
    }
}

async fn find(ctx: &Context<'_>, by: UserBy) -> Result<Option<User>> {
    ctx.viewer()?;
    let user = match by {
        UserBy::Id(id) => ctx.app().users().get(parse_id(&id, "by.id")?).await?,
        UserBy::Username(username) => ctx.app().users().by_username(&username).await?,
    };
    Ok(user.map(User))
}
