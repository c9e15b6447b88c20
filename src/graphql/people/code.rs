//! Codes that the server sends by e-mail or SMS, and what they allow.

use async_graphql::{Context, Enum, InputObject, Object, OneofObject, SimpleObject};

use super::account::{AuthPayload, device};
use super::viewer::Viewer;
use crate::domain::people::code_checks::EnteredCode;
use crate::domain::people::code_logins::{CodeLogin, PasswordReset};
use crate::domain::people::code_slots::CodePurpose as Purpose;
use crate::domain::people::confirmations::Proof;
use crate::domain::people::contact_point::ContactPointInput;
use crate::domain::people::factors::FactorInput;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::DateTime;

/// An e-mail address or a phone number.
#[derive(OneofObject)]
pub enum ContactPoint {
    /// E-mail address, at most 254 bytes.
    Email(String),
    /// Phone number with its country code, such as +49 151 12345678.
    Phone(String),
}

/// The action that a code allows.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "Purpose")]
pub enum CodePurpose {
    /// Signs in without a password, and makes an account if none has the e-mail address or phone number:
    /// `loginWithCode`.
    Login,
    /// Proves that an e-mail address or phone number belongs to the viewer: `verifyContactPoint`.
    Verify,
    /// Sets a new password: `resetPassword`.
    ResetPassword,
    /// Confirms the identity of the viewer: `confirmIdentity` and `deleteAccount`.
    Confirm,
}

/// Input of the `requestCode` mutation.
#[derive(InputObject)]
pub struct RequestCodeInput {
    /// The e-mail address or phone number to which the server sends the code.
    contact_point: ContactPoint,
    /// The action that the code allows. VERIFY and CONFIRM need a signed-in user.
    purpose: CodePurpose,
}

/// Result of the `requestCode` mutation.
#[derive(SimpleObject)]
pub struct RequestCodePayload {
    /// Random text that names this code. Send it together with the code. Only the client of the request gets it, so
    /// other clients cannot use up the tries of the code.
    challenge: String,
    /// When the code expires: 10 minutes after the request.
    expires_at: DateTime,
}

/// Input of the `loginWithCode` mutation.
#[derive(InputObject)]
pub struct LoginWithCodeInput {
    /// The e-mail address or phone number to which the code was sent.
    contact_point: ContactPoint,
    /// The code, six digits.
    code: String,
    /// The `challenge` of the request for this code. With it, attempts of other clients can neither use up the tries of
    /// the code nor delay this one. If omitted, the code is compared with the newest one that is not expired.
    challenge: Option<String>,
    /// Name that clients display, 1 to 64 characters, if the mutation makes a new account. Otherwise ignored. Defaults
    /// to the generated username, which reveals nothing about the e-mail address or phone number.
    display_name: Option<String>,
    /// Name of the device for the list of sessions, 1 to 100 characters.
    device_name: Option<String>,
    /// Registration code from the operator of the server. Required for a new account if `ServerInfo.registration` is
    /// INVITE, otherwise ignored.
    invite: Option<String>,
}

/// Input of the `verifyContactPoint` mutation.
#[derive(InputObject)]
pub struct VerifyContactPointInput {
    /// The e-mail address or phone number to which the code was sent.
    contact_point: ContactPoint,
    /// The code, six digits.
    code: String,
    /// The `challenge` of the request for this code. With it, attempts of other clients can neither use up the tries of
    /// the code nor delay this one. If omitted, the code is compared with the newest one that is not expired.
    challenge: Option<String>,
}

/// Result of the `verifyContactPoint` mutation.
#[derive(SimpleObject)]
pub struct VerifyContactPointPayload {
    /// The account with the verified e-mail address or phone number.
    viewer: Viewer,
}

/// Input of the `resetPassword` mutation.
#[derive(InputObject)]
pub struct ResetPasswordInput {
    /// The verified e-mail address or phone number to which the code was sent.
    contact_point: ContactPoint,
    /// The code, six digits.
    code: String,
    /// The `challenge` of the request for this code. With it, attempts of other clients can neither use up the tries of
    /// the code nor delay this one. If omitted, the code is compared with the newest one that is not expired.
    challenge: Option<String>,
    /// New password of the account, 8 to 128 characters. A password that is easy to guess is refused.
    new_password: String,
    /// Name of the device for the list of sessions, 1 to 100 characters.
    device_name: Option<String>,
}

/// A code that confirms the identity of the viewer.
#[derive(InputObject)]
pub struct CodeConfirmationInput {
    /// The verified e-mail address or phone number to which the code was sent.
    contact_point: ContactPoint,
    /// The code, six digits.
    code: String,
    /// The `challenge` of the request for this code. With it, attempts of other clients can neither use up the tries of
    /// the code nor delay this one. If omitted, the code is compared with the newest one that is not expired.
    challenge: Option<String>,
}

/// Input of the `confirmIdentity` mutation: exactly one proof. An account with a second factor needs `totp`,
/// `recoveryCode` or `passkey`.
#[derive(OneofObject)]
pub enum ConfirmIdentityInput {
    /// The current password of the account.
    Password(String),
    /// A code that `requestCode` sent with the purpose CONFIRM.
    Code(CodeConfirmationInput),
    /// A token of an identity of the viewer, or the sign-in code of a login in the browser with its verifier, as in
    /// `signInWithToken`. The user must have signed in at the issuer in the last 10 minutes, by the claim `auth_time`
    /// of the token. Without `auth_time`, the token must have been issued in the last 10 minutes, by the claim `iat`.
    Token(String),
    /// The newest code of the authenticator app, six digits.
    Totp(String),
    /// An unused recovery code.
    RecoveryCode(String),
    /// JSON text of the credential with which a passkey of the viewer has answered the options of
    /// `passkeyRequestOptions`: `JSON.stringify(credential)`.
    Passkey(String),
}

/// Result of the `confirmIdentity` mutation.
#[derive(SimpleObject)]
pub struct ConfirmIdentityPayload {
    /// When the confirmation of this session expires: 10 minutes after the mutation.
    confirmed_until: DateTime,
}

#[derive(Default)]
pub struct CodeMutation;

#[Object]
impl CodeMutation {
    /// Sends a code of six digits by e-mail or SMS, in the language of the header `Accept-Language`. The code works
    /// once and for 10 minutes. It allows 5 tries with its challenge and 5 without. Up to 20 codes with the same
    /// purpose work at the same time. The response does not depend on whether an account has the e-mail address or
    /// phone number. No code is sent if it could not be used: RESET_PASSWORD needs an account that has verified the
    /// address or number, and so does LOGIN if registration is CLOSED or EXTERNAL. No code is sent either if too many
    /// e-mails or SMS wait or were sent. Errors: BAD_USER_INPUT if the server cannot send to the address or number, or
    /// if the purpose is CONFIRM and the viewer has not verified it. UNAUTHENTICATED if the purpose is VERIFY or
    /// CONFIRM and no user is signed in. RATE_LIMITED after too many requests.
    async fn request_code(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Where the code goes, and what it allows.")] input: RequestCodeInput,
    ) -> Result<RequestCodePayload> {
        ctx.check_deadline()?;
        let purpose = Purpose::from(input.purpose);
        let viewer = if purpose.needs_viewer() { Some(ctx.viewer()?) } else { None };
        let codes = ctx.app().codes();
        let requested = codes.request(viewer, input.contact_point.into(), purpose, &ctx.client()).await?;
        Ok(RequestCodePayload { challenge: requested.challenge, expires_at: requested.expires_at.into() })
    }

    /// Signs in with a code of the purpose LOGIN. If no account has verified the e-mail address or phone number, makes
    /// a new account without a password, as `ServerInfo.registration` allows: see `AuthPayload.isNewAccount`. An
    /// account that only claims it, unverified, is not signed in. Errors: FACTOR_REQUIRED if the code is right and the
    /// account has a second factor: see `completeLogin`. BAD_USER_INPUT if the code is wrong, expired or used, or if a
    /// new account needs a valid `invite`. FORBIDDEN if a new account is needed and registration is CLOSED or EXTERNAL.
    /// RATE_LIMITED after too many wrong codes.
    async fn login_with_code(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The code, and where it was sent.")] input: LoginWithCodeInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let device = device(ctx, input.device_name);
        let login = CodeLogin {
            contact_point: input.contact_point.into(),
            code: EnteredCode { code: input.code, challenge: input.challenge },
            display_name: input.display_name,
            invite: input.invite,
        };
        AuthPayload::new(ctx, ctx.app().code_logins().login(login, device, &ctx.client()).await?).await
    }

    /// Verifies an e-mail address or phone number by a code of the purpose VERIFY, and stores it as the viewer's. It
    /// replaces the former one. The server sends a notice to the e-mail address and phone number that were verified
    /// before. Errors: BAD_USER_INPUT if the code is wrong, expired or used. FORBIDDEN with the reason
    /// CONFIRMATION_REQUIRED if the identity is not confirmed. CONFLICT if another account has verified it.
    /// RATE_LIMITED after too many wrong codes.
    async fn verify_contact_point(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The code, and where it was sent.")] input: VerifyContactPointInput,
    ) -> Result<VerifyContactPointPayload> {
        let identity = ctx.viewer()?;
        let contact_points = ctx.app().contact_points();
        let code = EnteredCode { code: input.code, challenge: input.challenge };
        let row = contact_points.verify(identity, input.contact_point.into(), &code, &ctx.client()).await?;
        Ok(VerifyContactPointPayload { viewer: Viewer { identity, row } })
    }

    /// Sets a new password with a code of the purpose RESET_PASSWORD, ends all sessions of the account, and signs in.
    /// The server sends a notice to the verified e-mail address and phone number of the account. Errors:
    /// FACTOR_REQUIRED if the code is right and the account has a second factor: `completeLogin` then sets the
    /// password. BAD_USER_INPUT if the code is wrong, expired or used, or if the new password breaks its rule.
    /// RATE_LIMITED after too many wrong codes.
    async fn reset_password(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The code, where it was sent, and the new password.")] input: ResetPasswordInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let device = device(ctx, input.device_name);
        let reset = PasswordReset {
            contact_point: input.contact_point.into(),
            code: EnteredCode { code: input.code, challenge: input.challenge },
            new_password: input.new_password,
        };
        AuthPayload::new(ctx, ctx.app().code_logins().reset_password(reset, device, &ctx.client()).await?).await
    }

    /// Confirms that the person who uses this session is the owner of the account. For 10 minutes, the session can then
    /// make changes that otherwise fail with FORBIDDEN and the reason CONFIRMATION_REQUIRED. Signing in confirms the
    /// identity too. Errors: BAD_USER_INPUT if the proof is wrong, or if the account has a second factor and the proof
    /// is the password, a code or a token. RATE_LIMITED after too many wrong proofs. UNAVAILABLE if the proof is a
    /// token and its issuer does not answer.
    async fn confirm_identity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The proof of the identity.")] input: ConfirmIdentityInput,
    ) -> Result<ConfirmIdentityPayload> {
        let viewer = ctx.viewer()?;
        let confirmed_until = ctx.app().confirmations().confirm(viewer, input.into(), &ctx.client()).await?;
        Ok(ConfirmIdentityPayload { confirmed_until: confirmed_until.into() })
    }
}

impl From<ContactPoint> for ContactPointInput {
    fn from(contact_point: ContactPoint) -> Self {
        match contact_point {
            ContactPoint::Email(email) => Self::Email(email),
            ContactPoint::Phone(phone) => Self::Phone(phone),
        }
    }
}

impl From<ConfirmIdentityInput> for Proof {
    fn from(input: ConfirmIdentityInput) -> Self {
        match input {
            ConfirmIdentityInput::Password(password) => Self::Password(password),
            ConfirmIdentityInput::Code(CodeConfirmationInput { contact_point, code, challenge }) => {
                Self::Code(contact_point.into(), EnteredCode { code, challenge })
            }
            ConfirmIdentityInput::Token(token) => Self::Token(token),
            ConfirmIdentityInput::Totp(code) => Self::Factor(FactorInput::Totp(code)),
            ConfirmIdentityInput::RecoveryCode(code) => Self::Factor(FactorInput::RecoveryCode(code)),
            ConfirmIdentityInput::Passkey(credential) => Self::Passkey(credential),
        }
    }
}
