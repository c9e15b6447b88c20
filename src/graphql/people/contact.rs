//! Contacts and contact requests.

use async_graphql::{Context, Enum, ID, InputObject, Object, SimpleObject};

use super::user::User;
use crate::domain::Error as Domain;
use crate::domain::people::contacts::RequestOutcome;
use crate::graphql::context::ContextExt as _;
use crate::graphql::error::Result;
use crate::graphql::scalars::{DateTime, parse_id};
use crate::ids::UserId;
use crate::store::people::contacts::{ContactRequest as Row, Direction as DirectionRow};

/// Which contact requests to list.
#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "DirectionRow")]
pub enum ContactRequestDirection {
    /// Requests of other users to the viewer.
    Incoming,
    /// Requests of the viewer to other users.
    Outgoing,
}

#[derive(Clone)]
pub struct ContactRequest(pub Row);

/// A user's request to become a contact of another user, which the other user has not answered yet. It is visible only
/// to these two users.
#[Object]
impl ContactRequest {
    /// Global id, with the prefix `crq_`.
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    /// The user who sent the request.
    async fn from(&self, ctx: &Context<'_>) -> Result<User> {
        existing_user(ctx, self.0.from_id).await
    }

    /// The user who can accept or decline the request.
    async fn to(&self, ctx: &Context<'_>) -> Result<User> {
        existing_user(ctx, self.0.to_id).await
    }

    /// When the request was sent.
    async fn created_at(&self) -> DateTime {
        self.0.created_at.into()
    }
}

/// Loads a user of a request. The user exists as long as the request exists.
async fn existing_user(ctx: &Context<'_>, user: UserId) -> Result<User> {
    let user = ctx.loaders().user(user).await?.map(User);
    user.ok_or_else(|| Domain::NotFound("This user no longer exists.").into())
}

/// Input of the `sendContactRequest` mutation.
#[derive(InputObject)]
pub struct SendContactRequestInput {
    /// Id of the user to ask.
    user_id: ID,
}

/// Result of the `sendContactRequest` mutation. Exactly one of its fields is set.
#[derive(SimpleObject)]
pub struct SendContactRequestPayload {
    /// The request, if it waits for an answer. Null if the user is a contact.
    request: Option<ContactRequest>,
    /// The user, if the user was a contact before or had sent a request to the viewer. Otherwise null.
    contact: Option<User>,
}

/// Input of the `acceptContactRequest` mutation.
#[derive(InputObject)]
pub struct AcceptContactRequestInput {
    /// Id of a request to the viewer.
    request_id: ID,
}

/// Result of the `acceptContactRequest` mutation.
#[derive(SimpleObject)]
pub struct AcceptContactRequestPayload {
    /// The new contact.
    contact: User,
}

/// Input of the `declineContactRequest` mutation.
#[derive(InputObject)]
pub struct DeclineContactRequestInput {
    /// Id of a request to the viewer.
    request_id: ID,
}

/// Result of the `declineContactRequest` mutation.
#[derive(SimpleObject)]
pub struct DeclineContactRequestPayload {
    /// Id of the deleted request.
    request_id: ID,
}

/// Input of the `removeContact` mutation.
#[derive(InputObject)]
pub struct RemoveContactInput {
    /// Id of the contact.
    user_id: ID,
}

/// Result of the `removeContact` mutation.
#[derive(SimpleObject)]
pub struct RemoveContactPayload {
    /// The user who is no longer a contact.
    user: User,
}

#[derive(Default)]
pub struct ContactMutation;

#[Object]
impl ContactMutation {
    /// Asks a user to become a contact. Asking again returns the existing request. If the user has already asked the
    /// viewer, the two users become contacts. Errors: NOT_FOUND if the user does not exist. FORBIDDEN if the viewer
    /// blocks the user. BAD_USER_INPUT for the viewer's own id.
    async fn send_contact_request(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The user to ask.")] input: SendContactRequestInput,
    ) -> Result<SendContactRequestPayload> {
        let viewer = ctx.viewer()?;
        Ok(match ctx.app().contacts().request(viewer, parse_id(&input.user_id, "userId")?).await? {
            RequestOutcome::Waiting(row) => {
                SendContactRequestPayload { request: Some(ContactRequest(row)), contact: None }
            }
            RequestOutcome::Contact(row) => SendContactRequestPayload { request: None, contact: Some(User(row)) },
        })
    }

    /// Accepts a contact request: the two users become contacts. Errors: NOT_FOUND if the request does not exist or is
    /// not visible to the viewer. FORBIDDEN if the viewer sent the request.
    async fn accept_contact_request(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The request to accept.")] input: AcceptContactRequestInput,
    ) -> Result<AcceptContactRequestPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().contacts().accept(viewer, parse_id(&input.request_id, "requestId")?).await?;
        Ok(AcceptContactRequestPayload { contact: User(row) })
    }

    /// Declines a contact request and deletes it. The sender of the request can ask again. Errors: NOT_FOUND if the
    /// request does not exist or is not visible to the viewer. FORBIDDEN if the viewer sent the request.
    async fn decline_contact_request(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The request to decline.")] input: DeclineContactRequestInput,
    ) -> Result<DeclineContactRequestPayload> {
        let viewer = ctx.viewer()?;
        ctx.app().contacts().decline(viewer, parse_id(&input.request_id, "requestId")?).await?;
        Ok(DeclineContactRequestPayload { request_id: input.request_id })
    }

    /// Removes a contact, for both users. If the two users are not contacts, nothing changes. Errors: NOT_FOUND if the
    /// user does not exist.
    async fn remove_contact(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The contact to remove.")] input: RemoveContactInput,
    ) -> Result<RemoveContactPayload> {
        let viewer = ctx.viewer()?;
        let row = ctx.app().contacts().remove(viewer, parse_id(&input.user_id, "userId")?).await?;
        Ok(RemoveContactPayload { user: User(row) })
    }
}
