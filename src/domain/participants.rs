//! Who takes part in a group: leaving it, and being removed from it.

use super::conversations::UNKNOWN;
use super::error::{Error, Result};
use super::system::{self, SystemEvent};
use super::{App, Viewer};
use crate::ids::{ConversationId, UserId};
use crate::log::{Change, Transaction};
use crate::store::conversations::{self, Conversation, ConversationKind};
use crate::store::messages::SystemEventKind;
use crate::store::participants::{self, ParticipantRole};

pub struct Participants<'a> {
    pub(super) app: &'a App,
}

impl Participants<'_> {
    /// An owner who leaves hands over to the longest-standing admin, else to the longest-standing member.
    pub async fn leave(&self, viewer: Viewer, conversation: ConversationId) -> Result<()> {
        let mut tx = self.app.log().begin().await?;
        let done = self.remove_in(&mut tx, viewer.user, conversation, viewer.user).await;
        tx.finish(done).await.map(drop)
    }

    /// Fails where the viewer may not remove that participant; `leave` is for the viewer.
    pub async fn remove(&self, viewer: Viewer, conversation: ConversationId, user: UserId) -> Result<Conversation> {
        if user == viewer.user {
            return Err(Error::invalid("userId", "To go yourself, leave the conversation."));
        }
        let mut tx = self.app.log().begin().await?;
        let done = self.remove_in(&mut tx, viewer.user, conversation, user).await;
        tx.finish(done).await
    }

    async fn remove_in(
        &self,
        tx: &mut Transaction<'_>,
        by: UserId,
        id: ConversationId,
        user: UserId,
    ) -> Result<Conversation> {
        let mut conversation = conversations::lock(tx.conn(), id).await?.ok_or(UNKNOWN)?;
        let rows = participants::of_users(tx.conn(), id, &[by, user]).await?;
        let role_of = |user| rows.iter().find(|row| row.user_id == user).map(|row| row.role);
        let actor = role_of(by).ok_or(UNKNOWN)?;
        if conversation.kind == ConversationKind::Direct {
            return Err(Error::invalid("conversationId", "A direct conversation keeps its two participants."));
        }
        let subject = role_of(user).ok_or(Error::NotFound("No such participant."))?;
        if by != user && !may_remove(actor, subject) {
            return Err(Error::Forbidden(
                "Only the owner, or an admin where it is a member, may remove a participant.",
            ));
        }
        participants::delete(tx.conn(), id, user).await?;
        conversation.participant_count -= 1;
        conversations::set_participant_count(tx.conn(), id, conversation.participant_count).await?;
        if subject == ParticipantRole::Owner {
            participants::promote_successor(tx.conn(), id).await?;
        }
        tx.record(Change::ConversationRemoved { user, conversation: id });
        tx.record(Change::ConversationUpdated { conversation: id });
        // Whoever is gone does not hear of it here, but by the event before.
        let kind = if by == user { SystemEventKind::ParticipantLeft } else { SystemEventKind::ParticipantRemoved };
        let event = SystemEvent { kind, actor: by, subject: (by != user).then_some(user), text: None };
        system::tell(self.app, tx, &mut conversation, event).await?;
        Ok(conversation)
    }
}

fn may_remove(actor: ParticipantRole, subject: ParticipantRole) -> bool {
    match actor {
        ParticipantRole::Owner => true,
        ParticipantRole::Admin => subject == ParticipantRole::Member,
        ParticipantRole::Member => false,
    }
}
