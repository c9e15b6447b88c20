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

    /// Whether the user sees messages of the conversation without a push to this device: the page of the device is
    /// visible, or the user has the conversation open. A conversation that is open on a hidden page does not count, if
    /// the user has no other device with a visible page.
    pub(super) fn is_seen(&self, conversation: ConversationId, user: UserId, session: SessionId) -> bool {
        let live = &self.live;
        live.is_session_visible(session) || live.is_in_room(conversation, user) && live.is_visible_anywhere(user)
    }
}

/// Returns the key of PUSH_VAPID_KEY_FILE, or else the one in Postgres, which all nodes use. If there is none yet, makes
/// it.
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
