//! The second factor of an account: an authenticator app and its recovery codes.

use async_graphql::{Context, InputObject, Object, OneofObject, SimpleObject};

use super::account::AuthPayload;
use super::viewer::Viewer;
use crate::domain::people::factors::FactorInput;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;

/// A second factor.
#[derive(OneofObject)]
pub enum SecondFactorInput {
    /// The newest code of the authenticator app, six digits.
    Totp(String),
    /// An unused recovery code, such as 7h3k-x2m9-qa4t-0vdw. Case, spaces and hyphens do not matter.
    RecoveryCode(String),
}

/// Input of the `completeLogin` mutation.
#[derive(InputObject)]
pub struct CompleteLoginInput {
    /// The value of `extensions.challenge` in the error FACTOR_REQUIRED.
    challenge: String,
    /// The second factor.
    factor: SecondFactorInput,
}

/// Result of the `setUpTotp` mutation.
#[derive(SimpleObject)]
pub struct SetUpTotpPayload {
    /// The secret in Base32, for users who type it into their app. It is shown only here.
    secret: String,
    /// The secret as an address for a QR code: `otpauth://totp/…`, with SHA-1, 6 digits and 30 seconds.
    uri: String,
}

/// Input of the `confirmTotp` mutation.
#[derive(InputObject)]
pub struct ConfirmTotpInput {
    /// The newest code of the authenticator app, six digits.
    code: String,
}

/// Result of the `confirmTotp` mutation.
#[derive(SimpleObject)]
pub struct ConfirmTotpPayload {
    /// The account with its second factor.
    viewer: Viewer,
    /// Ten recovery codes. Each of them works once instead of the app. They are shown only here.
    recovery_codes: Vec<String>,
}

/// Result of the `disableTotp` mutation.
#[derive(SimpleObject)]
pub struct DisableTotpPayload {
    /// The account without its second factor.
    viewer: Viewer,
}

/// Result of the `regenerateRecoveryCodes` mutation.
#[derive(SimpleObject)]
pub struct RegenerateRecoveryCodesPayload {
    /// The account.
    viewer: Viewer,
    /// Ten new recovery codes. They are shown only here.
    recovery_codes: Vec<String>,
}

#[derive(Default)]
pub struct SecondFactorMutation;

#[Object]
impl SecondFactorMutation {
    /// Completes a sign-in that failed with FACTOR_REQUIRED, and opens the session. After `resetPassword` it also sets
    /// the new password and ends all other sessions. A challenge is valid for 5 minutes, for 5 tries and for one
    /// session, and ends if the password changes. Each code of the app works once. Errors: BAD_USER_INPUT at `factor`
    /// if the factor is wrong or already used, and at `challenge` if the challenge is not valid. RATE_LIMITED after too
    /// many wrong passwords, codes or factors.
    async fn complete_login(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The challenge and the second factor.")] input: CompleteLoginInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let ip_address = ctx.caller().ip_address;
        let logins = ctx.app().factor_logins();
        let signed_in = logins.complete(&input.challenge, input.factor.into(), ip_address, &ctx.client()).await?;
        AuthPayload::new(ctx, signed_in).await
    }

    /// Makes a secret for an authenticator app. The app is not in use until `confirmTotp`. A second call replaces the
    /// secret of the first one. Errors: FORBIDDEN for a guest, and with the reason CONFIRMATION_REQUIRED if the identity
    /// is not confirmed. CONFLICT if the account has an authenticator app already.
    async fn set_up_totp(&self, ctx: &Context<'_>) -> Result<SetUpTotpPayload> {
        let setup = ctx.app().second_factors().set_up_totp(ctx.viewer()?).await?;
        Ok(SetUpTotpPayload { secret: setup.secret, uri: setup.uri })
    }

    /// Puts the authenticator app in use as the second factor of the account, and returns recovery codes. From then on,
    /// `login`, `loginWithCode`, `signInWithToken` and `resetPassword` also need a second factor. The server sends a
    /// notice to the verified e-mail address and phone number of the account. Errors: BAD_USER_INPUT if the code is
    /// wrong, or if `setUpTotp` was not called before. FORBIDDEN with the reason CONFIRMATION_REQUIRED if the identity
    /// is not confirmed. CONFLICT if the account has an authenticator app already.
    async fn confirm_totp(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A code of the app.")] input: ConfirmTotpInput,
    ) -> Result<ConfirmTotpPayload> {
        let identity = ctx.viewer()?;
        let recovery_codes = ctx.app().second_factors().confirm_totp(identity, &input.code, &ctx.client()).await?;
        Ok(ConfirmTotpPayload { viewer: Viewer::load(ctx, identity).await?, recovery_codes })
    }

    /// Removes the authenticator app and the recovery codes of the account. Passkeys stay. The server sends a notice to
    /// the verified e-mail address and phone number of the account. Errors: FORBIDDEN with the reason
    /// CONFIRMATION_REQUIRED if the identity is not confirmed by the second factor. CONFLICT if the account has no
    /// authenticator app.
    async fn disable_totp(&self, ctx: &Context<'_>) -> Result<DisableTotpPayload> {
        let identity = ctx.viewer()?;
        let row = ctx.app().second_factors().disable_totp(identity, &ctx.client()).await?;
        Ok(DisableTotpPayload { viewer: Viewer { identity, row } })
    }

    /// Replaces all recovery codes of the account by new ones. The server sends a notice to the verified e-mail address
    /// and phone number of the account. Errors: FORBIDDEN with the reason CONFIRMATION_REQUIRED if the identity is not
    /// confirmed. CONFLICT if the account has no authenticator app.
    async fn regenerate_recovery_codes(&self, ctx: &Context<'_>) -> Result<RegenerateRecoveryCodesPayload> {
        let identity = ctx.viewer()?;
        let recovery_codes = ctx.app().second_factors().regenerate_recovery_codes(identity, &ctx.client()).await?;
        Ok(RegenerateRecoveryCodesPayload { viewer: Viewer::load(ctx, identity).await?, recovery_codes })
    }
}

impl From<SecondFactorInput> for FactorInput {
    fn from(input: SecondFactorInput) -> Self {
        match input {
            SecondFactorInput::Totp(code) => Self::Totp(code),
            SecondFactorInput::RecoveryCode(code) => Self::RecoveryCode(code),
        }
    }
}
