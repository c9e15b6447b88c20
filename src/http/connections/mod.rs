//! TCP connections: limits on their number, their lifetime, and their memory before the server knows their users.

mod activity;
mod drive;
mod listen;
mod log_throttle;
mod service;
mod stream;
mod unfinished;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;

use super::connection_limit::{ConnectionLimit, Permit};
use super::forwarded::client_address;
use crate::address::{ClientAddress, ClientNetwork, Networks};
use crate::config::{Config, ConnectionSettings};
use crate::metrics::{ConnectionMetrics, Metrics, Open, Refusal};

pub(super) use activity::HttpStream;
pub(super) use listen::Listener;
pub(super) use stream::{ClientStream, Observer};
pub(super) use unfinished::{OutOfMemory, Reservation, Unfinished};

/// State that all connections of a node share. Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections(Arc<Inner>);

struct Inner {
    settings: ConnectionSettings,
    /// SOCKET_WRITE_TIMEOUT, which applies to HTTP responses as well.
    write_timeout: Duration,
    /// RATE_LIMITS. If it is off, the limits by address are off as well.
    limit_addresses: bool,
    trusted: Networks,
    open: Arc<AtomicUsize>,
    /// Counts direct connections, and requests and sockets that trusted proxies forward, by client address.
    by_network: ConnectionLimit<ClientNetwork>,
    anonymous_sockets: ConnectionLimit<ClientNetwork>,
    unfinished: Unfinished,
    metrics: ConnectionMetrics,
}

/// Counts one TCP connection against the limits of the node and of its address, until the permit is dropped.
pub(super) struct ConnectionPermit {
    _total: TotalPermit,
    _by_network: Option<Permit<ClientNetwork>>,
    _counted: Open,
}

/// Counts one connection among all connections of the node, until the permit is dropped.
struct TotalPermit(Arc<AtomicUsize>);

/// Counts a request that a trusted proxy forwards against the limit of the client's address, until the permit is
/// dropped. The permit is an extension of the request, so that a socket can keep the permit for as long as it is open.
#[derive(Clone)]
pub(super) struct ForwardedPermit {
    _permit: Arc<Permit<ClientNetwork>>,
}

impl TotalPermit {
    /// Counts one more connection. Returns None if the node already has `max` connections.
    fn try_acquire(open: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        let permit = Self(Arc::clone(open));
        (open.fetch_add(1, Ordering::Relaxed) < max).then_some(permit)
    }
}

impl Drop for TotalPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connections {
    pub(super) fn new(config: &Config, metrics: &Metrics) -> Self {
        let settings = config.connections.clone();
        let metrics = metrics.connections();
        let (max, max_per_address) = (settings.max_unfinished_bytes, settings.max_unfinished_bytes_per_address);
        Self(Arc::new(Inner {
            unfinished: Unfinished::new(max, max_per_address, metrics.clone()),
            write_timeout: config.socket.socket_write_timeout,
            limit_addresses: config.rates.rate_limits,
            trusted: config.places.trusted_proxies.clone(),
            open: Arc::default(),
            by_network: ConnectionLimit::default(),
            anonymous_sockets: ConnectionLimit::default(),
            metrics,
            settings,
        }))
    }

    pub(super) fn settings(&self) -> &ConnectionSettings {
        &self.0.settings
    }

    /// Returns the address of the client that sends a request with these headers over a connection from `peer`.
    pub(super) fn client_address(&self, headers: &HeaderMap, peer: SocketAddr) -> ClientAddress {
        client_address(headers, peer, &self.0.trusted)
    }

    /// Returns the key by which the limits by address count the client. Returns None for a trusted proxy's own
    /// requests, and for every client if these limits are off.
    pub(super) fn network(&self, client: ClientAddress) -> Option<ClientNetwork> {
        (self.0.limit_addresses && !self.0.trusted.contains(client)).then(|| client.network())
    }

    pub(super) fn unfinished(&self) -> &Unfinished {
        &self.0.unfinished
    }

    /// Returns a permit for a new TCP connection. The connections of a trusted proxy count only against the limit of
    /// the node.
    fn admit(&self, peer: SocketAddr) -> Result<ConnectionPermit, Refusal> {
        let inner = &self.0;
        let total = TotalPermit::try_acquire(&inner.open, inner.settings.max_connections).ok_or(Refusal::Total)?;
        let by_network = match self.network(peer.ip().into()) {
            Some(network) => {
                let permit = inner.by_network.try_acquire(network, inner.settings.max_connections_per_address);
                Some(permit.ok_or(Refusal::Address)?)
            }
            None => None,
        };
        Ok(ConnectionPermit { _total: total, _by_network: by_network, _counted: inner.metrics.connection() })
    }

    /// Returns a permit for a request that a trusted proxy forwards. It counts against the limit of the client's
    /// address. Returns None if the limits by address do not apply to the client, and for a direct connection, which
    /// was counted when it was accepted.
    fn admit_forwarded(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Option<ForwardedPermit>, Refusal> {
        let inner = &self.0;
        if !inner.trusted.contains(peer.ip().into()) {
            return Ok(None);
        }
        let Some(network) = self.network(self.client_address(headers, peer)) else { return Ok(None) };
        let permit = inner.by_network.try_acquire(network, inner.settings.max_connections_per_address);
        let permit = permit.ok_or_else(|| self.refused(Refusal::Address))?;
        Ok(Some(ForwardedPermit { _permit: Arc::new(permit) }))
    }

    /// Returns a permit for a socket without a signed-in user. It counts against the limit of the client's address.
    /// Returns None if `network` is None, because the limits by address then do not apply.
    pub(super) fn admit_anonymous(
        &self,
        network: Option<ClientNetwork>,
    ) -> Result<Option<Permit<ClientNetwork>>, Refusal> {
        let Some(network) = network else { return Ok(None) };
        let permit = self.0.anonymous_sockets.try_acquire(network, self.0.settings.socket_max_anonymous_per_address);
        permit.map(Some).ok_or_else(|| self.refused(Refusal::Anonymous))
    }

    fn refused(&self, refusal: Refusal) -> Refusal {
        self.0.metrics.refused(refusal);
        refusal
    }
}
