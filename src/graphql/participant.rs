//! Participants, as the others in a conversation see them, and as each sees itself.

use async_graphql::{Context, Enum, ID, Object};

use super::context::ContextExt as _;
use super::error::Result;
use super::loaders::NumberKey;
use super::message::Message;
use super::scalars::DateTime;
use super::user::User;
use crate::ids::MembershipId;
use crate::store::participants::{Participant as Row, ParticipantRole as RoleRow};

#[derive(Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "RoleRow")]
pub enum ParticipantRole {
    Owner,
    Admin,
    Member,
}

#[derive(Clone)]
pub struct Participant(pub Row);

#[Object]
impl Participant {
    pub async fn id(&self) -> ID {
        self.0.id.to_string().into()
    }

    async fn user(&self, ctx: &Context<'_>) -> Result<User> {
        ctx.loaders().load_existing(self.0.user_id).await.map(User)
    }

    async fn role(&self) -> ParticipantRole {
        self.0.role.into()
    }

    async fn joined_at(&self) -> DateTime {
        self.0.joined_at.into()
    }

    /// Highest message number delivered to this participant; 0 for none.
    async fn last_delivered_number(&self) -> i32 {
        self.0.last_delivered_number
    }

    /// Highest message number read by this participant; 0 for none.
    async fn last_read_number(&self) -> i32 {
        self.0.last_read_number
    }
}

/// A participant's own state in a conversation.
pub struct Membership {
    pub row: Row,
    /// The number of the conversation's newest message.
    pub last_message_number: i32,
}

#[Object]
impl Membership {
    async fn id(&self) -> ID {
        MembershipId(self.row.id.0).to_string().into()
    }

    async fn role(&self) -> ParticipantRole {
        self.row.role.into()
    }

    /// Messages of others after the last one read.
    async fn unread_count(&self) -> i32 {
        (self.last_message_number - self.row.last_read_number - self.row.own_unread).max(0)
    }

    async fn last_read_message(&self, ctx: &Context<'_>) -> Option<Result<Message>> {
        let key = NumberKey(self.row.conversation_id, self.row.last_read_number);
        ctx.loaders().load(key).await.map(|row| row.map(Message)).transpose()
    }

    async fn joined_at(&self) -> DateTime {
        self.row.joined_at.into()
    }
}
