//! State that the services of push notifications share.

use crate::config::PushSettings;
use crate::domain::base::Base;
use crate::error::{Error, Result};
use crate::ids::{ConversationId, SessionId, UserId};
use crate::live::Live;
use crate::notices::PushTexts;
use crate::push::{OpenError, Pusher, VapidKey};
use crate::random::Random;
use crate::store::Connection;
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
        let key = vapid_key(&mut *base.connection().await?, settings, &base.random).await?;
        let pusher = Pusher::open(settings, key, base.clock, &base.random)?.with_metrics(base.metrics.push());
        Ok(Self { base: base.clone(), live: live.clone(), pusher, texts })
    }

    /// Whether messages of the conversation need no push to this device: the device is visible, or the user has the
    /// conversation open. An open conversation counts only while at least one device of the user is visible.
    pub(super) fn is_seen(&self, conversation: ConversationId, user: UserId, session: SessionId) -> bool {
        let live = &self.live;
        live.is_session_visible(session) || live.is_in_room(conversation, user) && live.is_visible_anywhere(user)
    }
}

/// Returns the key of PUSH_VAPID_KEY_FILE. If that is not set, returns the key in Postgres, which all nodes use, and
/// creates it at the first start.
pub(super) async fn vapid_key(
    conn: &mut Connection,
    settings: &PushSettings,
    random: &Random,
) -> Result<VapidKey, PushError> {
    if let Some(key) = VapidKey::from_settings(settings)? {
        return Ok(key);
    }
    let stored = match keys::find(conn).await.map_err(Error::from)? {
        Some(stored) => stored,
        None => keys::insert(conn, &VapidKey::generate(random).to_bytes()).await.map_err(Error::from)?,
    };
    Ok(VapidKey::from_bytes(&stored).map_err(|error| Error::Corrupt(format!("the key in push_keys: {error}")))?)
}
