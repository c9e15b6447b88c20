//! Presence: whether users are connected.

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

/// Presence of a user.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Status")]
pub enum PresenceStatus {
    /// A device of the user has a WebSocket or an event stream open.
    Online,
    /// The user is connected and has set AWAY.
    Away,
    /// No device of the user is connected, or the viewer may not see whether a device is connected.
    Offline,
}

/// Presence of a user, as far as the viewer may see it.
#[derive(SimpleObject)]
pub struct Presence {
    /// Whether the user is connected.
    status: PresenceStatus,
    /// When the user was last connected. Null while the user is connected, if the user was never connected, and if the
    /// user's privacy settings or a block hide the time from the viewer.
    last_seen_at: Option<DateTime>,
}

impl From<Row> for Presence {
    fn from(row: Row) -> Self {
        Self { status: row.status.into(), last_seen_at: row.last_seen_at.map(Into::into) }
    }
}

/// The presence of a user, at the start of a subscription or after a change.
#[derive(SimpleObject)]
pub struct PresenceChanged {
    /// The user.
    user: User,
    /// The current presence of the user.
    presence: Presence,
}

impl PresenceChanged {
    /// Makes the event for the user's own devices. None if the user no longer exists.
    pub(in crate::graphql) async fn of_viewer(loaders: &Loaders, user: UserId, status: Status) -> Result<Option<Self>> {
        Self::new(loaders, user, Row { status, last_seen_at: None }).await
    }

    async fn new(loaders: &Loaders, user: UserId, presence: Row) -> Result<Option<Self>> {
        let user = loaders.user(user).await?;
        Ok(user.map(|user| Self { user: User(user), presence: presence.into() }))
    }
}

/// Input of the `setPresence` mutation.
#[derive(InputObject)]
pub struct SetPresenceInput {
    /// ONLINE or AWAY. A user is OFFLINE only without a connection, so OFFLINE is refused.
    status: PresenceStatus,
}

/// Result of the `setPresence` mutation.
#[derive(SimpleObject)]
pub struct SetPresencePayload {
    /// The viewer's presence. The presence stays OFFLINE if no device of the viewer is connected.
    presence: Presence,
}

#[derive(Default)]
pub struct PresenceMutation;

#[Object]
impl PresenceMutation {
    /// Sets the viewer's presence for all devices. AWAY lasts until ONLINE is set or the last connection closes. AWAY
    /// also marks the page of this session as hidden, so that its device gets pushes while it is connected. ONLINE
    /// marks the page as visible. Errors: BAD_USER_INPUT for OFFLINE.
    async fn set_presence(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new presence.")] input: SetPresenceInput,
    ) -> Result<SetPresencePayload> {
        let viewer = ctx.viewer()?;
        let presence = ctx.app().presences().set(viewer, input.status.into()).await?;
        Ok(SetPresencePayload { presence: presence.into() })
    }
}

#[derive(Default)]
pub struct PresenceSubscription;

#[GraphqlSubscription]
impl PresenceSubscription {
    /// Presence of users: first the current presence of each user, then each change. A user whose presence the viewer
    /// may not see, because of privacy settings or a block, is OFFLINE. Errors: BAD_USER_INPUT for an empty list, for
    /// more than 100 ids, and if a user does not exist.
    async fn presence(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Ids of 1 to 100 users.")] user_ids: Vec<ID>,
    ) -> Result<impl Stream<Item = Result<PresenceChanged>> + use<>> {
        let viewer = ctx.viewer()?;
        let ids = user_ids.iter().enumerate().map(|(index, id)| parse_id(id, &format!("userIds.{index}")));
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
