//! `Group`: a group that a transaction has locked to change it, with the viewer's role.

use crate::domain::base::Base;
use crate::domain::error::{Error, NO_CONVERSATION, Result};
use crate::domain::permissions::{self, Action};
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, ParticipantId, UserId};
use crate::log::{Change, Transaction};
use crate::store::Connection;
use crate::store::conversations::conversations::{self, Conversation, ConversationKind};
use crate::store::conversations::participants::{self, Participant, ParticipantRole};
use crate::store::conversations::removed_participants;

pub(super) struct Group {
    pub(super) conversation: Conversation,
    /// The viewer's role. None if the viewer is not a participant.
    pub(super) role: Option<ParticipantRole>,
}

impl Group {
    /// Locks the group. Returns NOT_FOUND if the viewer is not a participant, and BAD_USER_INPUT if the conversation is
    /// a direct one.
    pub(super) async fn lock(tx: &mut Transaction<'_>, viewer: Viewer, id: ConversationId) -> Result<Self> {
        let group = Self::lock_any(tx, viewer, id).await?;
        if group.role.is_none() {
            return Err(NO_CONVERSATION);
        }
        if group.conversation.kind == ConversationKind::Direct {
            return Err(Error::invalid("conversationId", "This is a direct conversation, not a group."));
        }
        Ok(group)
    }

    /// Locks the group for a viewer who need not be a participant, for example to join by an invite.
    pub(super) async fn lock_any(tx: &mut Transaction<'_>, viewer: Viewer, id: ConversationId) -> Result<Self> {
        let conversation = conversations::lock(tx.conn(), id).await?.ok_or(NO_CONVERSATION)?;
        let role = role_of(tx, id, viewer.user).await?;
        Ok(Self { conversation, role })
    }

    /// Checks the viewer's permission. Returns FORBIDDEN if the viewer's role does not allow the action.
    pub(super) fn check(&self, action: Action) -> Result<()> {
        permissions::check(self.conversation.kind, self.role.ok_or(NO_CONVERSATION)?, action)
    }

    /// Returns the role of a participant. Returns NOT_FOUND if the user is not a participant.
    pub(super) async fn role_of(&self, tx: &mut Transaction<'_>, user: UserId) -> Result<ParticipantRole> {
        role_of(tx, self.conversation.id, user)
            .await?
            .ok_or(Error::NotFound("No such participant. `conversation.participants` lists them."))
    }

    /// Adds users who are not participants yet. For the new participants, earlier messages count as read. If the group
    /// hides its history, earlier messages are hidden from them.
    pub(super) async fn admit(&mut self, base: &Base, tx: &mut Transaction<'_>, users: &[UserId]) -> Result<()> {
        let now = base.now();
        let conversation = &mut self.conversation;
        let last = conversation.last_message_number;
        let hidden_up_to = if conversation.history_visible { 0 } else { last };
        let rows: Vec<_> = users
            .iter()
            .map(|&user| Participant {
                last_delivered_number: last,
                last_read_number: last,
                hidden_up_to,
                ..Participant::new(
                    ParticipantId::new(now, &base.random),
                    conversation.id,
                    user,
                    ParticipantRole::Member,
                    now,
                )
            })
            .collect();
        participants::insert(tx.conn(), &rows).await?;
        // A user who joins or is added no longer counts as removed or banned.
        removed_participants::forget(tx.conn(), conversation.id, users).await?;
        conversation.participant_count =
            conversation.participant_count.saturating_add(i32::try_from(users.len()).unwrap_or(i32::MAX));
        conversations::update_participation(tx.conn(), conversation).await?;
        for &user in users {
            tx.record(Change::ConversationAdded { user, conversation: conversation.id });
        }
        self.updated(tx);
        Ok(())
    }

    /// Whether `more` users can join without exceeding the maximum size of a group.
    pub(super) fn has_space(&self, base: &Base, more: usize) -> bool {
        let count = usize::try_from(self.conversation.participant_count).unwrap_or_default();
        count.saturating_add(more) <= base.limits.max_group_size
    }

    /// Records an event for all participants: the group has changed.
    pub(super) fn updated(&self, tx: &mut Transaction<'_>) {
        tx.record(Change::ConversationUpdated { conversation: self.conversation.id });
    }
}

/// Returns the conversations in which the user's role allows the action. Applies the permissions of groups.
pub(super) async fn filter_permitted(
    conn: &mut Connection,
    user: UserId,
    conversations: &[ConversationId],
    action: Action,
) -> Result<Vec<ConversationId>> {
    let pairs: Vec<_> = conversations.iter().map(|&conversation| (user, conversation)).collect();
    let rows = participants::memberships(conn, &pairs).await?.into_iter().map(|row| row.participant);
    let allowed = rows.filter(|row| permissions::may(ConversationKind::Group, row.role, action));
    Ok(allowed.map(|row| row.conversation_id).collect())
}

async fn role_of(tx: &mut Transaction<'_>, id: ConversationId, user: UserId) -> Result<Option<ParticipantRole>> {
    Ok(participants::of_users(tx.conn(), id, &[user]).await?.pop().map(|row| row.role))
}
