//! Loaders: load the rows that the objects of a response refer to, with one statement for each kind of row.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use chrono::{DateTime, Utc};
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::batch::{Batches, NoDelay};
use super::error::{Error, ErrorCode, Result};
use crate::domain::people::presence::Presence;
use crate::domain::{App, Reader};
use crate::error::RETRY_DELAY;
use crate::ids::{AttachmentId, ConversationId, MessageId, ParticipantId, UserId};
use crate::store::conversations::conversations::Conversation;
use crate::store::conversations::participants::Participant;
use crate::store::files::attachments::Attachment;
use crate::store::messaging::messages::Message;
use crate::store::people::contacts::{Related, Relation};
use crate::store::people::users::User;

/// Key of an attachment that is an avatar; not in the result if the attachment is not READY. The viewer is not checked,
/// because an avatar is visible to all users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AvatarKey(pub AttachmentId);

/// Loaders of one request, or of the events that one task renders. A request caches no rows: each of its fields shows
/// the state at the time when the field is resolved.
#[derive(Clone)]
pub struct Loaders {
    rows: Arc<DataLoader<Rows>>,
    /// Whether these loaders serve streams. Loads then wait while Postgres is unavailable, and rows are read for the
    /// recipients of events.
    for_streams: bool,
    /// Time after which loads fail. None for streams, which have no deadline.
    deadline: Option<Instant>,
}

/// Makes loaders for streams. All of these loaders share the caches of the node, but no lock.
#[derive(Clone)]
pub struct StreamLoaders {
    app: App,
    avatars: Arc<Cache<AttachmentId, Arc<Attachment>>>,
}

pub struct Rows {
    pub(super) app: App,
    /// Whether users are read from the node's cache and added to it. A stream may show a user's row as
    /// it was at the tail's position, but a request must show the latest row.
    caches_users: bool,
    /// Cache of the avatars that streams show. None for requests. Entries stay valid, because a READY attachment never
    /// changes.
    avatars: Option<Arc<Cache<AttachmentId, Arc<Attachment>>>>,
}

/// Maximum number of cached avatars, of about 500 bytes each.
const AVATARS: usize = 24_000;

/// Key of a conversation; not in the result if the reader may not see the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConversationKey(pub Reader, pub ConversationId);

/// Key of the message of an event, with the event's conversation; not in the result if that conversation no longer has
/// the message. The log has checked the recipients of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventMessageKey(pub ConversationId, pub MessageId);

/// Key of a user's own state in a conversation and the number of the newest message at that moment; not in the result
/// if the user is not a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MembershipKey(pub UserId, pub ConversationId);

/// Key of the relation of the viewer to another user: contact, block. Always in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelationKey {
    pub viewer: UserId,
    pub other: UserId,
}

/// Key of a user's presence as the viewer may see it. Always in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PresenceKey {
    pub viewer: UserId,
    pub user: UserId,
}

/// Key of a page of a conversation's participants; in the result even if the page is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ParticipantPage {
    pub conversation: ConversationId,
    pub after: Option<(DateTime<Utc>, ParticipantId)>,
    pub limit: i64,
}

impl Loaders {
    /// Makes the loaders of one request. `batches` must drive the execution of the request.
    pub fn of_request(app: App, batches: Batches, deadline: Option<Instant>) -> Self {
        Self { rows: Arc::new(DataLoader::new(Rows::of_request(app), batches, NoDelay)), for_streams: false, deadline }
    }

    pub(super) async fn load<K>(&self, key: K) -> Result<Option<<Rows as Loader<K>>::Value>>
    where
        K: Send + Sync + Hash + Eq + Clone + 'static,
        Rows: Loader<K, Error = Error>,
    {
        loop {
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Error::new(
                    ErrorCode::OperationTooComplex,
                    "The operation took too long. Ask for less at once.",
                ));
            }
            match self.rows.load_one(key.clone()).await {
                Err(error) if self.for_streams && error.code() == ErrorCode::Unavailable => {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                loaded => return loaded,
            }
        }
    }

    pub(super) const fn are_for_streams(&self) -> bool {
        self.for_streams
    }

    /// Returns an avatar from the node's cache, or loads the avatar.
    pub(super) async fn avatar(&self, id: AttachmentId) -> Result<Option<Attachment>> {
        match self.rows.loader().cached_avatar(id) {
            Some(row) => Ok(Some(Attachment::clone(&row))),
            None => self.load(AvatarKey(id)).await,
        }
    }

    /// Returns a user from the node's cache, or loads the user. Requests do not use the cache.
    pub(super) async fn user(&self, id: UserId) -> Result<Option<User>> {
        let rows = self.rows.loader();
        match rows.app.row_cache().cached_user(id).filter(|_| rows.caches_users) {
            Some(user) => Ok(Some(User::clone(&user))),
            None => self.load(id).await,
        }
    }

    /// Returns the message of an event: from the node's cache if the message was published with a recent event,
    /// otherwise from Postgres.
    pub(super) async fn published_message(&self, key: EventMessageKey) -> Result<Option<Message>> {
        match self.rows.loader().app.row_cache().cached_message(key.1) {
            Some(message) => Ok(Some(Message::clone(&message))),
            None => self.load(key).await,
        }
    }
}

impl StreamLoaders {
    pub fn new(app: App) -> Self {
        Self { app, avatars: Arc::new(Cache::new(AVATARS)) }
    }

    /// Makes loaders for events that are rendered together, or for one stream. `batches` must drive the executions.
    /// While Postgres is unavailable, the loads wait, so that no event is lost.
    pub fn loaders(&self, batches: Batches) -> Loaders {
        let rows = Rows { app: self.app.clone(), caches_users: true, avatars: Some(Arc::clone(&self.avatars)) };
        Loaders { rows: Arc::new(DataLoader::new(rows, batches, NoDelay)), for_streams: true, deadline: None }
    }
}

impl Rows {
    pub(super) fn of_request(app: App) -> Self {
        Self { app, caches_users: false, avatars: None }
    }

    /// Returns the avatar from the cache. None if the avatar is not cached.
    pub(super) fn cached_avatar(&self, id: AttachmentId) -> Option<Arc<Attachment>> {
        self.avatars.as_ref()?.get(&id)
    }

    pub(super) fn cache_avatars(&self, rows: &[Attachment]) {
        if let Some(cache) = &self.avatars {
            for row in rows {
                cache.insert(row.id, Arc::new(row.clone()));
            }
        }
    }
}

impl Loader<UserId> for Rows {
    type Value = User;
    type Error = Error;

    async fn load(&self, keys: &[UserId]) -> Result<HashMap<UserId, User>> {
        let generation = self.app.row_cache().generation();
        let rows = self.app.users().get_many(keys).await?;
        if self.caches_users {
            self.app.row_cache().cache_users(generation, &rows);
        }
        Ok(rows.into_iter().map(|row| (row.id, row)).collect())
    }
}

impl Loader<ConversationKey> for Rows {
    type Value = Conversation;
    type Error = Error;

    async fn load(&self, keys: &[ConversationKey]) -> Result<HashMap<ConversationKey, Conversation>> {
        let mut loaded = HashMap::with_capacity(keys.len());
        for (reader, ids) in grouped(keys.iter().map(|&ConversationKey(reader, id)| (reader, id))) {
            let rows = self.app.conversations().for_reader(reader, &ids).await?;
            loaded.extend(rows.into_iter().map(|row| (ConversationKey(reader, row.id), row)));
        }
        Ok(loaded)
    }
}

impl Loader<EventMessageKey> for Rows {
    type Value = Message;
    type Error = Error;

    async fn load(&self, keys: &[EventMessageKey]) -> Result<HashMap<EventMessageKey, Message>> {
        let pairs: Vec<_> = keys.iter().map(|&EventMessageKey(conversation, id)| (conversation, id)).collect();
        let rows = self.app.messages().of_events(&pairs).await?;
        Ok(rows.into_iter().map(|row| (EventMessageKey(row.conversation_id, row.id), row)).collect())
    }
}

impl Loader<MembershipKey> for Rows {
    type Value = (Participant, i32);
    type Error = Error;

    async fn load(&self, keys: &[MembershipKey]) -> Result<HashMap<MembershipKey, Self::Value>> {
        let pairs: Vec<_> = keys.iter().map(|&MembershipKey(user, id)| (user, id)).collect();
        let rows = self.app.memberships().of_users(&pairs).await?;
        let key = |row: &Participant| MembershipKey(row.user_id, row.conversation_id);
        Ok(rows.into_iter().map(|row| (key(&row.participant), (row.participant, row.last_message_number))).collect())
    }
}

impl Loader<PresenceKey> for Rows {
    type Value = Presence;
    type Error = Error;

    async fn load(&self, keys: &[PresenceKey]) -> Result<HashMap<PresenceKey, Presence>> {
        let pairs: Vec<_> = keys.iter().map(|key| (key.viewer, key.user)).collect();
        let presences = self.app.presences().of_pairs(&pairs).await?;
        Ok(presences.into_iter().map(|((viewer, user), presence)| (PresenceKey { viewer, user }, presence)).collect())
    }
}

impl Loader<RelationKey> for Rows {
    type Value = Relation;
    type Error = Error;

    async fn load(&self, keys: &[RelationKey]) -> Result<HashMap<RelationKey, Relation>> {
        let pairs: Vec<_> = keys.iter().map(|key| (key.viewer, key.other)).collect();
        let rows = self.app.contacts().relations(&pairs).await?;
        let key = |row: &Related| RelationKey { viewer: row.viewer_id, other: row.other_id };
        Ok(rows.into_iter().map(|row| (key(&row), row.relation)).collect())
    }
}

impl Loader<ParticipantPage> for Rows {
    type Value = Vec<Participant>;
    type Error = Error;

    async fn load(&self, keys: &[ParticipantPage]) -> Result<HashMap<ParticipantPage, Vec<Participant>>> {
        let mut loaded: HashMap<_, Vec<_>> = keys.iter().map(|&key| (key, Vec::new())).collect();
        for ((after, limit), conversations) in
            grouped(keys.iter().map(|key| ((key.after, key.limit), key.conversation)))
        {
            for row in self.app.participants().pages(&conversations, after, limit).await? {
                let key = ParticipantPage { conversation: row.conversation_id, after, limit };
                loaded.entry(key).or_default().push(row);
            }
        }
        Ok(loaded)
    }
}

/// Groups values by key. A loader that groups its keys runs one statement for each group; most responses have one
/// group.
pub(super) fn grouped<K: Eq + Hash, V>(pairs: impl Iterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}
