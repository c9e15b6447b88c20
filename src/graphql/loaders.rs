//! Loads what many objects of a response refer to in one statement for each kind.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use chrono::{DateTime, Utc};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::attachment::AvatarKey;
use super::batch::{Batches, NextTurn, NoDelay, Tasks};
use super::error::{Error, ErrorCode, Result};
use crate::domain::presence::Presence;
use crate::domain::{App, Error as Domain};
use crate::error::RETRY;
use crate::ids::{AttachmentId, ConversationId, MessageId, ParticipantId, UserId};
use crate::store::attachments::Attachment;
use crate::store::contacts::{self, Relation};
use crate::store::conversations::{self, Conversation};
use crate::store::mentions;
use crate::store::messages::{self, Message, Visibility};
use crate::store::participants::{self, Participant};
use crate::store::receipts::{self, Progress};
use crate::store::users::{self, User};

/// The loaders of a request, or of all the streams of a node. They keep nothing: each field shows the state at
/// the time it is resolved.
#[derive(Clone)]
pub struct Loaders {
    rows: Arc<DataLoader<Rows>>,
    patient: bool,
    /// When nothing more is loaded.
    deadline: Option<Instant>,
}

pub struct Rows {
    pub(super) app: App,
    /// Whether users are kept in mind: a stream may render one as of the tail's position, a request may not.
    keeps_users: bool,
    /// Of streams: those of the users that are kept. One that is READY never changes.
    avatars: Option<Arc<Cache<AttachmentId, Arc<Attachment>>>>,
}

/// Avatars that are kept, of some 500 bytes each.
const AVATARS: usize = 24_000;

/// A user's own state in a conversation, with the number of its newest message at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MembershipKey(pub UserId, pub ConversationId);

/// What a user has to do with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelationKey {
    pub viewer: UserId,
    pub other: UserId,
}

/// The message with this number, where the user may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberKey(pub UserId, pub ConversationId, pub i32);

/// A message, where the user may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisibleKey(pub UserId, pub MessageId);

/// How a message stands to a user; nothing where they take no part in its conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VisibilityKey(pub UserId, pub MessageId);

/// The users named in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MentionsKey(pub MessageId);

/// How far all participants of a conversation have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ProgressKey(pub ConversationId);

/// The participants of a conversation who hide what they have read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HidingKey(pub ConversationId);

/// A user's presence, as the viewer may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PresenceKey {
    pub viewer: UserId,
    pub user: UserId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParticipantPage {
    pub conversation: ConversationId,
    pub after: Option<(DateTime<Utc>, ParticipantId)>,
    pub limit: i64,
}

/// Of what the user may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessagePage {
    pub user: UserId,
    pub conversation: ConversationId,
    pub range: messages::Range,
}

impl Loaders {
    /// For one request, whose execution `batches` must drive.
    pub fn of_request(app: App, batches: Batches, deadline: Option<Instant>) -> Self {
        Self {
            rows: Arc::new(DataLoader::new(Rows { app, keeps_users: false, avatars: None }, batches, NoDelay)),
            patient: false,
            deadline,
        }
    }

    /// For every stream of a node: those that render the same event at the same moment load it together. They
    /// lose nothing because Postgres is away, but wait.
    pub fn of_streams(app: App) -> Self {
        Self {
            rows: Arc::new(DataLoader::new(
                Rows { app, keeps_users: true, avatars: Some(Arc::new(Cache::new(AVATARS))) },
                Tasks,
                NextTurn,
            )),
            patient: true,
            deadline: None,
        }
    }

    pub(super) async fn load<K>(&self, key: K) -> Result<Option<<Rows as Loader<K>>::Value>>
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        Rows: Loader<K, Error = Error>,
    {
        loop {
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Error::new(ErrorCode::OperationTooComplex, "The operation has taken too long."));
            }
            match self.rows.load_one(key.clone()).await {
                Err(error) if self.patient && error.code() == ErrorCode::Unavailable => {
                    tokio::time::sleep(RETRY).await;
                }
                loaded => return loaded,
            }
        }
    }

    /// The avatar that a user or a conversation has now, which the node may have in mind.
    pub(super) async fn avatar(&self, id: AttachmentId) -> Result<Option<Attachment>> {
        match self.rows.loader().kept_avatar(id) {
            Some(row) => Ok(Some(Attachment::clone(&row))),
            None => self.load(AvatarKey(id)).await,
        }
    }

    /// The user, whom the node may have in mind.
    pub(super) async fn user(&self, id: UserId) -> Result<Option<User>> {
        let rows = self.rows.loader();
        match rows.app.log().user(id).filter(|_| rows.keeps_users) {
            Some(user) => Ok(Some(User::clone(&user))),
            None => self.load(id).await,
        }
    }
}

impl Rows {
    /// The avatar with this id, where the node has it in mind.
    pub(super) fn kept_avatar(&self, id: AttachmentId) -> Option<Arc<Attachment>> {
        self.avatars.as_ref()?.get(&id)
    }

    pub(super) fn keep_avatars(&self, rows: &[Attachment]) {
        if let Some(kept) = &self.avatars {
            for row in rows {
                kept.insert(row.id, Arc::new(row.clone()));
            }
        }
    }
}

pub(super) fn failed(error: impl Into<crate::error::Error>) -> Error {
    Domain::from(error).into()
}

impl Loader<UserId> for Rows {
    type Value = User;
    type Error = Error;

    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, User>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let generation = self.app.log().generation();
        let rows = users::by_ids(&mut connection, keys).await.map_err(failed)?;
        if self.keeps_users {
            self.app.log().keep_users(generation, &rows);
        }
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<ConversationId> for Rows {
    type Value = Conversation;
    type Error = Error;

    async fn load(&self, keys: &[ConversationId]) -> Result<HashMap<ConversationId, Conversation>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = conversations::by_ids(&mut connection, keys).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<MessageId> for Rows {
    type Value = Message;
    type Error = Error;

    async fn load(&self, keys: &[MessageId]) -> Result<HashMap<MessageId, Message>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = messages::by_ids(&mut connection, keys).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<NumberKey> for Rows {
    type Value = Message;
    type Error = Error;

    async fn load(&self, keys: &[NumberKey]) -> Result<HashMap<NumberKey, Message>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let mut loaded = HashMap::with_capacity(keys.len());
        for (user, wanted) in grouped(keys.iter().map(|&NumberKey(user, id, number)| (user, (id, number)))) {
            let rows = messages::by_numbers(&mut connection, user, &wanted).await.map_err(failed)?;
            loaded.extend(rows.into_iter().map(|row| (NumberKey(user, row.conversation_id, row.number), row)));
        }
        Ok(loaded)
    }
}

impl Loader<VisibleKey> for Rows {
    type Value = Message;
    type Error = Error;

    async fn load(&self, keys: &[VisibleKey]) -> Result<HashMap<VisibleKey, Message>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let mut loaded = HashMap::with_capacity(keys.len());
        for (user, ids) in grouped(keys.iter().map(|&VisibleKey(user, id)| (user, id))) {
            let rows = messages::visible_to(&mut connection, user, &ids).await.map_err(failed)?;
            loaded.extend(rows.into_iter().map(|row| (VisibleKey(user, row.id), row)));
        }
        Ok(loaded)
    }
}

impl Loader<VisibilityKey> for Rows {
    type Value = Visibility;
    type Error = Error;

    async fn load(&self, keys: &[VisibilityKey]) -> Result<HashMap<VisibilityKey, Visibility>> {
        let pairs: Vec<_> = keys.iter().map(|&VisibilityKey(user, id)| (user, id)).collect();
        let connection = self.app.connection().await.map_err(failed)?;
        let rows = messages::visibilities(&connection, &pairs).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| (VisibilityKey(row.user_id, row.message_id), row)).collect())
    }
}

impl Loader<MembershipKey> for Rows {
    type Value = (Participant, i32);
    type Error = Error;

    async fn load(&self, keys: &[MembershipKey]) -> Result<HashMap<MembershipKey, Self::Value>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let mut loaded = HashMap::with_capacity(keys.len());
        for (user, conversations) in grouped(keys.iter().map(|&MembershipKey(user, id)| (user, id))) {
            let rows = participants::of_user(&mut connection, user, &conversations).await.map_err(failed)?;
            let key = |row: &Participant| MembershipKey(row.user_id, row.conversation_id);
            loaded.extend(rows.into_iter().map(|(row, newest)| (key(&row), (row, newest))));
        }
        Ok(loaded)
    }
}

impl Loader<PresenceKey> for Rows {
    type Value = Presence;
    type Error = Error;

    async fn load(&self, keys: &[PresenceKey]) -> Result<HashMap<PresenceKey, Presence>> {
        let mut loaded = HashMap::with_capacity(keys.len());
        for (viewer, users) in grouped(keys.iter().map(|key| (key.viewer, key.user))) {
            let presences = self.app.presences().of(viewer, &users).await?;
            loaded.extend(presences.into_iter().map(|(user, presence)| (PresenceKey { viewer, user }, presence)));
        }
        Ok(loaded)
    }
}

impl Loader<RelationKey> for Rows {
    type Value = Relation;
    type Error = Error;

    async fn load(&self, keys: &[RelationKey]) -> Result<HashMap<RelationKey, Relation>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let mut loaded = HashMap::with_capacity(keys.len());
        for (viewer, others) in grouped(keys.iter().map(|key| (key.viewer, key.other))) {
            let rows = contacts::relations(&mut connection, viewer, &others).await.map_err(failed)?;
            loaded.extend(rows.into_iter().map(|(other, relation)| (RelationKey { viewer, other }, relation)));
        }
        Ok(loaded)
    }
}

impl Loader<MentionsKey> for Rows {
    type Value = Vec<User>;
    type Error = Error;

    async fn load(&self, keys: &[MentionsKey]) -> Result<HashMap<MentionsKey, Vec<User>>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = mentions::of_messages(&mut connection, &ids).await.map_err(failed)?;
        Ok(grouped(rows.into_iter().map(|(id, user)| (MentionsKey(id), user))))
    }
}

impl Loader<ProgressKey> for Rows {
    type Value = Progress;
    type Error = Error;

    async fn load(&self, keys: &[ProgressKey]) -> Result<HashMap<ProgressKey, Progress>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = receipts::progress(&mut connection, &ids).await.map_err(failed)?;
        Ok(rows.into_iter().map(|(id, progress)| (ProgressKey(id), progress)).collect())
    }
}

impl Loader<HidingKey> for Rows {
    type Value = Vec<UserId>;
    type Error = Error;

    async fn load(&self, keys: &[HidingKey]) -> Result<HashMap<HidingKey, Vec<UserId>>> {
        let ids: Vec<_> = keys.iter().map(|key| key.0).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = receipts::hiding(&mut connection, &ids).await.map_err(failed)?;
        Ok(grouped(rows.into_iter().map(|(id, user)| (HidingKey(id), user))))
    }
}

impl Loader<ParticipantPage> for Rows {
    type Value = Vec<Participant>;
    type Error = Error;

    async fn load(&self, keys: &[ParticipantPage]) -> Result<HashMap<ParticipantPage, Vec<Participant>>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let mut loaded: HashMap<_, Vec<_>> = keys.iter().map(|&key| (key, Vec::new())).collect();
        for ((after, limit), conversations) in
            grouped(keys.iter().map(|key| ((key.after, key.limit), key.conversation)))
        {
            let rows = participants::pages(&mut connection, &conversations, after, limit).await.map_err(failed)?;
            for row in rows {
                let key = ParticipantPage { conversation: row.conversation_id, after, limit };
                loaded.entry(key).or_default().push(row);
            }
        }
        Ok(loaded)
    }
}

impl Loader<MessagePage> for Rows {
    type Value = Vec<Message>;
    type Error = Error;

    async fn load(&self, keys: &[MessagePage]) -> Result<HashMap<MessagePage, Vec<Message>>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let mut loaded: HashMap<_, Vec<_>> = keys.iter().map(|&key| (key, Vec::new())).collect();
        for ((user, range), conversations) in grouped(keys.iter().map(|key| ((key.user, key.range), key.conversation)))
        {
            let rows = messages::pages(&mut connection, user, &conversations, range).await.map_err(failed)?;
            for row in rows {
                loaded.entry(MessagePage { user, conversation: row.conversation_id, range }).or_default().push(row);
            }
        }
        Ok(loaded)
    }
}

/// The values under each key: one statement is needed for each, and a response mostly has one.
pub(super) fn grouped<K: Eq + Hash, V>(pairs: impl Iterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}
