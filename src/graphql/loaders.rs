//! Loads what many objects of a response refer to in one statement for each kind.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::dataloader::{DataLoader, Loader};
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::batch::{Batches, NextTurn, NoDelay, Tasks};
use super::error::{Error, ErrorCode, Result};
use crate::domain::presence::Presence;
use crate::domain::{App, Error as Domain};
use crate::error::RETRY;
use crate::ids::{ConversationId, MessageId, ParticipantId, UserId};
use crate::store::conversations::{self, Conversation};
use crate::store::messages::{self, Message};
use crate::store::participants::{self, Participant};
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
    app: App,
    /// Whether users are kept in mind: a stream may render one as of the tail's position, a request may not.
    keeps_users: bool,
}

/// A user's own state in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MembershipKey(pub UserId, pub ConversationId);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberKey(pub ConversationId, pub i32);

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessagePage {
    pub conversation: ConversationId,
    /// The number up to which its messages are left out.
    pub hidden_up_to: i32,
    pub range: messages::Range,
}

impl Loaders {
    /// For one request, whose execution `batches` must drive.
    pub fn of_request(app: App, batches: Batches, deadline: Option<Instant>) -> Self {
        Self {
            rows: Arc::new(DataLoader::new(Rows { app, keeps_users: false }, batches, NoDelay)),
            patient: false,
            deadline,
        }
    }

    /// For every stream of a node: those that render the same event at the same moment load it together. They
    /// lose nothing because Postgres is away, but wait.
    pub fn of_streams(app: App) -> Self {
        Self {
            rows: Arc::new(DataLoader::new(Rows { app, keeps_users: true }, Tasks, NextTurn)),
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

    /// The user, whom the node may have in mind.
    pub(super) async fn user(&self, id: UserId) -> Result<Option<User>> {
        let rows = self.rows.loader();
        match rows.app.log().user(id).filter(|_| rows.keeps_users) {
            Some(user) => Ok(Some(User::clone(&user))),
            None => self.load(id).await,
        }
    }
}

fn failed(error: impl Into<crate::error::Error>) -> Error {
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
        let wanted: Vec<_> = keys.iter().map(|&NumberKey(conversation, number)| (conversation, number)).collect();
        let mut connection = self.app.connection().await.map_err(failed)?;
        let rows = messages::by_numbers(&mut connection, &wanted).await.map_err(failed)?;
        Ok(rows.into_iter().map(|row| (NumberKey(row.conversation_id, row.number), row)).collect())
    }
}

impl Loader<MembershipKey> for Rows {
    type Value = Participant;
    type Error = Error;

    async fn load(&self, keys: &[MembershipKey]) -> Result<HashMap<MembershipKey, Participant>> {
        let mut connection = self.app.connection().await.map_err(failed)?;
        let mut loaded = HashMap::with_capacity(keys.len());
        for (user, conversations) in grouped(keys.iter().map(|&MembershipKey(user, id)| (user, id))) {
            let rows = participants::of_user(&mut connection, user, &conversations).await.map_err(failed)?;
            loaded.extend(rows.into_iter().map(|row| (MembershipKey(row.user_id, row.conversation_id), row)));
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
        for (range, conversations) in grouped(keys.iter().map(|key| (key.range, (key.conversation, key.hidden_up_to))))
        {
            let rows = messages::pages(&mut connection, &conversations, range).await.map_err(failed)?;
            for (hidden_up_to, row) in rows {
                let key = MessagePage { conversation: row.conversation_id, hidden_up_to, range };
                loaded.entry(key).or_default().push(row);
            }
        }
        Ok(loaded)
    }
}

/// The values under each key: one statement is needed for each, and a response mostly has one.
fn grouped<K: Eq + Hash, V>(pairs: impl Iterator<Item = (K, V)>) -> HashMap<K, Vec<V>> {
    let mut groups: HashMap<K, Vec<V>> = HashMap::new();
    for (key, value) in pairs {
        groups.entry(key).or_default().push(value);
    }
    groups
}
