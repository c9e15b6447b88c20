//! Push subscriptions: the addresses at which devices of the viewer get push notifications.

use std::collections::HashMap;

use async_graphql::{Context, Enum, ID, InputObject, Object, OneofObject, SimpleObject};

use crate::domain::Viewer;
use crate::domain::push::subscriptions::{NewAddress, NewSubscription, Which};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::people::session::Session;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::store::push::subscriptions::{
    ApnsEnvironment as EnvironmentRow, PushSubscription as Row, PushTransport as TransportRow,
};

/// The service by which the server sends pushes to a device.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "TransportRow")]
pub enum PushTransport {
    /// The push service of a browser, by RFC 8030. The content is encrypted for the device.
    WebPush,
    /// A distributor of UnifiedPush on an Android or Linux device, such as ntfy. The content is encrypted for the
    /// device.
    UnifiedPush,
    /// Firebase Cloud Messaging, for Android. Google can read the content.
    Fcm,
    /// Apple Push Notification service, for iOS, iPadOS and macOS. Apple can read the content.
    Apns,
}

/// The environment of the Apple Push Notification service that has issued a token.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "EnvironmentRow")]
pub enum ApnsEnvironment {
    /// Apps from the App Store, TestFlight or an enterprise: `aps-environment` is `production`.
    Production,
    /// Apps that Xcode has installed on the device: `aps-environment` is `development`.
    Sandbox,
}

/// The error if the session of the request ends while it registers a device.
const ENDED: &str = "The session has ended. Call `login` to sign in again.";

pub struct PushSubscription {
    row: Row,
    session: Session,
}

/// A device of the viewer that gets push notifications, with its address at a push service.
#[Object]
impl PushSubscription {
    /// Id with the prefix `psh_`. `node` does not accept it.
    async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    /// The service by which the server sends pushes to the device.
    async fn transport(&self) -> PushTransport {
        self.row.transport.into()
    }

    /// The session that last registered the address. The subscription ends with this session.
    async fn session(&self) -> &Session {
        &self.session
    }

    /// When the viewer first registered the address.
    async fn created_at(&self) -> DateTime {
        self.row.created_at.into()
    }

    /// When the push service last accepted a push to this device. Null if it has accepted none yet.
    async fn last_delivered_at(&self) -> Option<DateTime> {
        self.row.last_delivered_at.map(Into::into)
    }
}

impl PushSubscription {
    /// Adds the sessions to the subscriptions of the viewer. Omits a subscription whose session has ended meanwhile.
    pub(in crate::graphql) async fn with_sessions(
        ctx: &Context<'_>,
        viewer: Viewer,
        rows: Vec<Row>,
    ) -> Result<Vec<Self>> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let sessions = ctx.app().sessions().list(viewer).await?;
        let sessions: HashMap<_, _> = sessions.into_iter().map(|row| (row.id, row)).collect();
        let with_session = |row: Row| {
            let session = sessions.get(&row.session_id)?.clone();
            Some(Self { session: Session { is_current: session.id == viewer.session, row: session }, row })
        };
        Ok(rows.into_iter().filter_map(with_session).collect())
    }
}

/// Subscription of a browser's push service.
#[derive(InputObject)]
pub struct WebPushInput {
    /// URL of the push service for this device, the `endpoint` of the browser's `PushSubscription`. It begins with
    /// `https://`, has at most 2048 bytes, and must not lead to a private network that the operator does not allow.
    endpoint: String,
    /// Public key of the device, the `keys.p256dh` of `PushSubscription.toJSON()`: 65 bytes in Base64 for URLs.
    p256dh: String,
    /// Secret of the device, the `keys.auth` of `PushSubscription.toJSON()`: 16 bytes in Base64 for URLs.
    auth: String,
}

/// Subscription of a distributor of UnifiedPush.
#[derive(InputObject)]
pub struct UnifiedPushInput {
    /// URL of the distributor's push server for this device, with at most 2048 bytes. It begins with `https://` and
    /// must not lead to a private network. In a private network that the operator of the server allows, `http://` is
    /// also accepted.
    endpoint: String,
    /// Public key of the device, the `pubKey` of the UnifiedPush library: 65 bytes in Base64 for URLs.
    p256dh: String,
    /// Secret of the device, the `auth` of the UnifiedPush library: 16 bytes in Base64 for URLs.
    auth: String,
}

/// Registration of an Android app at Firebase Cloud Messaging.
#[derive(InputObject)]
pub struct FcmInput {
    /// Registration token, as `FirebaseMessaging.getToken` returns it.
    token: String,
}

/// Registration of an app at the Apple Push Notification service.
#[derive(InputObject)]
pub struct ApnsInput {
    /// Device token in hexadecimal digits, from `didRegisterForRemoteNotificationsWithDeviceToken`.
    token: String,
    /// The environment that has issued the tokens.
    #[graphql(default_with = "ApnsEnvironment::Production")]
    environment: ApnsEnvironment,
    /// PushKit token for calls, in hexadecimal digits. Without it, a call arrives as an ordinary notification.
    voip_token: Option<String>,
}

/// Input of the `registerPushSubscription` mutation: exactly one transport.
#[derive(OneofObject)]
pub enum RegisterPushSubscriptionInput {
    /// Subscription of a browser.
    WebPush(WebPushInput),
    /// Subscription of a distributor of UnifiedPush.
    UnifiedPush(UnifiedPushInput),
    /// Registration at Firebase Cloud Messaging. BAD_USER_INPUT if the server has no FCM_SERVICE_ACCOUNT_FILE.
    Fcm(FcmInput),
    /// Registration at the Apple Push Notification service. BAD_USER_INPUT if the server has no APNS_KEY_FILE.
    Apns(ApnsInput),
}

/// Result of the `registerPushSubscription` mutation.
#[derive(SimpleObject)]
pub struct RegisterPushSubscriptionPayload {
    /// The new subscription, or the existing one with the same address.
    push_subscription: PushSubscription,
}

/// Input of the `removePushSubscription` mutation: exactly one way to name the subscription.
#[derive(OneofObject)]
pub enum RemovePushSubscriptionInput {
    /// Id of one of the viewer's push subscriptions.
    Id(ID),
    /// Endpoint of one of the viewer's subscriptions by Web Push or UnifiedPush.
    Endpoint(String),
    /// Token of one of the viewer's subscriptions by FCM or APNs.
    Token(String),
}

/// Result of the `removePushSubscription` mutation.
#[derive(SimpleObject)]
pub struct RemovePushSubscriptionPayload {
    /// Id of the subscription that was removed.
    removed_id: ID,
}

#[derive(Default)]
pub struct PushSubscriptionMutation;

#[Object]
impl PushSubscriptionMutation {
    /// Registers this device for push notifications. The subscription belongs to the session of the request and ends
    /// with it. Registering the same address again replaces its keys and its session, so a client can do so at each
    /// start. If another account has registered the address, that subscription is removed. An account has at most 20
    /// subscriptions, and a further one replaces the oldest. Errors: BAD_USER_INPUT if the endpoint, the keys or the
    /// token are malformed, if the endpoint leads to a private network that the operator does not allow, or if the
    /// operator has not set up the transport.
    async fn register_push_subscription(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The address of the device.")] input: RegisterPushSubscriptionInput,
    ) -> Result<RegisterPushSubscriptionPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().push_subscriptions().register(viewer, input.into()).await?;
        let push_subscription = PushSubscription::with_sessions(ctx, viewer, vec![row]).await?.pop();
        let push_subscription = push_subscription.ok_or_else(|| Error::unauthenticated(ENDED))?;
        Ok(RegisterPushSubscriptionPayload { push_subscription })
    }

    /// Removes one of the viewer's push subscriptions, so that its device gets no further pushes. Errors: NOT_FOUND if
    /// the viewer has no such subscription.
    async fn remove_push_subscription(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The subscription to remove.")] input: RemovePushSubscriptionInput,
    ) -> Result<RemovePushSubscriptionPayload> {
        let removed = ctx.app().push_subscriptions().remove(ctx.viewer()?, &input.try_into()?).await?;
        Ok(RemovePushSubscriptionPayload { removed_id: removed.to_string().into() })
    }
}

impl From<RegisterPushSubscriptionInput> for NewSubscription {
    fn from(input: RegisterPushSubscriptionInput) -> Self {
        match input {
            RegisterPushSubscriptionInput::WebPush(WebPushInput { endpoint, p256dh, auth }) => {
                Self::WebPush(NewAddress { endpoint, p256dh, auth })
            }
            RegisterPushSubscriptionInput::UnifiedPush(UnifiedPushInput { endpoint, p256dh, auth }) => {
                Self::UnifiedPush(NewAddress { endpoint, p256dh, auth })
            }
            RegisterPushSubscriptionInput::Fcm(FcmInput { token }) => Self::Fcm { token },
            RegisterPushSubscriptionInput::Apns(ApnsInput { token, environment, voip_token }) => {
                Self::Apns { token, environment: environment.into(), voip_token }
            }
        }
    }
}

impl TryFrom<RemovePushSubscriptionInput> for Which {
    type Error = Error;

    fn try_from(input: RemovePushSubscriptionInput) -> Result<Self> {
        Ok(match input {
            RemovePushSubscriptionInput::Id(id) => Self::Id(parse_id(&id, "id")?),
            RemovePushSubscriptionInput::Endpoint(endpoint) => Self::Endpoint(endpoint),
            RemovePushSubscriptionInput::Token(token) => Self::Token(token),
        })
    }
}
