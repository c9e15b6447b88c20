//! Access of a device to the call's room on a LiveKit server, which supports calls of any size.

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::call_state::NO_CALL;
use super::calls::Calls;
use crate::config::LiveKit;
use crate::domain::error::{Error, Result};
use crate::domain::viewer::Viewer;
use crate::ids::{CallId, SessionId};
use crate::store::calls::{call_participants, calls};
use crate::store::people::users;

/// Lifetime of an access token. LiveKit checks the token when a client joins, and renews it for connected clients.
const TTL: TimeDelta = TimeDelta::minutes(10);

#[derive(Debug)]
pub struct CallAccess {
    pub url: String,
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

/// The claims of LiveKit's access token: registered claims of RFC 7519, and LiveKit's own claims `name` and `video`.
#[derive(Serialize)]
struct Claims<'a> {
    /// API key of LiveKit whose secret signs the token.
    iss: &'a str,
    /// Identity of the participant: the session id, which clients find in `Call.participants`. LiveKit admits each
    /// identity only once, so each device of a user must be a separate participant.
    sub: String,
    /// Display name that other participants see.
    name: &'a str,
    nbf: i64,
    exp: i64,
    video: VideoGrant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "LiveKit defines these fields")]
struct VideoGrant {
    room: String,
    room_join: bool,
    can_publish: bool,
    can_subscribe: bool,
    can_publish_data: bool,
}

impl Calls<'_> {
    /// Returns a token with which the viewer's device joins the call's room. None if no LiveKit server is configured.
    /// Returns FORBIDDEN if the device is not in the call.
    pub async fn access(&self, viewer: Viewer, id: CallId) -> Result<Option<CallAccess>> {
        let Some(livekit) = self.core.webrtc.livekit() else { return Ok(None) };
        let mut connection = self.core.base.connection().await?;
        if calls::visible_to(&connection, viewer.user, &[id]).await?.is_empty() {
            return Err(NO_CALL);
        }
        let present = call_participants::present(&mut connection, &[id]).await?;
        if !present.iter().any(|present| present.session_id == viewer.session) {
            return Err(Error::Forbidden("This device is not in the call."));
        }
        let user = users::by_ids(&mut connection, &[viewer.user]).await?.pop().ok_or(NO_CALL)?;
        Ok(Some(CallAccess::sign(livekit, id, viewer.session, &user.display_name, self.core.base.now())?))
    }
}

impl CallAccess {
    /// Signs a token for a session in the call. `name` is the display name of the session's user.
    fn sign(livekit: LiveKit<'_>, call: CallId, session: SessionId, name: &str, now: DateTime<Utc>) -> Result<Self> {
        let video = VideoGrant {
            room: call.to_string(),
            room_join: true,
            can_publish: true,
            can_subscribe: true,
            can_publish_data: true,
        };
        let exp = (now + TTL).timestamp();
        let claims = Claims { iss: livekit.api_key, sub: session.to_string(), name, nbf: now.timestamp(), exp, video };
        let key = EncodingKey::from_secret(livekit.api_secret.as_bytes());
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?;
        // The expiry has whole seconds, as in the claim `exp`.
        let expires_at = DateTime::from_timestamp(exp, 0).unwrap_or(now + TTL);
        Ok(Self { url: livekit.url.to_owned(), token, expires_at })
    }
}
