//! Why a request was not done. Each variant is one code of the API; `graphql::error` gives it its words.

use std::time::Duration;

use crate::error::Error as Internal;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// No `Display`, on purpose: what a client reads is made in one place.
#[derive(Debug)]
pub enum Error {
    /// The input breaks these rules.
    Invalid(Vec<Violation>),
    /// Nobody is signed in, or the credentials are wrong.
    Unauthenticated(&'static str),
    /// Visible, but not the viewer's to do.
    Forbidden(&'static str),
    /// It does not exist, or the viewer may not know of it.
    NotFound(&'static str),
    /// Already taken, or changed meanwhile.
    Conflict(Violation),
    /// A conflict of calls, which clients tell from others by its reason.
    CallConflict(CallConflict, Violation),
    /// More than a setting allows: its name, when it is worth trying again, and why.
    RateLimited(&'static str, Duration, &'static str),
    /// More than the server can do now.
    Overloaded(&'static str),
    Internal(Internal),
}

/// Why a step does not fit the state of a call, or of its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallConflict {
    Over,
    Full,
    OnAnotherDevice,
    InAnotherCall,
    InThisCall,
    NotInThisCall,
}

impl CallConflict {
    pub const ALL: [Self; 6] =
        [Self::Over, Self::Full, Self::OnAnotherDevice, Self::InAnotherCall, Self::InThisCall, Self::NotInThisCall];
}

/// The conversation does not exist, or the viewer is not a participant. The answer is the same, so that nobody learns
/// which conversations exist.
pub(super) const NO_CONVERSATION: Error = Error::NotFound("No such conversation.");

/// The message does not exist, or the viewer may not see it.
pub(super) const NO_MESSAGE: Error = Error::NotFound("No such message.");

/// The viewer blocks the user that the action is for.
pub(super) const BLOCKING: Error = Error::Forbidden("You have blocked this user. Unblock them first.");

/// One rule broken by one field of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field within the input, or the argument, such as `username` or `participantIds.3`.
    pub path: String,
    /// Fit to show to a person.
    pub message: String,
}

impl Violation {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

impl Error {
    pub fn invalid(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(path, message)])
    }
}

impl<E: Into<Internal>> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Internal(error.into())
    }
}
