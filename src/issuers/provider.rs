//! The addresses and keys that an issuer publishes (OpenID Connect Discovery 1.0). The server fetches them when it
//! first needs them, and keeps using them while the issuer is down.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::answers::{json, published, start};
use super::keys::{self, Key};
use crate::config::ISSUER_TIMEOUT;
use crate::outbound::with_causes;

/// Age of the keys after which they are fetched again, so that keys that the issuer has removed stop working.
const MAX_AGE: Duration = Duration::from_mins(10);
/// Time after a failed fetch until the next one, unless ISSUER_REFETCH_INTERVAL is shorter.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Provider {
    issuer: String,
    /// Whether the keys are published. Otherwise they are in the settings.
    wants_keys: bool,
    http: Client,
    refetch_interval: Duration,
    state: Mutex<State>,
    /// Locked during a fetch, so that concurrent requests wait for the same one.
    flight: AsyncMutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Snapshot>>,
    /// Earliest time of the next fetch.
    next_fetch: Option<Instant>,
}

/// Metadata and keys that the issuer published at one time.
pub(super) struct Snapshot {
    pub(super) metadata: Metadata,
    pub(super) keys: Vec<Key>,
    fetched_at: Instant,
}

/// The metadata of an issuer that the server uses.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: Option<String>,
    pub(super) token_endpoint: Option<String>,
    jwks_uri: Option<String>,
    pub(super) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// Whether each answer to a login names the issuer (RFC 9207).
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl Provider {
    pub(super) fn new(issuer: String, wants_keys: bool, http: Client, refetch_interval: Duration) -> Self {
        let (state, flight) = (Mutex::default(), AsyncMutex::default());
        Self { issuer, wants_keys, http, refetch_interval, state, flight }
    }

    /// Returns the metadata and keys of the issuer. Fetches them the first time. Returns None if that fails. Old keys
    /// are fetched again in the background.
    pub(super) async fn snapshot(self: &Arc<Self>) -> Option<Arc<Snapshot>> {
        let Some(known) = self.current() else { return self.refetch(None).await };
        if known.fetched_at.elapsed() >= MAX_AGE && self.may_fetch() && self.flight.try_lock().is_ok() {
            let (provider, old) = (Arc::clone(self), Arc::clone(&known));
            tokio::spawn(async move { provider.fetch_newer(Some(&old)).await });
        }
        Some(known)
    }

    /// Fetches the metadata and keys, and returns the newest snapshot. Does not fetch them if another request has
    /// fetched them since `known`, or if the last fetch was too recent. Returns None if no fetch has succeeded.
    pub(super) async fn refetch(self: &Arc<Self>, known: Option<&Arc<Snapshot>>) -> Option<Arc<Snapshot>> {
        let (provider, known) = (Arc::clone(self), known.cloned());
        // A client that disconnects does not cancel a task. Otherwise its fetch would not count for the interval, and a
        // stranger who disconnects again and again could send any number of requests to the issuer.
        let fetching = tokio::spawn(async move { provider.fetch_newer(known.as_ref()).await });
        fetching.await.ok().flatten()
    }

    async fn fetch_newer(&self, known: Option<&Arc<Snapshot>>) -> Option<Arc<Snapshot>> {
        let _flight = self.flight.lock().await;
        let current = self.current();
        let is_newer = match (&current, known) {
            (Some(current), Some(known)) => !Arc::ptr_eq(current, known),
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_newer || !self.may_fetch() {
            return current;
        }
        let fetched = timeout(ISSUER_TIMEOUT, self.fetch()).await;
        let fetched = fetched.unwrap_or_else(|_| Err(format!("no answer within {ISSUER_TIMEOUT:?}")));
        let mut state = self.state.lock();
        match fetched {
            Ok(snapshot) => {
                state.current = Some(Arc::new(snapshot));
                state.next_fetch = Some(Instant::now() + self.refetch_interval);
            }
            Err(reason) => {
                warn!(issuer = self.issuer.as_str(), reason, "the metadata and keys of an issuer could not be fetched");
                state.next_fetch = Some(Instant::now() + self.refetch_interval.min(RETRY_AFTER));
            }
        }
        state.current.clone()
    }

    fn current(&self) -> Option<Arc<Snapshot>> {
        self.state.lock().current.clone()
    }

    fn may_fetch(&self) -> bool {
        self.state.lock().next_fetch.is_none_or(|earliest| Instant::now() >= earliest)
    }

    async fn fetch(&self) -> Result<Snapshot, String> {
        let place = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata: Metadata = self.get(&place).await?;
        if metadata.issuer != self.issuer {
            return Err(format!("its metadata name another issuer: {}", start(&metadata.issuer)));
        }
        let keys = if self.wants_keys {
            let place = metadata.jwks_uri.as_deref().ok_or("its metadata have no jwks_uri")?;
            let set: Value = self.get(place).await?;
            keys::parse_set(set).ok_or("its keys are not a JWK set")?
        } else {
            Vec::new()
        };
        Ok(Snapshot { metadata, keys, fetched_at: Instant::now() })
    }

    async fn get<T: DeserializeOwned>(&self, place: &str) -> Result<T, String> {
        let url = published(place, &self.issuer);
        let url = url.ok_or_else(|| format!("{} is not an https:// address", start(place)))?;
        json(self.http.get(url).send().await.map_err(with_causes)?).await
    }
}
