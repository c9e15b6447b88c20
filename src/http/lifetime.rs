//! The lifetime of a connection that stays open. It ends when the access token expires, when the session is revoked, or
//! when the drain times out.

use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep_until};

use super::Server;
use super::drain::Drain;
use crate::domain::Viewer;
use crate::log::SessionWatch;

/// The lifetime of a socket or an event stream.
pub(super) struct Lifetime {
    /// Time at which the access token expires. None without a signed-in user.
    expires_at: Option<Instant>,
    /// Notifies when the viewer's session is revoked. None without a signed-in user.
    watch: Option<SessionWatch>,
    drain: Drain,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndReason {
    /// The access token has expired, or its session was revoked.
    SignedOut,
    /// The server shuts down.
    Drained,
}

impl Lifetime {
    /// Returns the lifetime of a connection without a signed-in user.
    pub(super) fn anonymous(server: &Server) -> Self {
        Self { expires_at: None, watch: None, drain: server.drain.clone() }
    }

    /// Returns the lifetime of a viewer's connection, and watches the session from now on. The caller must check the
    /// session afterwards, so that no revocation is missed.
    pub(super) fn of(server: &Server, viewer: Viewer) -> Self {
        let watch = Some(server.app.live_sessions().watch(viewer.session));
        let mut lifetime = Self { watch, ..Self::anonymous(server) };
        lifetime.extend(server, viewer);
        lifetime
    }

    /// Extends the lifetime to the expiry of a newer token of the same session.
    pub(super) fn extend(&mut self, server: &Server, viewer: Viewer) {
        let left = viewer.expires_at - server.app.clock().now();
        self.expires_at = Some(Instant::now() + left.to_std().unwrap_or_default());
    }

    /// Waits for the end of the lifetime and returns the reason. A later call of `extend` does not change the returned
    /// future.
    pub(super) fn ended(&self) -> impl Future<Output = EndReason> + Send + use<> {
        let expiry = OptionFuture::from(self.expires_at.map(sleep_until));
        let revocation = OptionFuture::from(self.watch.as_ref().map(SessionWatch::revoked));
        let expired = self.drain.expired();
        async move {
            tokio::select! {
                Some(()) = expiry => EndReason::SignedOut,
                Some(()) = revocation => EndReason::SignedOut,
                () = expired => EndReason::Drained,
            }
        }
    }
}
