//! Conversations: creating, changing, listing and finding them.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::core::ConversationsCore;
use super::groups::Group;
use crate::domain::error::{BLOCKING, Error, NO_CONVERSATION, NO_USER, Result, Violation};
use crate::domain::files::avatars;
use crate::domain::messaging::system::{self, SystemEvent};
use crate::domain::people::privacy;
use crate::domain::people::users::check_existing;
use crate::domain::permissions::Action;
use crate::domain::validate::Check;
use crate::domain::viewer::{Reader, Viewer};
use crate::fair::Gone;
use crate::ids::{AttachmentId, ConversationId, ParticipantId, UserId};
use crate::limiter::Rate;
use crate::log::{Change, Transaction};
use crate::store::conversations::conversations::{self, Conversation, ConversationKind, Filter};
use crate::store::conversations::participants::{self, Participant, ParticipantRole};
use crate::store::locks;
use crate::store::messaging::messages::SystemEventKind;
use crate::store::people::{blocks, users};
use crate::text;

/// Error for a viewer who was a participant, but has left or was removed.
pub(super) const NO_LONGER_PARTICIPANT: Error =
    Error::NotFound("You are no longer a participant of this conversation.");

pub struct Conversations<'a> {
    pub(in crate::domain) core: &'a Arc<ConversationsCore>,
}

#[derive(Debug)]
pub struct NewGroup {
    pub title: String,
    pub topic: Option<String>,
    /// The other participants. Duplicates and the id of the creator are ignored.
    pub participants: Vec<UserId>,
    /// Whether users who join later see earlier messages.
    pub history_visible: bool,
    /// A picture that the creator has uploaded.
    pub avatar: Option<AttachmentId>,
}

/// Changes of a group. A field that is None stays unchanged.
#[derive(Debug, Default)]
pub struct GroupChanges {
    pub title: Option<String>,
    /// An empty text removes the topic.
    pub topic: Option<String>,
    /// Whether users who join after the change see earlier messages.
    pub history_visible: Option<bool>,
    /// A picture that the viewer has uploaded. `Some(None)` removes the avatar.
    pub avatar: Option<Option<AttachmentId>>,
}

impl Conversations<'_> {
    /// Returns the direct conversation of the viewer with the other user. Creates the conversation if it does not
    /// exist.
    pub async fn open_direct(&self, viewer: Viewer, other: UserId) -> Result<Conversation> {
        if other == viewer.user {
            return Err(Error::invalid("userId", "You cannot have a direct conversation with yourself."));
        }
        let (low, high) = (viewer.user.min(other), viewer.user.max(other));
        let mut connection = self.core.base.connection().await?;
        if let Some(conversation) = conversations::direct_of(&mut connection, low, high).await? {
            let opened_by_other = conversation.created_by != Some(viewer.user);
            if opened_by_other && participants::is_hidden(&mut connection, conversation.id, viewer.user).await? {
                drop(connection);
                let log = &self.core.base.log;
                log.transaction(async |tx| show(tx, viewer.user, conversation.id).await).await?;
            }
            return Ok(conversation);
        }
        if users::existing(&mut connection, &[other]).await?.is_empty() {
            return Err(NO_USER);
        }
        drop(connection);
        self.core.base.check_rate(Rate::DirectConversations, viewer, 1)?;
        let direct = Conversation {
            direct_low: Some(low),
            direct_high: Some(high),
            ..self.empty(ConversationKind::Direct, viewer.user)
        };
        let log = &self.core.base.log;
        match log.transaction(async |tx| self.insert_direct(tx, viewer.user, other, direct).await).await? {
            Some(conversation) => Ok(conversation),
            // A concurrent request has created the conversation.
            None => conversations::direct_of(&mut *self.core.base.connection().await?, low, high)
                .await?
                .ok_or(Error::Conflict(Violation::new("userId", "The conversation changed meanwhile. Try again."))),
        }
    }

    pub async fn create_group(&self, viewer: Viewer, group: NewGroup, gone: &Gone) -> Result<Conversation> {
        let mut check = Check::default();
        let title = check.title(&group.title);
        let topic = group.topic.map(|text| check.topic(&text)).filter(|text| !text.is_empty());
        let mut seen = HashSet::from([viewer.user]);
        let others: Vec<UserId> = group.participants.iter().copied().filter(|id| seen.insert(*id)).collect();
        let max = self.core.base.limits.max_group_size;
        if others.len() >= max {
            check.fail("participantIds", format!("A group has at most {max} participants."));
        }
        check.done()?;
        self.core.base.check_rate(Rate::Groups, viewer, 1)?;
        self.core.base.check_rate(Rate::Additions, viewer, others.len())?;
        let mut connection = self.core.base.connection().await?;
        check_existing(&mut connection, &group.participants, "participantIds").await?;
        privacy::check_may_be_added(&mut connection, viewer.user, &others).await?;
        drop(connection);
        if let Some(avatar) = group.avatar {
            avatars::prepare(&self.core.files, viewer, avatar, gone).await?;
        }

        let conversation = Conversation {
            title: Some(title),
            topic,
            history_visible: group.history_visible,
            avatar_id: group.avatar,
            ..self.empty(ConversationKind::Group, viewer.user)
        };
        let mut members = vec![(viewer.user, ParticipantRole::Owner)];
        members.extend(others.into_iter().map(|user| (user, ParticipantRole::Member)));
        let log = &self.core.base.log;
        let inserted = log.transaction(async |tx| self.insert_group(tx, viewer, conversation, &members).await).await?;
        inserted.ok_or(NO_CONVERSATION)
    }

    async fn insert_group(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        conversation: Conversation,
        members: &[(UserId, ParticipantRole)],
    ) -> Result<Option<Conversation>> {
        if let Some(avatar) = conversation.avatar_id {
            avatars::lock(tx, viewer, avatar).await?;
        }
        let inserted = self.insert(tx, conversation, members).await?;
        if let Some(avatar) = inserted.as_ref().and_then(|group| group.avatar_id) {
            avatars::show_square(tx, avatar).await?;
        }
        Ok(inserted)
    }

    /// Changes a group. A field that already has the requested value stays unchanged. If all fields stay unchanged, no
    /// user gets an event.
    pub async fn update_group(
        &self,
        viewer: Viewer,
        id: ConversationId,
        mut changes: GroupChanges,
        gone: &Gone,
    ) -> Result<Conversation> {
        let mut check = Check::default();
        changes.title = changes.title.map(|text| check.title(&text));
        changes.topic = changes.topic.map(|text| check.topic(&text));
        check.done()?;
        self.core.base.check_rate(Rate::Changes, viewer, 1)?;
        let log = &self.core.base.log;
        if let Some(Some(avatar)) = changes.avatar {
            // The viewer's role is checked before the square thumbnails are made, because making them is costly.
            let before = log.transaction(async |tx| check_update(tx, viewer, id, &changes).await).await?;
            if before.conversation.avatar_id != Some(avatar) {
                avatars::prepare(&self.core.files, viewer, avatar, gone).await?;
            }
        }
        log.transaction(async |tx| self.apply_changes(tx, viewer, id, changes).await).await
    }

    async fn apply_changes(
        &self,
        tx: &mut Transaction<'_>,
        viewer: Viewer,
        id: ConversationId,
        changes: GroupChanges,
    ) -> Result<Conversation> {
        let mut group = check_update(tx, viewer, id, &changes).await?;
        let before = group.conversation.clone();
        let conversation = &mut group.conversation;
        conversation.title = changes.title.or(conversation.title.take());
        if let Some(topic) = changes.topic {
            conversation.topic = Some(topic).filter(|text| !text.is_empty());
        }
        conversation.history_visible = changes.history_visible.unwrap_or(conversation.history_visible);
        conversation.avatar_id = changes.avatar.unwrap_or(conversation.avatar_id);
        let renamed = conversation.title != before.title;
        let pictured = conversation.avatar_id != before.avatar_id;
        let same = conversation.topic == before.topic && conversation.history_visible == before.history_visible;
        if !renamed && !pictured && same {
            return Ok(before);
        }
        if let (Some(avatar), true) = (conversation.avatar_id, pictured) {
            avatars::lock(tx, viewer, avatar).await?;
        }
        conversations::update_settings(tx.conn(), conversation).await?;
        if let (Some(avatar), true) = (conversation.avatar_id, pictured) {
            avatars::show_square(tx, avatar).await?;
        }
        group.updated(tx);
        let system_event = |kind, text| SystemEvent { kind, actor: viewer.user, subject: None, text };
        if renamed {
            let event = system_event(SystemEventKind::TitleChanged, group.conversation.title.clone());
            system::add(&self.core.base, tx, &mut group.conversation, event).await?;
        }
        if pictured {
            let event = system_event(SystemEventKind::AvatarChanged, None);
            system::add(&self.core.base, tx, &mut group.conversation, event).await?;
        }
        Ok(group.conversation)
    }

    /// Lists the viewer's conversations, most recently active first, with the viewer's participant in each
    /// conversation.
    pub async fn list(
        &self,
        viewer: Viewer,
        mut filter: Filter,
        after: Option<(DateTime<Utc>, ConversationId)>,
        limit: i64,
    ) -> Result<Vec<(Conversation, Participant)>> {
        if let Some(text) = &mut filter.title_contains {
            let folded = text::fold(text);
            // A text of signs alone is in no folded title.
            if folded.is_empty() && !text.trim().is_empty() {
                return Ok(Vec::new());
            }
            *text = folded;
        }
        Ok(conversations::list(&mut *self.core.base.connection().await?, viewer.user, &filter, after, limit).await?)
    }

    /// Reads a conversation. Returns NOT_FOUND if the viewer is not a participant.
    pub async fn get(&self, viewer: Viewer, id: ConversationId) -> Result<Conversation> {
        self.find(viewer, id).await?.ok_or(NO_CONVERSATION)
    }

    /// Reads a conversation. None if the viewer is not a participant.
    pub async fn find(&self, viewer: Viewer, id: ConversationId) -> Result<Option<Conversation>> {
        Ok(self.find_many(viewer, &[id]).await?.pop())
    }

    /// Reads the conversations with these ids. Leaves out conversations in which the viewer is not a participant.
    pub async fn find_many(&self, viewer: Viewer, ids: &[ConversationId]) -> Result<Vec<Conversation>> {
        Ok(conversations::visible_to(&mut *self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Reads the conversations with these ids that the reader may see.
    pub async fn for_reader(&self, reader: Reader, ids: &[ConversationId]) -> Result<Vec<Conversation>> {
        let mut connection = self.core.base.connection().await?;
        Ok(match reader {
            Reader::User(user) => conversations::visible_to(&mut connection, user, ids).await?,
            Reader::Recipients => conversations::by_ids(&mut connection, ids).await?,
        })
    }

    /// Reads the participants with these ids. Leaves out participants of conversations in which the viewer is not a
    /// participant.
    pub async fn find_participants(&self, viewer: Viewer, ids: &[ParticipantId]) -> Result<Vec<Participant>> {
        Ok(participants::visible_to(&mut *self.core.base.connection().await?, viewer.user, ids).await?)
    }

    /// Counts the unread messages in the viewer's conversations that are neither muted nor archived.
    pub async fn unread_count(&self, viewer: Viewer) -> Result<i64> {
        let now = self.core.base.now();
        Ok(conversations::unread_count(&mut *self.core.base.connection().await?, viewer.user, now).await?)
    }

    fn empty(&self, kind: ConversationKind, creator: UserId) -> Conversation {
        let now = self.core.base.now();
        Conversation {
            id: ConversationId::new(now, &self.core.base.random),
            kind,
            title: None,
            topic: None,
            created_by: Some(creator),
            created_at: now,
            last_activity_at: now,
            last_message_id: None,
            last_message_number: 0,
            revision: 0,
            participant_count: 0,
            direct_low: None,
            direct_high: None,
            history_visible: true,
            avatar_id: None,
        }
    }

    /// Inserts a direct conversation. None if the two users already have one. If the other user blocks the opener, the
    /// conversation is hidden from the other user.
    async fn insert_direct(
        &self,
        tx: &mut Transaction<'_>,
        opener: UserId,
        other: UserId,
        direct: Conversation,
    ) -> Result<Option<Conversation>> {
        locks::wait_for_pair(tx.conn(), opener, other).await?;
        let blocks = blocks::between(tx.conn(), opener, other).await?;
        if blocks.own {
            return Err(BLOCKING);
        }
        let both = [(opener, ParticipantRole::Member), (other, ParticipantRole::Member)];
        if !blocks.reverse {
            return self.insert(tx, direct, &both).await;
        }
        let Some(conversation) = self.insert_rows(tx, direct, &both).await? else { return Ok(None) };
        participants::hide_from(tx.conn(), conversation.id, other).await?;
        tx.record(Change::ConversationAdded { user: opener, conversation: conversation.id });
        Ok(Some(conversation))
    }

    /// Inserts a conversation with its participants, and records an event for each participant. None if the
    /// conversation is a direct one that the two users already have.
    async fn insert(
        &self,
        tx: &mut Transaction<'_>,
        conversation: Conversation,
        members: &[(UserId, ParticipantRole)],
    ) -> Result<Option<Conversation>> {
        let inserted = self.insert_rows(tx, conversation, members).await?;
        if let Some(conversation) = &inserted {
            for &(user, _) in members {
                tx.record(Change::ConversationAdded { user, conversation: conversation.id });
            }
        }
        Ok(inserted)
    }

    async fn insert_rows(
        &self,
        tx: &mut Transaction<'_>,
        mut conversation: Conversation,
        members: &[(UserId, ParticipantRole)],
    ) -> Result<Option<Conversation>> {
        conversation.participant_count = i32::try_from(members.len()).unwrap_or(i32::MAX);
        if !conversations::insert(tx.conn(), &conversation).await? {
            return Ok(None);
        }
        let rows: Vec<_> = members
            .iter()
            .map(|&(user, role)| {
                let id = ParticipantId::new(conversation.created_at, &self.core.base.random);
                Participant::new(id, conversation.id, user, role, conversation.created_at)
            })
            .collect();
        participants::insert(tx.conn(), &rows).await?;
        Ok(Some(conversation))
    }
}

/// Locks the group and checks the viewer's permission. Returns FORBIDDEN if the viewer's role does not allow the
/// changes.
async fn check_update(
    tx: &mut Transaction<'_>,
    viewer: Viewer,
    id: ConversationId,
    changes: &GroupChanges,
) -> Result<Group> {
    let group = Group::lock(tx, viewer, id).await?;
    if changes.title.is_some() || changes.topic.is_some() || changes.avatar.is_some() {
        group.check(Action::Rename)?;
    }
    if changes.history_visible.is_some() {
        group.check(Action::SetHistory)?;
    }
    Ok(group)
}

/// Shows a conversation to a user from whom it was hidden. For the other participant, the conversation does not change.
pub(in crate::domain) async fn show(tx: &mut Transaction<'_>, user: UserId, id: ConversationId) -> Result<()> {
    conversations::lock(tx.conn(), id).await?.ok_or(NO_CONVERSATION)?;
    if participants::show(tx.conn(), id, user).await? {
        tx.record(Change::ConversationAdded { user, conversation: id });
    }
    Ok(())
}
