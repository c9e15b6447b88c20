//! Users, as others see them.

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

#[Object]
impl User {
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn username(&self) -> &str {
        &self.0.username
    }

    async fn display_name(&self) -> &str {
        &self.0.display_name
    }

    async fn about(&self) -> Option<&str> {
        self.0.about.as_deref()
    }

    async fn avatar(&self, ctx: &Context<'_>) -> Option<Result<Attachment>> {
        avatar(ctx, self.0.avatar_id).await
    }

    /// Depends on who asks: hidden as the user's privacy settings say.
    async fn presence(&self, ctx: &Context<'_>) -> Result<Presence> {
        let key = PresenceKey { viewer: ctx.viewer()?.user, user: self.0.id };
        let presence = ctx.loaders().load(key).await?;
        presence.map(Into::into).ok_or_else(|| Domain::NotFound("It is gone.").into())
    }

    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    async fn viewer_is_contact(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(self.relation(ctx).await?.is_contact)
    }

    async fn viewer_has_blocked(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(self.relation(ctx).await?.has_blocked)
    }
}

impl User {
    /// Depends on who asks.
    async fn relation(&self, ctx: &Context<'_>) -> Result<Relation> {
        let viewer = ctx.viewer()?;
        Ok(ctx.loaders().load(RelationKey { viewer: viewer.user, other: self.0.id }).await?.unwrap_or_default())
    }
}

/// Users on a page whose size was not asked for.
const DEFAULT_PAGE: i32 = 20;

#[derive(OneofObject)]
pub enum UserBy {
    Id(ID),
    Username(String),
}

#[derive(Default)]
pub struct UserQuery;

#[Object]
impl UserQuery {
    async fn user(&self, ctx: &Context<'_>, by: UserBy) -> Option<Result<User>> {
        find(ctx, by).await.transpose()
    }

    /// By username prefix, display name or, for an exact match, verified e-mail or phone of users who allow it. Exact
    /// matches come first, then prefixes, then names. Unverified e-mails and phones are not searched.
    async fn search_users(
        &self,
        ctx: &Context<'_>,
        query: String,
        #[graphql(default_with = "Some(DEFAULT_PAGE)")] first: Option<i32>,
        after: Option<String>,
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
