//! The client of a socket: its identity, its lifetime, and the limits that it counts against.

use serde_json::{Map, Value};

use super::Origin;
use super::close::{Close, End};
use crate::address::ClientNetwork;
use crate::domain::people::presence::Connected;
use crate::domain::{Error as Domain, Viewer};
use crate::graphql::{Caller, Error, Identity};
use crate::http::Server;
use crate::http::caller::bearer_value;
use crate::http::connection_limit::Permit;
use crate::http::connections::ForwardedPermit;
use crate::http::lifetime::Lifetime;
use crate::ids::UserId;

type Payload = Map<String, Value>;

pub(super) struct Client {
    pub(super) caller: Caller,
    pub(super) lifetime: Lifetime,
    /// Counts the socket against the viewer's limit of connections. None without a signed-in user.
    permit: Option<Permit<UserId>>,
    /// Counts the socket against the limit of the client's address. None if no trusted proxy forwards the socket.
    _forwarded: Option<ForwardedPermit>,
    /// Counts the socket against the limit of sockets without a signed-in user, until a user signs in.
    anonymous: Option<Permit<ClientNetwork>>,
    /// Counts the viewer as connected. None without a signed-in user.
    connected: Option<Connected>,
}

impl Client {
    /// Returns a client that has not sent `connection_init` yet.
    pub(super) fn anonymous(server: &Server, origin: Origin) -> Self {
        let network = server.connections.network(origin.address);
        Self {
            caller: Caller {
                identity: Identity::Anonymous,
                ip_address: Some(origin.address),
                network,
                language: origin.language,
            },
            lifetime: Lifetime::anonymous(server),
            permit: None,
            _forwarded: origin.forwarded,
            anonymous: origin.anonymous,
            connected: None,
        }
    }

    pub(super) fn is_anonymous(&self) -> bool {
        matches!(self.caller.identity, Identity::Anonymous)
    }

    /// Authenticates the client by `Authorization` in the payload, which browsers can set, or else by `token`. A client
    /// without a token is anonymous. A client with an invalid token is disconnected.
    pub(super) async fn authenticate(
        &mut self,
        server: &Server,
        payload: Option<&Payload>,
        token: Option<String>,
    ) -> Result<(), End> {
        let Some(token) = token_in(payload)?.or(token) else { return Ok(()) };
        let viewer = read_token(server, &token)?;
        let permit = server.admit(viewer.user);
        self.permit = Some(permit.map_err(|_| End::Close(Close::TOO_MANY_SOCKETS))?);
        self.lifetime = Lifetime::of(server, viewer);
        check_session(server, viewer).await?;
        self.connected = Some(server.app.presences().connect(viewer));
        self.caller.identity = Identity::SignedIn(viewer);
        self.anonymous = None;
        Ok(())
    }

    /// Reads the payload of a ping. If it has a fresh token of the same session, the socket stays open until that token
    /// expires. Returns whether the payload has a token.
    pub(super) fn refresh(&mut self, server: &Server, payload: Option<&Payload>) -> Result<bool, End> {
        let Some(token) = token_in(payload)? else { return Ok(false) };
        let fresh = read_token(server, &token)?;
        match &mut self.caller.identity {
            Identity::SignedIn(viewer) if viewer.session == fresh.session => *viewer = fresh,
            _ => return Err(End::Close(Close::FORBIDDEN)),
        }
        self.lifetime.extend(server, fresh);
        Ok(true)
    }

    /// Fails, so that the connection ends, if the viewer's session was revoked or cannot be checked.
    pub(super) async fn check_session(&self, server: &Server) -> Result<(), End> {
        match self.caller.identity {
            Identity::SignedIn(viewer) => check_session(server, viewer).await,
            Identity::Anonymous | Identity::Rejected(_) => Ok(()),
        }
    }

    /// Counts a request of the client's address. Returns RATE_LIMITED if the rate is exceeded.
    pub(super) fn admit_request(&self, server: &Server) -> Result<(), Error> {
        self.caller.ip_address.map_or(Ok(()), |address| server.admit_request(address))
    }
}

/// Returns the token of `Authorization` in a payload. Fails if the member exists but has no bearer token.
fn token_in(payload: Option<&Payload>) -> Result<Option<String>, End> {
    payload
        .and_then(|payload| payload.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization")))
        .map(|(_, value)| value.as_str().and_then(bearer_value).ok_or(End::Close(Close::FORBIDDEN)))
        .transpose()
}

fn read_token(server: &Server, token: &str) -> Result<Viewer, End> {
    server.app.sessions().read_token(token).map_err(|_| End::Close(Close::FORBIDDEN))
}

async fn check_session(server: &Server, viewer: Viewer) -> Result<(), End> {
    match server.app.sessions().check(viewer).await {
        Ok(()) => Ok(()),
        Err(Domain::Unauthenticated(_)) => Err(End::Close(Close::FORBIDDEN)),
        Err(_) => Err(End::Close(Close::TRY_AGAIN)),
    }
}
