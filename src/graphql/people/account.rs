//! Accounts: registration, login, passwords and the profile.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use super::session::Session;
use super::viewer::Viewer;
use crate::domain::people::accounts::{ProfileChanges, Registration};
use crate::domain::people::code_checks::EnteredCode;
use crate::domain::people::sessions::{Device, SignedIn};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::scalars::{DateTime, parse_changed_id};

/// A signed-in session with its tokens: the result of the mutations `register`, `createGuest`, `login`,
/// `completeLogin`, `loginWithCode`, `loginWithPasskey`, `signInWithToken`, `resetPassword` and `refreshSession`.
#[derive(SimpleObject)]
pub struct AuthPayload {
    /// The signed-in account.
    viewer: Viewer,
    /// The session to which the tokens belong.
    session: Session,
    /// Whether the mutation has made a new account. After `loginWithCode`, `signInWithToken` and `createGuest` such an
    /// account has a username that its user has not chosen, which `updateProfile` can change.
    is_new_account: bool,
    /// Signed JWT that authenticates requests: `Authorization: Bearer …` over HTTP, `connectionParams` over WebSocket.
    access_token: String,
    /// When the access token expires: 15 minutes after it was made, by default.
    access_token_expires_at: DateTime,
    /// Token that `refreshSession` exchanges for a new pair of tokens.
    refresh_token: String,
    /// When the refresh token expires: 7 days after it was made, by default. The session ends at that time unless its
    /// tokens are refreshed before.
    refresh_token_expires_at: DateTime,
}

impl AuthPayload {
    pub(super) async fn new(ctx: &Context<'_>, signed_in: SignedIn) -> Result<Self> {
        Ok(Self {
            viewer: Viewer::load(ctx, signed_in.viewer).await?,
            session: Session { row: signed_in.session, is_current: true },
            is_new_account: signed_in.is_new_account,
            access_token: signed_in.access_token,
            access_token_expires_at: signed_in.viewer.expires_at.into(),
            refresh_token: signed_in.refresh_token,
            refresh_token_expires_at: signed_in.refresh_token_expires_at.into(),
        })
    }
}

/// Input of the `register` mutation.
#[derive(InputObject)]
pub struct RegisterInput {
    /// Unique public name of the account: 3 to 32 letters a to z, digits, dots or underscores. Upper case is converted
    /// to lower case.
    username: String,
    /// Password of the account, 8 to 128 characters. A password that is easy to guess is refused.
    password: String,
    /// E-mail address, at most 254 bytes. The address is unverified at first: see `Viewer.emailVerified`. Other
    /// accounts may have the same address.
    email: Option<String>,
    /// Phone number with its country code, such as +49 151 12345678. It is stored in the form of ITU-T E.164, such as
    /// +4915112345678. The number is unverified at first, like `email`.
    phone: Option<String>,
    /// Name that clients display, 1 to 64 characters. Defaults to the username.
    display_name: Option<String>,
    /// Name of the device for the list of sessions, 1 to 100 characters.
    device_name: Option<String>,
    /// Registration code from the operator of the server. Required if `ServerInfo.registration` is INVITE, otherwise
    /// ignored.
    invite: Option<String>,
}

/// Input of the `login` mutation.
#[derive(InputObject)]
pub struct LoginInput {
    /// A username, verified e-mail address or verified phone number.
    identifier: String,
    /// The password of the account.
    password: String,
    /// Name of the device for the list of sessions, 1 to 100 characters.
    device_name: Option<String>,
}

/// Input of the `refreshSession` mutation.
#[derive(InputObject)]
pub struct RefreshSessionInput {
    /// The newest refresh token of the session.
    refresh_token: String,
}

/// Input of the `changePassword` mutation.
#[derive(InputObject)]
pub struct ChangePasswordInput {
    /// The current password of the account. Null if the account has no password: see `Viewer.hasPassword`.
    current_password: Option<String>,
    /// New password of the account, 8 to 128 characters. A password that is easy to guess is refused.
    new_password: String,
}

/// Result of the `changePassword` mutation.
#[derive(SimpleObject)]
pub struct ChangePasswordPayload {
    /// The account with the new password.
    viewer: Viewer,
}

/// Input of the `deleteAccount` mutation.
#[derive(InputObject)]
pub struct DeleteAccountInput {
    /// The current password of the account. One of the password, `code` and `token` is required, because the person who
    /// uses a signed-in device might not be the owner of the account. A guest sends none of them. A user who has a
    /// passkey can call `confirmIdentity` before, and then sends none of them either.
    password: Option<String>,
    /// A code that `requestCode` sent with the purpose CONFIRM to a verified e-mail address or phone number of the
    /// viewer.
    code: Option<String>,
    /// The `challenge` of the request for this code. With it, attempts of other clients can neither use up the tries of
    /// the code nor delay this one. If omitted, the code is compared with the newest ones that are not expired. Ignored
    /// without `code`.
    challenge: Option<String>,
    /// A token of an identity of the viewer, or the sign-in code of a login in the browser with its verifier. The same
    /// rules apply as for `confirmIdentity`.
    token: Option<String>,
}

/// Result of the `deleteAccount` mutation.
#[derive(SimpleObject)]
pub struct DeleteAccountPayload {
    /// Id of the user who was deleted.
    user_id: ID,
}

/// Input of the `updateProfile` mutation. Omitted fields are unchanged.
#[derive(InputObject)]
pub struct UpdateProfileInput {
    /// Unique public name of the account: 3 to 32 letters a to z, digits, dots or underscores. Upper case is converted
    /// to lower case. Null is refused.
    username: MaybeUndefined<String>,
    /// Name that clients display, 1 to 64 characters. Null is refused.
    display_name: MaybeUndefined<String>,
    /// Text about the user, at most 500 characters. Null removes the text.
    about: MaybeUndefined<String>,
    /// E-mail address, at most 254 bytes. It is unverified at first: see `Viewer.emailVerified`. Other accounts may
    /// have the same address. A verified address can only be changed by `verifyContactPoint`. Null removes the address.
    email: MaybeUndefined<String>,
    /// Phone number with its country code, such as +49 151 12345678. The same rules apply as for `email`. Null removes
    /// the number.
    phone: MaybeUndefined<String>,
    /// Id of the new profile picture: a picture that the viewer uploaded and that is READY. Null removes the picture.
    avatar_id: MaybeUndefined<ID>,
}

/// Result of the `updateProfile` mutation.
#[derive(SimpleObject)]
pub struct UpdateProfilePayload {
    /// The account with its new profile.
    viewer: Viewer,
}

#[derive(Default)]
pub struct AccountMutation;

#[Object]
impl AccountMutation {
    /// Creates an account and signs it in. The response does not depend on whether another account has the same e-mail
    /// address or phone number. Errors: FORBIDDEN if `ServerInfo.registration` is CLOSED or EXTERNAL. BAD_USER_INPUT if
    /// a field breaks its rule, or if `invite` is required and missing, unknown, used up or expired. CONFLICT if the
    /// username is taken.
    async fn register(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new account.")] input: RegisterInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let device = device(ctx, input.device_name);
        let registration = Registration {
            username: input.username,
            password: input.password,
            email: input.email,
            phone: input.phone,
            invite: input.invite,
            display_name: input.display_name,
        };
        AuthPayload::new(ctx, ctx.app().accounts().register(registration, device, &ctx.client()).await?).await
    }

    /// Signs in with a password and opens a session. Errors: UNAUTHENTICATED if the account does not exist or the
    /// password is wrong. FACTOR_REQUIRED if the password is right and the account has a second factor: see
    /// `completeLogin`. BAD_USER_INPUT if `deviceName` breaks its rule. RATE_LIMITED after too many wrong passwords.
    async fn login(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The account and its password.")] input: LoginInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let device = device(ctx, input.device_name);
        let accounts = ctx.app().accounts();
        let signed_in = accounts.login(&input.identifier, input.password, device, &ctx.client()).await?;
        AuthPayload::new(ctx, signed_in).await
    }

    /// Exchanges a refresh token for a new pair of tokens. If the same token is sent again within 10 seconds, for
    /// example by a second browser tab, the mutation returns the same pair, or the session's newest pair if that pair
    /// was used meanwhile. If the token is sent again after 10 seconds, this counts as theft and ends the session.
    /// Errors: UNAUTHENTICATED if the token is unknown or expired or its session has ended.
    async fn refresh_session(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The refresh token to exchange.")] input: RefreshSessionInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let ip_address = ctx.caller().ip_address;
        AuthPayload::new(ctx, ctx.app().sessions().refresh(&input.refresh_token, ip_address).await?).await
    }

    /// Changes the password, ends all other sessions of the account, and sends a notice to its verified e-mail address
    /// and phone number. Errors: BAD_USER_INPUT if the current password is wrong or missing, or if the new password
    /// breaks its rule. FORBIDDEN with the reason CONFIRMATION_REQUIRED if the account has no password or has a second
    /// factor, and the identity is not confirmed. RATE_LIMITED after too many wrong passwords.
    async fn change_password(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The current and the new password.")] input: ChangePasswordInput,
    ) -> Result<ChangePasswordPayload> {
        let identity = ctx.viewer()?;
        let ChangePasswordInput { current_password, new_password } = input;
        let accounts = ctx.app().accounts();
        let row = accounts.change_password(identity, current_password, new_password, &ctx.client()).await?;
        Ok(ChangePasswordPayload { viewer: Viewer { identity, row } })
    }

    /// Deletes the account permanently and ends all of its sessions. The user leaves all conversations. The user's
    /// messages remain for the other participants, with a null `sender`. Errors: BAD_USER_INPUT if the password, the
    /// code or the token is wrong, or if all three are missing, unless the viewer is a guest or has a passkey.
    /// FORBIDDEN with the reason CONFIRMATION_REQUIRED if the identity is not confirmed, and either the account has a
    /// second factor, or it has a passkey and the input is empty. CONFLICT if the account was added to a conversation
    /// meanwhile: retry. RATE_LIMITED after too many wrong passwords, codes or tokens. UNAVAILABLE if the issuer of the
    /// token does not answer.
    async fn delete_account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The password, a code or a token, as a confirmation.")] input: DeleteAccountInput,
    ) -> Result<DeleteAccountPayload> {
        let viewer = ctx.viewer()?;
        let DeleteAccountInput { password, code, challenge, token } = input;
        let code = code.map(|code| EnteredCode { code, challenge });
        ctx.app().delete_account(viewer, password, code, token, &ctx.client()).await?;
        Ok(DeleteAccountPayload { user_id: viewer.user.to_string().into() })
    }

    /// Changes the viewer's profile. Removing a verified e-mail address or phone number sends a notice to all that were
    /// verified before. Errors: BAD_USER_INPUT if a field breaks its rule, if a verified e-mail address or phone number
    /// would be replaced, or if the viewer could no longer sign in. FORBIDDEN with the reason CONFIRMATION_REQUIRED if
    /// a verified one would be removed and the identity is not confirmed. CONFLICT if the username is taken.
    async fn update_profile(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The fields to change.")] input: UpdateProfileInput,
    ) -> Result<UpdateProfilePayload> {
        let identity = ctx.viewer()?;
        let row = ctx.app().accounts().update_profile(identity, input.try_into()?, &ctx.client()).await?;
        Ok(UpdateProfilePayload { viewer: Viewer { identity, row } })
    }
}

pub(super) fn device(ctx: &Context<'_>, name: Option<String>) -> Device {
    let caller = ctx.caller();
    Device { name, ip_address: caller.ip_address, language: caller.language.clone() }
}

impl TryFrom<UpdateProfileInput> for ProfileChanges {
    type Error = Error;

    fn try_from(input: UpdateProfileInput) -> Result<Self> {
        let required = |value: MaybeUndefined<String>, path| match value {
            MaybeUndefined::Undefined => Ok(None),
            MaybeUndefined::Value(text) => Ok(Some(text)),
            MaybeUndefined::Null => Err(Error::bad_input(path, "This field cannot be null.")),
        };
        let optional = |value: MaybeUndefined<String>| match value {
            MaybeUndefined::Undefined => None,
            MaybeUndefined::Null => Some(None),
            MaybeUndefined::Value(text) => Some(Some(text)),
        };
        Ok(Self {
            username: required(input.username, "username")?,
            display_name: required(input.display_name, "displayName")?,
            about: optional(input.about),
            email: optional(input.email),
            phone: optional(input.phone),
            avatar: parse_changed_id(input.avatar_id, "avatarId")?,
        })
    }
}
