//! What ends a connection that stays open, whatever its client does.

use futures_util::future::OptionFuture;
use tokio::time::{Instant, sleep_until};

use super::Server;
use super::drain::Drain;
use crate::domain::Viewer;
use crate::log::SessionWatch;

/// How long a socket or an event stream may be served.
pub(super) struct Lifetime {
    /// When the access token runs out.
    expires_at: Option<Instant>,
    /// Tells of the revocation of the viewer's session.
    watch: Option<SessionWatch>,
    drain: Drain,
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The token has run out, or its session is revoked.
    SignedOut,
    /// The drain's time is up.
    Drained,
}

impl Lifetime {
    /// Of one that nobody has signed in on.
    pub(super) fn anonymous(server: &Server) -> Self {
        Self { expires_at: None, watch: None, drain: server.drain.clone() }
    }

    /// Watches the session from now on; whether it is good until now is to be looked at afterwards, so that no
    /// revocation falls between.
    pub(super) fn of(server: &Server, viewer: Viewer) -> Self {
        let watch = Some(server.app.log().watch_session(viewer.session));
        let mut lifetime = Self { watch, ..Self::anonymous(server) };
        lifetime.extend(server, viewer);
        lifetime
    }

    /// To the end of a newer token of the same session.
    pub(super) fn extend(&mut self, server: &Server, viewer: Viewer) {
        let left = viewer.expires_at - server.app.clock().now();
        self.expires_at = Some(Instant::now() + left.to_std().unwrap_or_default());
    }

    /// When it is over, as far as is known now.
    pub(super) fn over(&self) -> impl Future<Output = Over> + Send + use<> {
        let expiry = OptionFuture::from(self.expires_at.map(sleep_until));
        let revocation = OptionFuture::from(self.watch.as_ref().map(SessionWatch::revoked));
        let expired = self.drain.expired();
        async move {
            tokio::select! {
                Some(()) = expiry => Over::SignedOut,
                Some(()) = revocation => Over::SignedOut,
                () = expired => Over::Drained,
            }
        }
    }
}
