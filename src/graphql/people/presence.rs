//! Who is there.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject, Subscription as GraphqlSubscription};
use async_stream::try_stream;
use futures_util::{Stream, StreamExt as _};

use super::user::User;
use crate::domain::people::presence::{Presence as Row, Status};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::loaders::Loaders;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::UserId;

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Status")]
pub enum PresenceStatus {
    Online,
    Away,
    Offline,
}

#[derive(SimpleObject)]
pub struct Presence {
    status: PresenceStatus,
    /// When last online; null while online and where privacy hides it.
    last_seen_at: Option<DateTime>,
}

impl From<Row> for Presence {
    fn from(row: Row) -> Self {
        Self { status: row.status.into(), last_seen_at: row.last_seen_at.map(Into::into) }
    }
}

#[derive(SimpleObject)]
pub struct PresenceChanged {
    user: User,
    presence: Presence,
}

impl PresenceChanged {
    /// For the user's own devices. None where the account is gone.
    pub(super) async fn of_viewer(loaders: &Loaders, user: UserId, status: Status) -> Result<Option<Self>> {
        Self::new(loaders, user, Row { status, last_seen_at: None }).await
    }

    async fn new(loaders: &Loaders, user: UserId, presence: Row) -> Result<Option<Self>> {
        let user = loaders.user(user).await?;
        Ok(user.map(|user| Self { user: User(user), presence: presence.into() }))
    }
}

/// ONLINE or AWAY; OFFLINE comes of having no connection.
#[derive(InputObject)]
pub struct SetPresenceInput {
    status: PresenceStatus,
}

#[derive(SimpleObject)]
pub struct SetPresencePayload {
    presence: Presence,
}

#[derive(Default)]
pub struct PresenceMutation;

#[Object]
impl PresenceMutation {
    /// Of all the viewer's devices. AWAY lasts until ONLINE is set, or no device is connected any more.
    async fn set_presence(&self, ctx: &Context<'_>, input: SetPresenceInput) -> Result<SetPresencePayload> {
        let viewer = ctx.viewer()?;
        let presence = ctx.app().presences().set(viewer, input.status.into()).await?;
        Ok(SetPresencePayload { presence: presence.into() })
    }
}

#[derive(Default)]
pub struct PresenceSubscription;

#[GraphqlSubscription]
impl PresenceSubscription {
    /// First the present state of each, then each change. 1 to 100 users. Depends on who asks: hidden as the users'
    /// privacy settings say.
    async fn presence(
        &self,
        ctx: &Context<'_>,
        user_ids: Vec<ID>,
    ) -> Result<impl Stream<Item = Result<PresenceChanged>> + use<>> {
        let viewer = ctx.viewer()?;
        let ids = user_ids.iter().enumerate().map(|(place, id)| parse_id(id, &format!("userIds.{place}")));
        let ids = ids.collect::<Result<Vec<UserId>>>()?;
        let changes = ctx.app().presences().watch(viewer, &ids).await?;
        let loaders = ctx.loaders().clone();
        Ok(try_stream! {
            let mut changes = Box::pin(changes);
            while let Some((user, presence)) = changes.next().await {
                if let Some(changed) = PresenceChanged::new(&loaders, user, presence).await? {
                    yield changed;
                }
            }
        })
    }
}
