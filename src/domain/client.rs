//! The client of a request, as far as the rules need to know it.

use crate::address::{ClientAddress, ClientNetwork};
use crate::fair::Gone;

/// A client that waits for the answer to a request.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// Address that the client calls from. The server itself has none.
    pub address: Option<ClientAddress>,
    pub gone: Gone,
}

impl Client {
    /// The key that shares of password work are counted by.
    pub(super) fn key(&self) -> Option<ClientNetwork> {
        self.address.map(ClientAddress::network)
    }
}
