//! Version, limits and settings of the server, for clients.

use async_graphql::{Context, Enum, Object, SimpleObject};

use super::context::ContextExt as _;
use super::error::ErrorCode;
use super::page::MAX_PAGE_SIZE;
use crate::config::RegistrationMode as ModeSetting;

/// Which clients can create an account with the `register` and `loginWithCode` mutations.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "ModeSetting")]
pub enum RegistrationMode {
    /// All clients.
    Open,
    /// Clients with a code from the operator of the server, in the input field `invite`.
    Invite,
    /// No client: registration fails with FORBIDDEN.
    Closed,
    /// No client: registration fails with FORBIDDEN. `signInWithToken` makes an account at the first sign-in.
    External,
}

/// An issuer whose users may sign in, such as an OpenID Connect provider.
#[derive(SimpleObject)]
pub struct Issuer {
    /// Name of the issuer, which the operator has chosen: lower-case letters, digits and hyphens.
    name: String,
    /// Address that the client opens for a login in the browser. The client adds two query parameters: `redirect`, the
    /// address to which the login returns, and `challenge`, the SHA-256 of a random verifier in Base64 for URLs without
    /// padding. It may add `reauthenticate=true`, so that the user has to sign in at the issuer again. Without the
    /// setting PUBLIC_URL the address is a path on this server. Null if the issuer has no login in the browser.
    login_url: Option<String>,
}

pub struct ServerInfo;

/// Version, limits and settings of the server.
#[Object]
impl ServerInfo {
    /// Version of the server, such as 1.4.2.
    async fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// Maximum length of a message's body, in Unicode scalar values.
    async fn max_message_length(&self, ctx: &Context<'_>) -> i32 {
        saturating(ctx.app().limits().max_message_length)
    }

    /// Maximum number of participants of a group, including the owner.
    async fn max_group_size(&self, ctx: &Context<'_>) -> i32 {
        saturating(ctx.app().limits().max_group_size)
    }

    /// Maximum size of a file in bytes. The limits for pictures, videos and audio recordings can be lower.
    async fn max_upload_bytes(&self, ctx: &Context<'_>) -> i32 {
        i32::try_from(ctx.app().uploads().max_bytes()).unwrap_or(i32::MAX)
    }

    /// Maximum number of items on a page of a connection.
    async fn max_page_size(&self) -> i32 {
        MAX_PAGE_SIZE.into()
    }

    /// Which clients can create an account. A client can choose its registration form by this value.
    async fn registration(&self, ctx: &Context<'_>) -> RegistrationMode {
        ctx.app().registration().into()
    }

    /// Whether the server can send codes by e-mail. If false, `requestCode` refuses e-mail addresses.
    async fn codes_by_email(&self, ctx: &Context<'_>) -> bool {
        ctx.app().codes().are_sent_by_email()
    }

    /// Whether the server can send codes by SMS. If false, `requestCode` refuses phone numbers.
    async fn codes_by_phone(&self, ctx: &Context<'_>) -> bool {
        ctx.app().codes().are_sent_by_phone()
    }

    /// The issuers whose tokens `signInWithToken` accepts.
    async fn issuers(&self, ctx: &Context<'_>) -> Vec<Issuer> {
        let issuers = ctx.app().browser_logins().issuers();
        issuers.into_iter().map(|(name, login_url)| Issuer { name, login_url }).collect()
    }

    /// Whether `createGuest` makes accounts.
    async fn guests(&self, ctx: &Context<'_>) -> bool {
        ctx.app().guests().are_allowed()
    }

    /// Public key of the server for Web Push, in Base64 for URLs: the `applicationServerKey` of
    /// `PushManager.subscribe`, and the VAPID key of UnifiedPush. The key changes only if the operator replaces it. Null
    /// if the server sends no Web Push.
    async fn push_public_key(&self, ctx: &Context<'_>) -> Option<String> {
        Some(ctx.app().vapid_public_key())
    }

    /// All error codes. The field makes ErrorCode part of the schema, so that code generators include it.
    async fn error_codes(&self) -> &[ErrorCode] {
        &ErrorCode::ALL
    }
}

fn saturating(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[derive(Default)]
pub struct ServerInfoQuery;

#[Object]
impl ServerInfoQuery {
    /// Version, limits and settings of the server. This field needs no signed-in user.
    async fn server_info(&self) -> ServerInfo {
        ServerInfo
    }
}
