//! What a resolver knows of the request it belongs to.

use async_graphql::Context;

use super::error::{Error, Result};
use super::loaders::Loaders;
use crate::domain::{App, Viewer};

/// Who sent the request, and from where.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    pub ip_address: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub enum Identity {
    Anonymous,
    SignedIn(Viewer),
    /// There was a token and it is no good. Fields for everybody still answer, `refreshSession` above all.
    Rejected(&'static str),
}

pub(super) trait ContextExt {
    fn app(&self) -> &App;
    fn caller(&self) -> &Caller;
    fn loaders(&self) -> &Loaders;
    /// UNAUTHENTICATED where nobody is signed in.
    fn viewer(&self) -> Result<Viewer>;
}

impl ContextExt for Context<'_> {
    fn app(&self) -> &App {
        self.data_unchecked()
    }

    fn caller(&self) -> &Caller {
        self.data_unchecked()
    }

    fn loaders(&self) -> &Loaders {
        self.data_unchecked()
    }

    fn viewer(&self) -> Result<Viewer> {
        match self.caller().identity {
            Identity::SignedIn(viewer) => Ok(viewer),
            Identity::Anonymous => Err(Error::unauthenticated("Sign in first.")),
            Identity::Rejected(reason) => Err(Error::unauthenticated(reason)),
        }
    }
}
