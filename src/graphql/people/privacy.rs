//! Privacy settings, which only their owner sees.

use async_graphql::{Context, Enum, InputObject, Object, SimpleObject};

use super::viewer::Viewer;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::store::people::privacy::{Audience as AudienceRow, Privacy as Row, PrivacyChanges};

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "AudienceRow")]
pub enum Audience {
    Everyone,
    Contacts,
    Nobody,
}

#[derive(SimpleObject)]
pub struct PrivacySettings {
    last_seen: Audience,
    /// When off, others do not see how far the viewer has read, and the viewer does not see how far others have read, in
    /// fields or in events. Deliveries stay visible. When turned on again, the present positions are visible.
    read_receipts: bool,
    /// Who may add the viewer to a group without asking.
    group_adds: Audience,
    /// Who may find the viewer by exact e-mail or phone.
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

/// What is left out stays.
#[derive(InputObject)]
pub struct UpdatePrivacyInput {
    last_seen: Option<Audience>,
    read_receipts: Option<bool>,
    group_adds: Option<Audience>,
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

#[derive(SimpleObject)]
pub struct UpdatePrivacyPayload {
    viewer: Viewer,
}

#[derive(Default)]
pub struct PrivacyMutation;

#[Object]
impl PrivacyMutation {
    async fn update_privacy(&self, ctx: &Context<'_>, input: UpdatePrivacyInput) -> Result<UpdatePrivacyPayload> {
        let identity = ctx.viewer()?;
        let row = ctx.app().privacy().update(identity, input.into()).await?;
        Ok(UpdatePrivacyPayload { viewer: Viewer { identity, row } })
    }
}
