//! Guests: accounts without a password, which can become regular accounts.

use async_graphql::{Context, InputObject, Object, SimpleObject};

use super::account::{AuthPayload, device};
use super::viewer::Viewer;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;

/// Input of the `createGuest` mutation.
#[derive(InputObject)]
pub struct CreateGuestInput {
    /// Name that clients display, 1 to 64 characters. Defaults to the generated username.
    display_name: Option<String>,
    /// Name of the device for the list of sessions, 1 to 100 characters.
    device_name: Option<String>,
}

/// Input of the `upgradeGuest` mutation.
#[derive(InputObject)]
pub struct UpgradeGuestInput {
    /// Unique public name of the account: 3 to 32 letters a to z, digits, dots or underscores. Upper case is converted
    /// to lower case.
    username: String,
    /// Password of the account, 8 to 128 characters. A password that is easy to guess is refused.
    password: String,
}

/// Result of the `upgradeGuest` mutation.
#[derive(SimpleObject)]
pub struct UpgradeGuestPayload {
    /// The account, which is no longer a guest.
    viewer: Viewer,
}

#[derive(Default)]
pub struct GuestMutation;

#[Object]
impl GuestMutation {
    /// Makes an account without a password and with a generated username, and signs it in. The account ends with its
    /// session, unless it gets a password by `upgradeGuest` or `changePassword`, a verified e-mail address or phone
    /// number by `verifyContactPoint`, an identity by `linkIdentity`, or a passkey by `addPasskey`. Errors: FORBIDDEN
    /// if `ServerInfo.guests` is false. BAD_USER_INPUT if a field breaks its rule. RATE_LIMITED after too many
    /// registrations from the address of the client.
    async fn create_guest(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new guest.")] input: CreateGuestInput,
    ) -> Result<AuthPayload> {
        ctx.check_deadline()?;
        let device = device(ctx, input.device_name);
        AuthPayload::new(ctx, ctx.app().guests().create(input.display_name, device, &ctx.client()).await?).await
    }

    /// Turns the guest account of the viewer into a regular one with a username and a password. Its conversations and
    /// sessions stay. Errors: FORBIDDEN if the viewer is no guest. BAD_USER_INPUT if a field breaks its rule. CONFLICT
    /// if the username is taken.
    async fn upgrade_guest(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The new username and password.")] input: UpgradeGuestInput,
    ) -> Result<UpgradeGuestPayload> {
        let identity = ctx.viewer()?;
        let guests = ctx.app().guests();
        let row = guests.upgrade(identity, &input.username, &input.password, &ctx.client()).await?;
        Ok(UpgradeGuestPayload { viewer: Viewer { identity, row } })
    }
}
