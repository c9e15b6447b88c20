//! What the domain knows about the client of a request.

use crate::address::ClientNetwork;
use crate::fair::Gone;
use crate::notices::Language;

/// The client that waits for the response to a request.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Network of the client, by which all limits for each address count. None if these limits do not apply to the
    /// client.
    pub network: Option<ClientNetwork>,
    pub gone: Gone,
    /// The languages that the client prefers, for notices to its user.
    pub language: Language,
}
