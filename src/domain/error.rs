//! The errors of the domain. `graphql::error` turns each variant into an error of the API with a code.

use std::fmt;
use std::time::Duration;

use crate::error::Error as Internal;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of the domain. It has no `Display`, so that only `graphql::error` can turn it into a message for clients.
#[derive(Debug)]
pub enum Error {
    /// The input violates these rules.
    Invalid(Vec<Violation>),
    /// No user is signed in, or the credentials are wrong.
    Unauthenticated(&'static str),
    /// The viewer may see the object, but has no permission for this action.
    Forbidden(&'static str),
    /// The change needs a session whose user has confirmed their identity in the last minutes. Clients get the reason
    /// in `extensions.reason`.
    ConfirmationRequired,
    /// The first factor of a sign-in is right, and the account needs a second one.
    FactorRequired(FactorChallenge),
    /// The object does not exist, or the viewer has no permission to know that it exists.
    NotFound(&'static str),
    /// The value is already taken, or another request has changed the object in the meantime.
    Conflict(Violation),
    /// The action is not possible in the current state of a call. Clients get the reason in `extensions.reason`.
    CallConflict(CallConflict, Violation),
    /// A limit is exceeded. The fields are the name of its setting, the time after which a retry makes sense, and the
    /// message.
    RateLimited(&'static str, Duration, &'static str),
    /// The server cannot finish the request now, for example because of its load. A later retry may succeed.
    Overloaded(&'static str),
    Internal(Internal),
}

/// The challenge of a sign-in that needs a second factor.
#[derive(Clone)]
pub struct FactorChallenge {
    /// Token that the client sends together with the second factor.
    pub token: String,
    /// The factors of the account.
    pub factors: Vec<FactorKind>,
}

/// A way to prove an identity with a second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactorKind {
    /// A code of the authenticator app.
    Totp,
    RecoveryCode,
    /// A sign-in with a passkey, instead of the challenge.
    Passkey,
}

/// Leaves out the token, so that no log gets it.
impl fmt::Debug for FactorChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FactorChallenge").field("factors", &self.factors).finish_non_exhaustive()
    }
}

/// Reason why an action is not possible in the current state of a call or its users. `graphql::error` documents the
/// reasons.
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

/// Error if the conversation does not exist or the viewer is not a participant. The error is the same in both cases, so
/// that users cannot learn which conversations exist.
pub(super) const NO_CONVERSATION: Error = Error::NotFound("No such conversation. `viewer.conversations` lists yours.");

/// Error if the message does not exist or the viewer has no permission to see it.
pub(super) const NO_MESSAGE: Error =
    Error::NotFound("No such message. `conversation.messages` lists those that you may see.");

/// Error if the user does not exist.
pub(super) const NO_USER: Error = Error::NotFound("No such user. `searchUsers` finds users.");

/// Error if the viewer blocks the user at whom the action is directed.
pub(super) const BLOCKING: Error = Error::Forbidden("You have blocked this user. Unblock them first.");

/// A rule that one field of the input violates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the input field or argument, such as `username` or `participantIds.3`.
    pub path: String,
    /// Message that a client can show to its user.
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
