//! Identities at issuers: signing in with a token, and the identities that are linked to an account.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::account::{AuthPayload, device};
use super::viewer::Viewer;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::store::people::identities::Identity as Row;

pub struct Identity {
    pub row: Row,
}

/// An identity at an issuer, such as an OpenID Connect provider, by which the viewer can sign in. `signInWithToken` and
/// `linkIdentity` link identities to an account.
#[Object]
impl Identity {
    /// Id with the prefix `idn_`. `node` does not accept it.
    pub async fn id(&self) -> ID {
        self.row.id.to_string().into()
    }

    /// URL of the issuer: the claim `iss` of its tokens.
    async fn issuer(&self) -> &str {
        &self.row.issuer
    }

    /// Name of the issuer, as in `ServerInfo.issuers`. Null if the server no longer accepts tokens of this issuer.
    async fn issuer_name(&self, ctx: &Context<'_>) -> Option<String> {
        ctx.app().browser_logins().name_of(&self.row.issuer).map(str::to_owned)
    }

    /// When the identity was linked to the account.
    async fn created_at(&self) -> DateTime {
        self.row.created_at.into()
    }

    /// When the viewer last signed in by the identity.
    async fn last_used_at(&self) -> DateTime {
        self.row.last_used_at.into()
    }
}

/// Input of the `signInWithToken` mutation.
#[derive(InputObject)]
pub struct SignInWithTokenInput {
    /// Either a token of one of `ServerInfo.issuers`, such as an OpenID Connect ID token, at most 8192 bytes, or the
    /// sign-in code of a login in the browser, which is in the fragment of the client's address, a dot, and the
    /// verifier of the login.
    token: String,
    /// Name of the device for the list of sessions, 1 to 100 characters.
    device_name: Option<String>,
}

/// Input of the `linkIdentity` mutation.
#[derive(InputObject)]
pub struct LinkIdentityInput {
    /// A token of one of `ServerInfo.issuers`, or the sign-in code of a login in the browser with its verifier, as in
    /// `signInWithToken`.
    token: String,
}

/// Result of the `linkIdentity` mutation.
#[derive(SimpleObject)]
pub struct LinkIdentityPayload {
    /// The account with the linked identity.
    viewer: Viewer,
}

/// Input of the `unlinkIdentity` mutation.
#[derive(InputObject)]
pub struct UnlinkIdentityInput {
    /// Id of one of the viewer's identities.
    identity_id: ID,
}

/// Result of the `unlinkIdentity` mutation.
#[derive(SimpleObject)]
pub struct UnlinkIdentityPayload {
    /// The account without the identity.
    viewer: Viewer,
}

#[derive(Default)]
pub struct IdentityMutation;

#[Object]
impl IdentityMutation {
    /// Signs in with a token of an issuer, or with the sign-in code of a login in the browser. The first sign-in makes
    /// an account without a password, as the operator's settings allow: see `AuthPayload.isNewAccount`. Its username
    /// comes from the token if that one is free. A token can be used until it expires, and a sign-in code once, within
    /// a minute. Errors: FACTOR_REQUIRED if the token is valid and the account has a second factor: see
    /// `completeLogin`. BAD_USER_INPUT if the token is invalid or expired. FORBIDDEN if a new account is needed and the
    /// server makes none, or if the identity would be linked to an account with a second factor or with 20 identities.
    /// UNAVAILABLE if the issuer does not answer. RATE_LIMITED after too many invalid tokens.
    async fn sign_in_with_token(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The token.")] input: SignInWithTokenInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let device = device(ctx, input.device_name);
        AuthPayload::new(ctx, ctx.app().issuer_logins().sign_in(&input.token, device, &ctx.client()).await?).await
    }

    /// Links an identity to the viewer's account, so that its tokens sign in to the account. At most 20 identities can
    /// be linked. The server sends a notice to the verified e-mail address and phone number of the account. Errors:
    /// BAD_USER_INPUT if the token is invalid or expired, or if the account has 20 identities already. FORBIDDEN with
    /// the reason CONFIRMATION_REQUIRED if the viewer's identity is not confirmed. CONFLICT if the identity is linked to
    /// another account. UNAVAILABLE if the issuer does not answer. RATE_LIMITED after too many invalid tokens.
    async fn link_identity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A token of the identity.")] input: LinkIdentityInput,
    ) -> Result<LinkIdentityPayload> {
        let identity = ctx.viewer()?;
        let row = ctx.app().identities().link(identity, &input.token, &ctx.client()).await?;
        Ok(LinkIdentityPayload { viewer: Viewer { identity, row } })
    }

    /// Removes an identity from the viewer's account. The server sends a notice to the verified e-mail address and
    /// phone number of the account. Errors: NOT_FOUND if the viewer has no such identity. BAD_USER_INPUT if the viewer
    /// could no longer sign in. FORBIDDEN with the reason CONFIRMATION_REQUIRED if the viewer's identity is not
    /// confirmed.
    async fn unlink_identity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The identity to remove.")] input: UnlinkIdentityInput,
    ) -> Result<UnlinkIdentityPayload> {
        let identity = ctx.viewer()?;
        let id = parse_id(&input.identity_id, "identityId")?;
        let row = ctx.app().identities().unlink(identity, id, &ctx.client()).await?;
        Ok(UnlinkIdentityPayload { viewer: Viewer { identity, row } })
    }
}
