//! The request data that resolvers use: the caller, the loaders, the deadline and the limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use async_graphql::Context;
use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::error::{Error, ErrorCode, Result};
use super::loaders::Loaders;
use crate::address::{ClientAddress, ClientNetwork};
use crate::domain::client::Client;
use crate::domain::{App, Reader, Viewer};
use crate::fair::Gone;
use crate::notices::Language;

/// The client that sent the request: its identity and its address.
#[derive(Clone, Debug)]
pub struct Caller {
    pub identity: Identity,
    /// Address of the client. None for an execution that renders events for several subscribers.
    pub ip_address: Option<ClientAddress>,
    /// Key by which the limits for each address count this client. None if these limits are off, if the
    /// request is a trusted proxy's own, or if the execution renders an event for several subscribers.
    pub network: Option<ClientNetwork>,
    /// The languages that the client prefers, as `Accept-Language` of its request says.
    pub language: Language,
}

#[derive(Clone, Copy, Debug)]
pub enum Identity {
    Anonymous,
    SignedIn(Viewer),
    /// The access token of the request is invalid. The text says why. Fields that need no viewer still work, such as
    /// `refreshSession`.
    Rejected(&'static str),
}

impl Caller {
    /// Returns the viewer. Fails with UNAUTHENTICATED if no user is signed in.
    pub(super) fn viewer(&self) -> Result<Viewer> {
        match self.identity {
            Identity::SignedIn(viewer) => Ok(viewer),
            Identity::Anonymous => Err(Error::not_signed_in()),
            Identity::Rejected(reason) => Err(Error::unauthenticated(reason)),
        }
    }
}

/// Data of an execution without a viewer, whose result is shared by several viewers. Records whether a resolver asked
/// for the viewer, and how long the result may be cached.
#[derive(Clone)]
pub struct Sharing(Arc<Shared>);

struct Shared {
    viewer_asked: AtomicBool,
    /// Unix time in seconds at which the cached result expires. `i64::MAX` if it never expires.
    expires_at: AtomicI64,
}

impl Default for Sharing {
    fn default() -> Self {
        Self(Arc::new(Shared { viewer_asked: AtomicBool::new(false), expires_at: AtomicI64::new(i64::MAX) }))
    }
}

impl Sharing {
    /// Returns whether a resolver asked for the viewer. If so, the result must not be shared.
    pub fn failed(&self) -> bool {
        self.0.viewer_asked.load(Ordering::SeqCst)
    }

    /// Returns when the cached result expires. None if the result never expires.
    pub fn expires_at(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.0.expires_at.load(Ordering::SeqCst), 0)
    }
}

/// Deadline of an execution. At that time the client gets an error, and no further root field starts.
#[derive(Clone, Copy)]
pub struct Deadline(pub Instant);

/// Data of an execution: counts the bytes of long texts in the response, up to a limit.
pub struct AnswerBytes {
    limit: u64,
    used: AtomicU64,
}

impl AnswerBytes {
    /// Makes the counter of one response. `limit` is the setting OPERATION_MAX_ANSWER_BYTES.
    pub const fn new(limit: u64) -> Self {
        Self { limit, used: AtomicU64::new(0) }
    }
}

pub(super) trait ContextExt {
    fn app(&self) -> &App;
    fn caller(&self) -> &Caller;
    /// Returns the client that waits for the response.
    fn client(&self) -> Client;
    fn loaders(&self) -> &Loaders;
    /// Returns the viewer. Fails with UNAUTHENTICATED if no user is signed in, and with UNAVAILABLE after the deadline
    /// of the operation.
    fn viewer(&self) -> Result<Viewer>;
    /// Returns for whom rows are read: for the viewer of a request, or for the recipients of an event.
    fn reader(&self) -> Result<Reader>;
    /// Checks the deadline of the operation, for root fields that do not call `viewer`. Fails with UNAVAILABLE after
    /// the deadline.
    fn check_deadline(&self) -> Result<()>;
    /// Returns the text, and counts its bytes. Fails with OPERATION_TOO_COMPLEX if the long texts of the response
    /// exceed the limit.
    fn long_text<'a>(&self, text: &'a str) -> Result<&'a str>;
    /// Limits how long a shared result may be cached: until `at`, when a value in it expires, such as a signed URL.
    fn limit_cache_time(&self, at: DateTime<Utc>);
}

impl ContextExt for Context<'_> {
    fn app(&self) -> &App {
        self.data_unchecked()
    }

    fn caller(&self) -> &Caller {
        self.data_unchecked()
    }

    fn client(&self) -> Client {
        let Caller { network, language, .. } = self.caller();
        let gone = self.data_opt::<Gone>().cloned().unwrap_or_default();
        Client { network: *network, gone, language: language.clone() }
    }

    fn loaders(&self) -> &Loaders {
        self.data_unchecked()
    }

    fn viewer(&self) -> Result<Viewer> {
        if let Some(Sharing(shared)) = self.data_opt() {
            shared.viewer_asked.store(true, Ordering::SeqCst);
            return Err(Error::unauthenticated(
                "This field depends on the viewer. Send the access token as `Authorization: Bearer …`.",
            ));
        }
        if self.data_opt().is_some_and(|Deadline(deadline)| Instant::now() >= *deadline) {
            return Err(Error::new(
                ErrorCode::Unavailable,
                "The operation took too long, and this field was not executed. Ask for less at once, or try again.",
            ));
        }
        self.caller().viewer()
    }

    fn reader(&self) -> Result<Reader> {
        if self.loaders().are_for_streams() {
            return Ok(Reader::Recipients);
        }
        Ok(Reader::User(self.viewer()?.user))
    }

    fn check_deadline(&self) -> Result<()> {
        if self.data_opt().is_some_and(|Deadline(deadline)| Instant::now() >= *deadline) {
            return Err(Error::new(
                ErrorCode::Unavailable,
                "The operation took too long, and this field was not executed. Ask for less at once, or try again.",
            ));
        }
        Ok(())
    }

    fn long_text<'a>(&self, text: &'a str) -> Result<&'a str> {
        let Some(AnswerBytes { limit, used }) = self.data_opt() else { return Ok(text) };
        let bytes = text.len() as u64;
        if used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > *limit {
            let message = format!("The texts of an answer have at most {limit} bytes. Ask for fewer messages at once.");
            return Err(Error::new(ErrorCode::OperationTooComplex, message));
        }
        Ok(text)
    }

    fn limit_cache_time(&self, at: DateTime<Utc>) {
        if let Some(Sharing(shared)) = self.data_opt() {
            shared.expires_at.fetch_min(at.timestamp(), Ordering::SeqCst);
        }
    }
}
