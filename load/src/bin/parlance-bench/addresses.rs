//! Addresses of clients, which the bench sends in `X-Forwarded-For`.

use std::net::Ipv4Addr;

/// First address of 198.18.0.0/15, the network for measurements (RFC 2544). It has 131,072 addresses.
const FIRST: u32 = 0xc612_0000;

/// Hands out addresses, each of them once.
#[derive(Default)]
pub(super) struct Addresses(u32);

impl Addresses {
    pub(super) fn take(&mut self) -> Ipv4Addr {
        let address = Ipv4Addr::from_bits(FIRST + self.0);
        self.0 += 1;
        address
    }
}

#[cfg(test)]
mod tests {
    use super::Addresses;

    #[test]
    fn each_address_is_handed_out_once() {
        let mut addresses = Addresses::default();
        let taken = [addresses.take(), addresses.take()].map(|address| address.to_string());
        assert_eq!(taken, ["198.18.0.0", "198.18.0.1"]);
    }
}
