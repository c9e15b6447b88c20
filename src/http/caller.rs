//! Identifies the caller of a request from its headers.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};

use super::Server;
use super::lifetime::Lifetime;
use crate::address::{ClientAddress, ClientNetwork};
use crate::domain::Error;
use crate::graphql::{Caller, Error as GraphqlError, Identity};
use crate::notices::Language;

impl Server {
    /// Returns the caller of a request. Fails only if the session cannot be queried from Postgres.
    pub(super) async fn caller(&self, headers: &HeaderMap, peer: SocketAddr) -> Result<Caller, GraphqlError> {
        let identity = match bearer(headers) {
            Some(token) => self.identify(&token).await?,
            None => Identity::Anonymous,
        };
        let address = self.address(headers, peer);
        let network = self.connections.network(address);
        Ok(Caller { identity, ip_address: Some(address), network, language: language(headers) })
    }

    /// Returns the caller of a connection that stays open, and the connection's lifetime. The session is watched before
    /// it is checked, so that no revocation is missed.
    pub(super) async fn watched_caller(
        &self,
        headers: &HeaderMap,
        peer: SocketAddr,
    ) -> Result<(Caller, Lifetime), GraphqlError> {
        let viewer = bearer(headers).and_then(|token| self.app.sessions().read_token(&token).ok());
        let lifetime = viewer.map_or_else(|| Lifetime::anonymous(self), |viewer| Lifetime::of(self, viewer));
        Ok((self.caller(headers, peer).await?, lifetime))
    }

    async fn identify(&self, token: &str) -> Result<Identity, GraphqlError> {
        match self.app.sessions().authenticate(token).await {
            Ok(viewer) => Ok(Identity::SignedIn(viewer)),
            Err(Error::Unauthenticated(reason)) => Ok(Identity::Rejected(reason)),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the key by which the limits by address count a request with these headers. Returns None if these limits
    /// do not apply to the request.
    pub(super) fn network(&self, headers: &HeaderMap, peer: SocketAddr) -> Option<ClientNetwork> {
        self.connections.network(self.address(headers, peer))
    }

    /// Returns the address of the client that sends a request with these headers over a connection from `peer`.
    pub(super) fn address(&self, headers: &HeaderMap, peer: SocketAddr) -> ClientAddress {
        self.connections.client_address(headers, peer)
    }
}

/// Returns the languages of `Accept-Language`. Without the header the client has no preference.
pub(super) fn language(headers: &HeaderMap) -> Language {
    Language::negotiate(headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()))
}

/// Returns the token of `Authorization: Bearer …` (RFC 6750).
pub(super) fn bearer(headers: &HeaderMap) -> Option<String> {
    bearer_value(headers.get(header::AUTHORIZATION)?.to_str().ok()?)
}

pub(super) fn bearer_value(value: &str) -> Option<String> {
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}
