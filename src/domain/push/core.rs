//! State that the services of push notifications share.

use crate::config::PushSettings;
use crate::domain::base::Base;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, SessionId, UserId};
use crate::live::{Live, Status};
use crate::notices::PushTexts;
use crate::push::{OpenError, Pusher, VapidKey};
use crate::store::push::keys;

pub(in crate::domain) struct PushCore {
    pub(in crate::domain) base: Base,
    pub(in crate::domain) live: Live,
    pub(in crate::domain) pusher: Pusher,
    pub(in crate::domain) texts: PushTexts,
}

/// Reason why pushes cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error(transparent)]
    Part(#[from] Error),
    #[error(transparent)]
    Settings(#[from] OpenError),
}

impl PushCore {
    pub(in crate::domain) async fn open(
        base: &Base,
        live: &Live,
        texts: PushTexts,
        settings: &PushSettings,
    ) -> Result<Self, PushError> {
        let key = match VapidKey::from_settings(settings)? {
            Some(key) => key,
            None => stored_key(base).await?,
        };
        let pusher = Pusher::open(settings, key, base.clock, &base.random)?;
        Ok(Self { base: base.clone(), live: live.clone(), pusher, texts })
    }

    /// Whether the user sees messages of the conversation without a push to this device: the page of the device is
    /// visible, or one of the user's devices has the conversation open. A conversation that is open on a hidden page
    /// does not count; the user is then AWAY.
    pub(super) fn is_seen(&self, conversation: ConversationId, user: UserId, session: SessionId) -> bool {
        let live = &self.live;
        live.is_session_visible(session) || live.is_in_room(conversation, user) && live.status(user) == Status::Online
    }
}

/// Returns the key that all nodes use. The first node makes it.
async fn stored_key(base: &Base) -> Result<VapidKey> {
    let mut connection = base.connection().await?;
    let stored = match keys::find(&mut connection).await? {
        Some(stored) => stored,
        None => keys::insert(&mut connection, &VapidKey::generate(&base.random).to_bytes()).await?,
    };
    VapidKey::from_bytes(&stored).map_err(|error| Error::Corrupt(format!("the key in push_keys: {error}")))
}
