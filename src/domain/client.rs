//! The client of a request, as far as the rules need to know it.

use crate::address::ClientNetwork;
use crate::fair::Gone;

/// A client that waits for the answer to a request.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Key that limits by address count by. None if they do not apply to this client.
    pub network: Option<ClientNetwork>,
    pub gone: Gone,
}
