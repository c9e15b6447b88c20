//! Accounts: registering, signing in, and the profile.

use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};

use super::session::Session;
use super::viewer::Viewer;
use crate::domain::people::accounts::{ProfileChanges, Registration};
use crate::domain::people::sessions::{Device, SignedIn};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::{Error, Result};
use crate::graphql::scalars::{DateTime, parse_changed_id};

#[derive(SimpleObject)]
pub struct AuthPayload {
    viewer: Viewer,
    session: Session,
    /// Signed JWT for `Authorization: Bearer …` and for `connectionParams`.
    access_token: String,
    access_token_expires_at: DateTime,
    refresh_token: String,
    refresh_token_expires_at: DateTime,
}

impl AuthPayload {
    async fn new(ctx: &Context<'_>, signed_in: SignedIn) -> Result<Self> {
        Ok(Self {
            viewer: Viewer::load(ctx, signed_in.viewer).await?,
            session: Session { row: signed_in.session, is_current: true },
            access_token: signed_in.access_token,
            access_token_expires_at: signed_in.viewer.expires_at.into(),
            refresh_token: signed_in.refresh_token,
            refresh_token_expires_at: signed_in.refresh_token_expires_at.into(),
        })
    }
}

#[derive(InputObject)]
pub struct RegisterInput {
    /// 3 to 32 letters a to z, digits, dots or underscores; upper case is taken as lower.
    username: String,
    /// 8 to 128 characters that are not easily guessed.
    password: String,
    /// Unverified at first: see `Viewer.emailVerified`. It is no error if another account has it.
    email: Option<String>,
    /// With its country code, such as +4915112345678. Unverified at first, like `email`.
    phone: Option<String>,
    /// The username where there is none.
    display_name: Option<String>,
    device_name: Option<String>,
    /// A code of the server's operator. Needed where `ServerInfo.registration` is INVITE, ignored elsewhere.
    invite: Option<String>,
}

#[derive(InputObject)]
pub struct LoginInput {
    /// A username, verified e-mail address or verified phone number.
    identifier: String,
    password: String,
    device_name: Option<String>,
}

#[derive(InputObject)]
pub struct RefreshSessionInput {
    refresh_token: String,
}

#[derive(InputObject)]
pub struct ChangePasswordInput {
    current_password: String,
    new_password: String,
}

#[derive(SimpleObject)]
pub struct ChangePasswordPayload {
    viewer: Viewer,
}

#[derive(InputObject)]
pub struct DeleteAccountInput {
    /// Without it nothing is deleted: whoever holds a device need not be its owner.
    password: Option<String>,
}

#[derive(SimpleObject)]
pub struct DeleteAccountPayload {
    user_id: ID,
}

/// What is left out stays; `null` empties what may be empty.
#[derive(InputObject)]
pub struct UpdateProfileInput {
    username: MaybeUndefined<String>,
    display_name: MaybeUndefined<String>,
    about: MaybeUndefined<String>,
    /// A changed address is unverified: see `Viewer.emailVerified`. It is no error if another account has it.
    email: MaybeUndefined<String>,
    /// The same rules as for `email`.
    phone: MaybeUndefined<String>,
    /// One of the viewer's own pictures, READY.
    avatar_id: MaybeUndefined<ID>,
}

#[derive(SimpleObject)]
pub struct UpdateProfilePayload {
    viewer: Viewer,
}

#[derive(Default)]
pub struct AccountMutation;

#[Object]
impl AccountMutation {
    /// Makes an account and signs it in. Where `ServerInfo.registration` is CLOSED, FORBIDDEN. Where it is INVITE, a
    /// code that is missing, unknown, spent or expired gets BAD_USER_INPUT at `invite`. CONFLICT where the username is
    /// taken. The answer does not depend on whether another account has the e-mail or phone.
    async fn register(&self, ctx: &Context<'_>, input: RegisterInput) -> Result<AuthPayload> {
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

    /// By username, verified e-mail or verified phone, with a password.
    async fn login(&self, ctx: &Context<'_>, input: LoginInput) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let device = device(ctx, input.device_name);
        let accounts = ctx.app().accounts();
        let signed_in = accounts.login(&input.identifier, input.password, device, &ctx.client()).await?;
        AuthPayload::new(ctx, signed_in).await
    }

    /// Spends the refresh token and returns a new pair. The same token again within 10 seconds, as from two tabs of a
    /// browser, returns the same pair, or the session's newest one if that was spent meanwhile. After that it ends the
    /// session. UNAUTHENTICATED where the session has ended.
    async fn refresh_session(&self, ctx: &Context<'_>, input: RefreshSessionInput) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let ip_address = ctx.caller().ip_address;
        AuthPayload::new(ctx, ctx.app().sessions().refresh(&input.refresh_token, ip_address).await?).await
    }

    /// Every other session of the account ends.
    async fn change_password(&self, ctx: &Context<'_>, input: ChangePasswordInput) -> Result<ChangePasswordPayload> {
        let identity = ctx.viewer()?;
        let ChangePasswordInput { current_password, new_password } = input;
        let accounts = ctx.app().accounts();
        let row = accounts.change_password(identity, current_password, new_password, &ctx.client()).await?;
        Ok(ChangePasswordPayload { viewer: Viewer { identity, row } })
    }

    /// For good. What the account wrote stays in its conversations, of which it leaves the groups; the sender of it is
    /// null from then on. Every session ends.
    async fn delete_account(&self, ctx: &Context<'_>, input: DeleteAccountInput) -> Result<DeleteAccountPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().delete_account(viewer, input.password.unwrap_or_default(), &ctx.client()).await?;
        Ok(DeleteAccountPayload { user_id: viewer.user.to_string().into() })
    }

    async fn update_profile(&self, ctx: &Context<'_>, input: UpdateProfileInput) -> Result<UpdateProfilePayload> {
        let identity = ctx.viewer()?;
        let row = ctx.app().accounts().update_profile(identity, input.try_into()?, &ctx.client().gone).await?;
        Ok(UpdateProfilePayload { viewer: Viewer { identity, row } })
    }
}

fn device(ctx: &Context<'_>, name: Option<String>) -> Device {
    Device { name, ip_address: ctx.caller().ip_address }
}

impl TryFrom<UpdateProfileInput> for ProfileChanges {
    type Error = Error;

    fn try_from(input: UpdateProfileInput) -> Result<Self> {
        let required = |value: MaybeUndefined<String>, path| match value {
            MaybeUndefined::Undefined => Ok(None),
            MaybeUndefined::Value(text) => Ok(Some(text)),
            MaybeUndefined::Null => Err(Error::bad_input(path, "This cannot be empty.")),
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
