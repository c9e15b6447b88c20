//! What a resolver knows of the request it belongs to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// Data of an execution whose result goes to several viewers, and that has none: remembers whether one was asked for.
#[derive(Clone, Default)]
pub struct Sharing(Arc<AtomicBool>);

impl Sharing {
    /// Whether the result depends on who looks, and may not be shared.
    pub fn failed(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
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
        if let Some(Sharing(asked)) = self.data_opt() {
            asked.store(true, Ordering::SeqCst);
            return Err(Error::unauthenticated("This depends on who looks."));
        }
        match self.caller().identity {
            Identity::SignedIn(viewer) => Ok(viewer),
            Identity::Anonymous => Err(Error::unauthenticated("Sign in first.")),
            Identity::Rejected(reason) => Err(Error::unauthenticated(reason)),
        }
    }
}
