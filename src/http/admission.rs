//! Limits the rates of requests and operations, by address and by user.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::Server;
use super::accept::Accept;
use crate::address::ClientAddress;
use crate::graphql::{Caller, Error, Identity};
use crate::limiter::{Key, Rate};

impl Caller {
    /// Returns the key by which the limits of operations count: the user, or the network of an anonymous client.
    /// Returns None if these limits do not apply.
    pub(super) fn key(&self) -> Option<Key> {
        match self.identity {
            Identity::SignedIn(viewer) => Some(Key::User(viewer.user)),
            Identity::Anonymous | Identity::Rejected(_) => self.network.map(Key::Network),
        }
    }
}

impl Server {
    /// Counts a request of the address. Returns RATE_LIMITED if the rate is exceeded.
    pub(super) fn admit_request(&self, address: ClientAddress) -> Result<(), Error> {
        match self.connections.network(address) {
            Some(network) => Ok(self.app.check_rate_for(Rate::Requests, Key::Network(network), 1)?),
            None => Ok(()),
        }
    }

    /// Counts an operation and the fields that it asks for, by the user, or by the address of an anonymous client.
    /// Returns RATE_LIMITED if a rate is exceeded.
    pub(super) fn admit_operation(&self, caller: &Caller, fields: u64) -> Result<(), Error> {
        let Some(key) = caller.key() else { return Ok(()) };
        self.app.check_rate_for(Rate::Operations, key, 1)?;
        Ok(self.app.check_rate_for(Rate::Cost, key, u32::try_from(fields).unwrap_or(u32::MAX))?)
    }
}

/// Refuses requests of an address that sends too many requests, before their bodies are read.
pub(super) async fn limit_requests(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match server.admit_request(server.address(request.headers(), peer)) {
        Ok(()) => next.run(request).await,
        Err(error) => Accept::read(request.headers()).media_of_errors().fail(error),
    }
}
