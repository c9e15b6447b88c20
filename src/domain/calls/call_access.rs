//! What lets a session of a call into the call's room on a LiveKit server, which carries calls of any size.

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

/// Time to come in with a token. LiveKit asks for it at the entrance alone, and renews it for who is connected.
const TTL: TimeDelta = TimeDelta::minutes(10);

#[derive(Debug)]
pub struct CallAccess {
    pub url: String,
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

/// LiveKit's access token: the registered claims of RFC 7519, and grants.
#[derive(Serialize)]
struct Claims<'a> {
    /// The API key whose secret signs it.
    iss: &'a str,
    /// The participant's identity, of which LiveKit admits one at a time. The session: a user's next device is another
    /// participant, and clients find it again in `Call.participants`.
    sub: String,
    /// What others see.
    name: &'a str,
    nbf: i64,
    exp: i64,
    video: VideoGrant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_excessive_bools, reason = "they are LiveKit's")]
struct VideoGrant {
    room: String,
    room_join: bool,
    can_publish: bool,
    can_subscribe: bool,
    can_publish_data: bool,
}

impl Calls<'_> {
    /// What the viewer's device, which is in the call, enters its room with; None on a server without LiveKit.
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
        Ok(Some(CallAccess::mint(livekit, id, viewer.session, &user.display_name, self.core.base.now())?))
    }
}

impl CallAccess {
    /// For a session that is in the call, whose user is called `name`.
    fn mint(livekit: LiveKit<'_>, call: CallId, session: SessionId, name: &str, now: DateTime<Utc>) -> Result<Self> {
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
        // As the claim has it, in whole seconds.
        let expires_at = DateTime::from_timestamp(exp, 0).unwrap_or(now + TTL);
        Ok(Self { url: livekit.url.to_owned(), token, expires_at })
    }
}
