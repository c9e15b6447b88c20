//! Contacts and the requests that lead to them.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::user::User;
use crate::domain::Error as Domain;
use crate::domain::people::contacts::Asked;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::UserId;
use crate::store::people::contacts::{ContactRequest as Row, Direction as DirectionRow};

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "DirectionRow")]
pub enum ContactRequestDirection {
    Incoming,
    Outgoing,
}

/// One user asks another to be a contact. Only the two see it.
#[derive(Clone)]
pub struct ContactRequest(pub Row);

#[Object]
impl ContactRequest {
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn from(&self, ctx: &Context<'_>) -> Result<User> {
        there(ctx, self.0.from_id).await
    }

    async fn to(&self, ctx: &Context<'_>) -> Result<User> {
        there(ctx, self.0.to_id).await
    }

    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
}

/// There for certain, as long as the request is.
async fn there(ctx: &Context<'_>, user: UserId) -> Result<User> {
    ctx.loaders().user(user).await?.map(User).ok_or_else(|| Domain::NotFound("It is gone.").into())
}

#[derive(InputObject)]
pub struct SendContactRequestInput {
    user_id: ID,
}

/// `contact` when the other side had already asked: both are contacts at once.
#[derive(SimpleObject)]
pub struct SendContactRequestPayload {
    request: Option<ContactRequest>,
    contact: Option<User>,
}

#[derive(InputObject)]
pub struct AcceptContactRequestInput {
    request_id: ID,
}

#[derive(SimpleObject)]
pub struct AcceptContactRequestPayload {
    contact: User,
}

#[derive(InputObject)]
pub struct DeclineContactRequestInput {
    request_id: ID,
}

#[derive(SimpleObject)]
pub struct DeclineContactRequestPayload {
    request_id: ID,
}

#[derive(InputObject)]
pub struct RemoveContactInput {
    user_id: ID,
}

#[derive(SimpleObject)]
pub struct RemoveContactPayload {
    user: User,
}

#[derive(Default)]
pub struct ContactMutation;

#[Object]
impl ContactMutation {
    /// Asking again returns the same request; a contact is returned as such.
    async fn send_contact_request(
        &self,
        ctx: &Context<'_>,
        input: SendContactRequestInput,
    ) -> Result<SendContactRequestPayload> {
        let viewer = ctx.viewer()?;
        Ok(match ctx.app().contacts().ask(viewer, parse_id(&input.user_id, "userId")?).await? {
            Asked::Waiting(row) => SendContactRequestPayload { request: Some(ContactRequest(row)), contact: None },
            Asked::Contact(row) => SendContactRequestPayload { request: None, contact: Some(User(row)) },
        })
    }

    async fn accept_contact_request(
        &self,
        ctx: &Context<'_>,
        input: AcceptContactRequestInput,
    ) -> Result<AcceptContactRequestPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().contacts().accept(viewer, parse_id(&input.request_id, "requestId")?).await?;
        Ok(AcceptContactRequestPayload { contact: User(row) })
    }

    /// The asker finds it gone, and may ask again.
    async fn decline_contact_request(
        &self,
        ctx: &Context<'_>,
        input: DeclineContactRequestInput,
    ) -> Result<DeclineContactRequestPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().contacts().decline(viewer, parse_id(&input.request_id, "requestId")?).await?;
        Ok(DeclineContactRequestPayload { request_id: input.request_id })
    }

    /// From both sides. No error where they are no contacts.
    async fn remove_contact(&self, ctx: &Context<'_>, input: RemoveContactInput) -> Result<RemoveContactPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().contacts().remove(viewer, parse_id(&input.user_id, "userId")?).await?;
        Ok(RemoveContactPayload { user: User(row) })
    }
}
