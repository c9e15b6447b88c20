//! Passkeys: keys of devices, with which users sign in without a password.

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};

use super::account::{AuthPayload, device};
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::store::people::passkeys::Passkey as Row;

pub struct Passkey(pub Row);

/// A key of a device or of a password manager, with which the viewer signs in without a password.
#[Object]
impl Passkey {
    /// Id with the prefix `pky_`. `node` does not accept it.
    async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// Name that the viewer gave the passkey.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// When the passkey was added.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }

    /// When the viewer last signed in or confirmed the identity with the passkey. Null if it was never used.
    async fn last_used_at(&self) -> Option<DateTime> {
        self.0.last_used_at.map(Into::into)
    }

    /// Whether the passkey has a backup, such as in the cloud of the password manager. If false, the passkey is lost
    /// with its device.
    async fn backed_up(&self) -> bool {
        self.0.backed_up
    }
}

/// Result of the `passkeyCreationOptions` mutation.
#[derive(SimpleObject)]
pub struct PasskeyCreationOptionsPayload {
    /// JSON text of the options: `PublicKeyCredential.parseCreationOptionsFromJSON(JSON.parse(options))` converts it
    /// for `navigator.credentials.create`. The options are valid for 5 minutes and for one passkey.
    options: String,
}

/// Result of the `passkeyRequestOptions` mutation.
#[derive(SimpleObject)]
pub struct PasskeyRequestOptionsPayload {
    /// JSON text of the options: `PublicKeyCredential.parseRequestOptionsFromJSON(JSON.parse(options))` converts it for
    /// `navigator.credentials.get`. The options are valid for 5 minutes and for one use.
    options: String,
}

/// Input of the `addPasskey` mutation.
#[derive(InputObject)]
pub struct AddPasskeyInput {
    /// JSON text of the credential that `navigator.credentials.create` returned: `JSON.stringify(credential)`.
    credential: String,
    /// Name for the list of passkeys, 1 to 100 characters.
    name: String,
}

/// Result of the `addPasskey` mutation.
#[derive(SimpleObject)]
pub struct AddPasskeyPayload {
    /// The new passkey.
    passkey: Passkey,
}

/// Input of the `loginWithPasskey` mutation.
#[derive(InputObject)]
pub struct LoginWithPasskeyInput {
    /// JSON text of the credential that `navigator.credentials.get` returned: `JSON.stringify(credential)`.
    credential: String,
    /// Name of the device for the list of sessions, 1 to 100 characters.
    device_name: Option<String>,
}

/// Input of the `renamePasskey` mutation.
#[derive(InputObject)]
pub struct RenamePasskeyInput {
    /// Id of one of the viewer's passkeys.
    passkey_id: ID,
    /// New name, 1 to 100 characters.
    name: String,
}

/// Result of the `renamePasskey` mutation.
#[derive(SimpleObject)]
pub struct RenamePasskeyPayload {
    /// The passkey with its new name.
    passkey: Passkey,
}

/// Input of the `removePasskey` mutation.
#[derive(InputObject)]
pub struct RemovePasskeyInput {
    /// Id of one of the viewer's passkeys.
    passkey_id: ID,
}

/// Result of the `removePasskey` mutation.
#[derive(SimpleObject)]
pub struct RemovePasskeyPayload {
    /// Id of the passkey that was removed.
    passkey_id: ID,
}

#[derive(Default)]
pub struct PasskeyMutation;

#[Object]
impl PasskeyMutation {
    /// Makes the options for a new passkey. Errors: FORBIDDEN with the reason CONFIRMATION_REQUIRED if the identity is
    /// not confirmed. BAD_USER_INPUT if the account has 20 passkeys already. RATE_LIMITED after too many requests.
    async fn passkey_creation_options(&self, ctx: &Context<'_>) -> Result<PasskeyCreationOptionsPayload> {
        let options = ctx.app().passkeys().creation_options(ctx.viewer()?, &ctx.client()).await?;
        Ok(PasskeyCreationOptionsPayload { options })
    }

    /// Adds a passkey to the account. The server sends a notice to the verified e-mail address and phone number of the
    /// account. Errors: BAD_USER_INPUT at `credential` if the options are expired or already used, if the page or the
    /// passkey belongs to another domain, or if the authenticator has not verified its user. FORBIDDEN with the reason
    /// CONFIRMATION_REQUIRED if the identity is not confirmed. CONFLICT if the passkey is registered already.
    async fn add_passkey(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new passkey.")] input: AddPasskeyInput,
    ) -> Result<AddPasskeyPayload> {
        let passkeys = ctx.app().passkeys();
        let row = passkeys.add(ctx.viewer()?, &input.credential, &input.name, &ctx.client()).await?;
        Ok(AddPasskeyPayload { passkey: Passkey(row) })
    }

    /// Makes the options for signing in or confirming the identity with a passkey. Errors: RATE_LIMITED after too many
    /// requests.
    async fn passkey_request_options(&self, ctx: &Context<'_>) -> Result<PasskeyRequestOptionsPayload> {
        ctx.check_deadline()?;
        let options = ctx.app().passkeys().request_options(&ctx.client()).await?;
        Ok(PasskeyRequestOptionsPayload { options })
    }

    /// Signs in with a passkey and opens a session. A passkey counts as both factors, so no other one is needed.
    /// Errors: UNAUTHENTICATED if the passkey is unknown or its signature is wrong. BAD_USER_INPUT at `credential` if
    /// the options are expired or already used, if the page or the passkey belongs to another domain, or if the
    /// authenticator has not verified its user.
    async fn login_with_passkey(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The answer of the passkey.")] input: LoginWithPasskeyInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let device = device(ctx, input.device_name);
        AuthPayload::new(ctx, ctx.app().passkeys().login(&input.credential, device).await?).await
    }

    /// Renames one of the viewer's passkeys. Errors: NOT_FOUND if the viewer has no such passkey.
    async fn rename_passkey(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The passkey and its new name.")] input: RenamePasskeyInput,
    ) -> Result<RenamePasskeyPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.passkey_id, "passkeyId")?;
        let row = ctx.app().passkeys().rename(viewer, id, &input.name).await?;
        Ok(RenamePasskeyPayload { passkey: Passkey(row) })
    }

    /// Removes one of the viewer's passkeys. Sessions that were opened with it stay. The server sends a notice to the
    /// verified e-mail address and phone number of the account. Errors: NOT_FOUND if the viewer has no such passkey.
    /// BAD_USER_INPUT if the viewer could no longer sign in. FORBIDDEN with the reason CONFIRMATION_REQUIRED if the
    /// identity is not confirmed.
    async fn remove_passkey(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The passkey to remove.")] input: RemovePasskeyInput,
    ) -> Result<RemovePasskeyPayload> {
        let viewer = ctx.viewer()?;
        let id = parse_id(&input.passkey_id, "passkeyId")?;
        ctx.app().passkeys().remove(viewer, id, &ctx.client()).await?;
        Ok(RemovePasskeyPayload { passkey_id: input.passkey_id })
    }
}
