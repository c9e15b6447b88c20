//! The client of a request, as far as the domain needs to know it.

use crate::address::ClientNetwork;
use crate::fair::Gone;

/// A client that waits for the answer to a request.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Network of the client, the key of all limits that count by address. None if they do not apply to this client.
    pub network: Option<ClientNetwork>,
    pub gone: Gone,
}
