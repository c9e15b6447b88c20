//! Participants of conversations: adding, removing and leaving, and the roles in groups.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::core::ConversationsCore;
use super::groups::Group;
use crate::domain::calls::calls;
use crate::domain::error::{Error, Result};
use crate::domain::messaging::system::{self, SystemEvent};
use crate::domain::people::privacy;
use crate::domain::people::users::check_existing;
use crate::domain::permissions::Action;
use crate::domain::viewer::Viewer;
use crate::ids::{ConversationId, ParticipantId, UserId};
use crate::limiter::Rate;
use crate::log::{Change, Transaction};
use crate::store::conversations::conversations::{self, Conversation, ConversationKind};
use crate::store::conversations::participants::{self, Participant, ParticipantRole};
use crate::store::conversations::removed_participants;
use crate::store::messaging::messages::SystemEventKind;

/// Maximum number of users, added at once, for which each added user causes a SYSTEM message. For a larger number, a
/// single message states the number of added users.
const MAX_JOIN_MESSAGES: usize = 10;

pub struct Participants<'a> {
    pub(in crate::domain) core: &'a Arc<ConversationsCore>,
}

impl Participants<'_> {
    /// Reads the first `limit` participants of each conversation after a position in the order (joined_at, id).
    pub async fn pages(
        &self,
        conversations: &[ConversationId],
        after: Option<(DateTime<Utc>, ParticipantId)>,
        limit: i64,
    ) -> Result<Vec<Participant>> {
        let mut connection = self.core.base.connection().await?;
        Ok(participants::pages(&mut connection, conversations, after, limit).await?)
    }

    /// Adds users to a group. Existing participants stay unchanged. Bans of the added users are lifted.
    pub async fn add(&self, viewer: Viewer, conversation: ConversationId, users: &[UserId]) -> Result<Conversation> {
        let mut seen = HashSet::new();
        let wanted: Vec<UserId> = users.iter().copied().filter(|user| seen.insert(*user)).collect();
        if wanted.len() > self.core.base.limits.max_group_size {
            return Err(self.too_many());
        }
        self.core.base.check_rate(Rate::Additions, viewer, wanted.len())?;
        let log = &self.core.base.log;
        log.transaction(async |tx| self.add_missing(tx, viewer, conversation, users, wanted).await).await
    }

    /// Adds the users in `wanted` who are not participants yet. `requested` are the users as the client sent them,
    /// including duplicates, because the paths of errors refer to this list.
    async fn add_missing(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        id: ConversationId,
        requested: &[UserId],
        mut wanted: Vec<UserId>,
    ) -> Result<Conversation> {
        let mut group = Group::lock(tx, viewer, id).await?;
        group.check(Action::AddParticipant)?;
        check_existing(tx.conn(), requested, "userIds").await?;
        let present: HashSet<UserId> =
            participants::of_users(tx.conn(), id, &wanted).await?.into_iter().map(|row| row.user_id).collect();
        wanted.retain(|user| !present.contains(user));
        if wanted.is_empty() {
            return Ok(group.conversation);
        }
        if !group.has_space(&self.core.base, wanted.len()) {
            return Err(self.too_many());
        }
        privacy::check_may_be_added(tx.conn(), viewer.user, &wanted).await?;
        group.admit(&self.core.base, tx, &wanted).await?;
        let joined =
            |subject, text| SystemEvent { kind: SystemEventKind::ParticipantJoined, actor: viewer.user, subject, text };
        let events: Vec<_> = if wanted.len() <= MAX_JOIN_MESSAGES {
            wanted.iter().map(|&user| joined(Some(user), None)).collect()
        } else {
            vec![joined(None, Some(wanted.len().to_string()))]
        };
        system::add_all(&self.core.base, tx, &mut group.conversation, events).await?;
        Ok(group.conversation)
    }

    fn too_many(&self) -> Error {
        Error::invalid("userIds", format!("A group has at most {} participants.", self.core.base.limits.max_group_size))
    }

    /// Sets the role of a participant. If the new role is OWNER, the current owner becomes an admin.
    pub async fn set_role(
        &self,
        viewer: Viewer,
        id: ConversationId,
        user: UserId,
        role: ParticipantRole,
    ) -> Result<Conversation> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut group = Group::lock(tx, viewer, id).await?;
            let before = group.role_of(tx, user).await?;
            group.check(Action::SetRole)?;
            if before == role {
                return Ok(group.conversation);
            }
            if before == ParticipantRole::Owner {
                return Err(Error::invalid(
                    "role",
                    "A group needs an owner. Make another participant the owner instead.",
                ));
            }
            if role == ParticipantRole::Owner {
                // The current owner becomes an admin first, so that the group never has two owners.
                participants::set_role(tx.conn(), id, viewer.user, ParticipantRole::Admin).await?;
                tx.record(Change::MembershipUpdated { user: viewer.user, conversation: id });
            }
            participants::set_role(tx.conn(), id, user, role).await?;
            tx.record(Change::MembershipUpdated { user, conversation: id });
            group.updated(tx);
            system::add(&self.core.base, tx, &mut group.conversation, role_changed(viewer.user, user, role)).await?;
            Ok(group.conversation)
        })
        .await
    }

    /// Removes the viewer from a group. If the viewer is the owner, the longest-standing admin becomes the owner, or
    /// the longest-standing member if the group has no admin. If the viewer is the last participant, the group is
    /// deleted.
    pub async fn leave(&self, viewer: Viewer, id: ConversationId) -> Result<()> {
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut group = Group::lock(tx, viewer, id).await?;
            let role = group.role_of(tx, viewer.user).await?;
            self.remove_locked(tx, &mut group.conversation, viewer.user, viewer.user, role).await
        })
        .await
    }

    /// Removes another participant. Returns FORBIDDEN if the viewer's role does not allow the removal. Existing invites
    /// no longer work for the removed user. With `ban`, later invites do not work either.
    pub async fn remove(&self, viewer: Viewer, id: ConversationId, user: UserId, ban: bool) -> Result<Conversation> {
        if user == viewer.user {
            return Err(Error::invalid("userId", "You cannot remove yourself. Leave the conversation instead."));
        }
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        log.transaction(async |tx| {
            let mut group = Group::lock(tx, viewer, id).await?;
            let role = group.role_of(tx, user).await?;
            group.check(Action::remove(role))?;
            self.remove_locked(tx, &mut group.conversation, viewer.user, user, role).await?;
            removed_participants::insert(tx.conn(), id, user, self.core.base.now(), ban).await?;
            Ok(group.conversation)
        })
        .await
    }

    /// Removes the user from all conversations, because the user's account is deleted. A direct conversation stays for
    /// the other user.
    pub(in crate::domain) async fn leave_all(&self, tx: &mut Transaction<'_>, user: UserId) -> Result<()> {
        let ids: Vec<_> =
            participants::all_of_user(tx.conn(), user).await?.iter().map(|row| row.conversation_id).collect();
        let mut locked = conversations::lock_many(tx.conn(), &ids).await?;
        // The roles are read after the conversations are locked, so that they cannot change.
        let pairs: Vec<_> = ids.iter().map(|&id| (user, id)).collect();
        for row in participants::memberships(tx.conn(), &pairs).await? {
            let row = row.participant;
            if let Some(conversation) = locked.iter_mut().find(|conversation| conversation.id == row.conversation_id) {
                self.remove_locked(tx, conversation, user, user, row.role).await?;
            }
        }
        Ok(())
    }

    /// Removes a participant from a locked conversation. If the owner of a group is removed, another participant
    /// becomes the owner. If no participant is left, the conversation is deleted.
    async fn remove_locked(
        &self,
        tx: &mut Transaction<'_>,
        conversation: &mut Conversation,
        by: UserId,
        user: UserId,
        role: ParticipantRole,
    ) -> Result<()> {
        let id = conversation.id;
        if conversation.participant_count > 1 {
            calls::remove_user(&self.core.calls, tx, conversation, user).await?;
        }
        // The removed user does not get the events below, because those go to the remaining participants.
        tx.record(Change::ConversationRemoved { user, conversation: id });
        conversation.participant_count -= 1;
        if conversation.participant_count == 0 {
            return Ok(conversations::delete(tx.conn(), id).await?);
        }
        participants::delete(tx.conn(), id, user).await?;
        conversations::update_participation(tx.conn(), conversation).await?;
        tx.record(Change::ConversationUpdated { conversation: id });
        if conversation.kind == ConversationKind::Direct {
            return Ok(());
        }
        let kind = if by == user { SystemEventKind::ParticipantLeft } else { SystemEventKind::ParticipantRemoved };
        let mut events = vec![SystemEvent { kind, actor: by, subject: (by != user).then_some(user), text: None }];
        if role == ParticipantRole::Owner
            && let Some(successor) = participants::promote_successor(tx.conn(), id).await?
        {
            tx.record(Change::MembershipUpdated { user: successor, conversation: id });
            events.push(role_changed(by, successor, ParticipantRole::Owner));
        }
        system::add_all(&self.core.base, tx, conversation, events).await
    }
}

fn role_changed(actor: UserId, subject: UserId, role: ParticipantRole) -> SystemEvent {
    let text = Some(role.as_str().to_owned());
    SystemEvent { kind: SystemEventKind::RoleChanged, actor, subject: Some(subject), text }
}
