//! Privacy settings of a user, which no other user sees.

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};

use super::viewer::Viewer;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::store::people::privacy::PrivacyChanges;
use crate::store::people::privacy_settings::{Audience as AudienceRow, Privacy as Row};

/// The users to whom a privacy setting gives a permission.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "AudienceRow")]
pub enum Audience {
    /// All users.
    Everyone,
    /// The contacts of the user.
    Contacts,
    /// No other user.
    Nobody,
}

/// Privacy settings of the viewer.
#[derive(SimpleObject)]
pub struct PrivacySettings {
    /// Users who can see whether the viewer is online, and when the viewer was last online. A block between two users
    /// takes precedence over this setting.
    last_seen: Audience,
    /// Whether read receipts are on. If off, other users do not see how far the viewer has read, and the viewer does
    /// not see how far other users have read, in fields or in events. Deliveries stay visible. When read receipts are
    /// turned on again, the current read positions become visible.
    read_receipts: bool,
    /// Users who can add the viewer to a group. A block between two users takes precedence over this setting.
    group_adds: Audience,
    /// Users who can find the viewer by a search for the exact verified e-mail address or phone number.
    discoverable_by_contact_point: Audience,
}

impl From<Row> for PrivacySettings {
    fn from(row: Row) -> Self {
        Self {
            last_seen: row.last_seen.into(),
            read_receipts: row.read_receipts,
            group_adds: row.group_adds.into(),
            discoverable_by_contact_point: row.discoverable_by_contact_point.into(),
        }
    }
}

/// Input of the `updatePrivacy` mutation. Omitted and null fields are unchanged.
#[derive(InputObject)]
pub struct UpdatePrivacyInput {
    /// Users who can see whether the viewer is online, and when the viewer was last online.
    last_seen: Option<Audience>,
    /// Whether read receipts are on. See `PrivacySettings.readReceipts`.
    read_receipts: Option<bool>,
    /// Users who can add the viewer to a group.
    group_adds: Option<Audience>,
    /// Users who can find the viewer by a search for the exact verified e-mail address or phone number.
    discoverable_by_contact_point: Option<Audience>,
}

impl From<UpdatePrivacyInput> for PrivacyChanges {
    fn from(input: UpdatePrivacyInput) -> Self {
        Self {
            last_seen: input.last_seen.map(Into::into),
            read_receipts: input.read_receipts,
            group_adds: input.group_adds.map(Into::into),
            discoverable_by_contact_point: input.discoverable_by_contact_point.map(Into::into),
        }
    }
}

/// Result of the `updatePrivacy` mutation.
#[derive(SimpleObject)]
pub struct UpdatePrivacyPayload {
    /// The account with its new settings.
    viewer: Viewer,
}

#[derive(Default)]
pub struct PrivacyMutation;

#[Object]
impl PrivacyMutation {
    /// Changes the viewer's privacy settings.
    async fn update_privacy(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The settings to change.")] input: UpdatePrivacyInput,
    ) -> Result<UpdatePrivacyPayload> {
        let identity = ctx.viewer()?;
        let row = ctx.app().privacy().update(identity, input.into()).await?;
        Ok(UpdatePrivacyPayload { viewer: Viewer { identity, row } })
    }
}
