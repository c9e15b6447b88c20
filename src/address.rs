//! Addresses of clients, and lists of networks in the settings.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};

/// Number of leading bits by which IPv6 clients are counted. A provider assigns at least a /64 to each customer, and
/// the customer can use every address in this network.
const IPV6_PREFIX: u32 = 64;
/// Number of leading bits of a site of IPv6. Many providers assign a /48 to one customer, who then has 65,536 networks
/// of 64 bits (RFC 6177).
const SITE_PREFIX: u32 = 48;

/// Prefix length of `::ffff:0:0/96`, which holds the IPv4-mapped addresses (RFC 4291, section 2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

/// IP address of a client. An IPv4-mapped IPv6 address is stored as the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientAddress(IpAddr);

/// Key by which limits count clients: one IPv4 address, or one IPv6 network with a prefix of 64 bits. Some limits also
/// count the site, an IPv6 network with a prefix of 48 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientNetwork {
    /// First address of the network.
    address: IpAddr,
    /// Number of leading bits that all addresses of the network have in common.
    prefix: u32,
}

impl ClientAddress {
    pub fn ip(self) -> IpAddr {
        self.0
    }

    /// Returns the key by which limits count this client.
    pub fn network(self) -> ClientNetwork {
        match self.0 {
            IpAddr::V4(_) => ClientNetwork { address: self.0, prefix: Ipv4Addr::BITS },
            IpAddr::V6(address) => ClientNetwork::of_ipv6(address, IPV6_PREFIX),
        }
    }
}

impl ClientNetwork {
    fn of_ipv6(address: Ipv6Addr, prefix: u32) -> Self {
        let mask = u128::MAX << (Ipv6Addr::BITS - prefix);
        Self { address: IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask)), prefix }
    }

    /// Returns the site that contains this IPv6 network. None for an IPv4 address, and for a site.
    pub fn site(self) -> Option<Self> {
        match self.address {
            IpAddr::V6(address) if !self.is_site() => Some(Self::of_ipv6(address, SITE_PREFIX)),
            _ => None,
        }
    }

    pub fn is_site(self) -> bool {
        self.prefix == SITE_PREFIX
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Writes the address or the network, such as `203.0.113.7` or `2001:db8::/64`.
impl fmt::Display for ClientNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            IpAddr::V4(address) => address.fmt(f),
            IpAddr::V6(address) => write!(f, "{address}/{}", self.prefix),
        }
    }
}

/// A list of networks in the settings, such as those of the proxies in front of the server. The default contains no
/// network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether the list is empty.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, address: ClientAddress) -> bool {
        self.0.iter().any(|network| network.contains(&address.0))
    }
}

/// Reads networks in CIDR notation, single addresses, `loopback`, `private` and `none`, separated by commas.
impl FromStr for Networks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut networks = Vec::new();
        for word in text.split(',').map(str::trim) {
            match word {
                "none" => {}
                "loopback" => networks.extend(parsed(&["127.0.0.0/8", "::1/128"])),
                // Private networks of IPv4 (RFC 1918) and of IPv6 (RFC 4193).
                "private" => networks.extend(parsed(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"])),
                _ => networks.push(network(word).ok_or(
                    "allowed are none, loopback, private, addresses such as 10.0.0.7, and networks such as 10.0.0.0/8",
                )?),
            }
        }
        Ok(Self(networks))
    }
}

fn parsed(networks: &[&str]) -> impl Iterator<Item = IpNet> {
    networks.iter().filter_map(|text| network(text))
}

fn network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().ok()?,
    };
    Some(canonical(network).trunc())
}

/// Converts an IPv4-mapped network to its IPv4 network, because client addresses are stored in this form. Returns other
/// networks unchanged.
fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(mapped) = network
        && let Some(address) = mapped.addr().to_ipv4_mapped()
        && let Some(prefix) = mapped.prefix_len().checked_sub(MAPPED_PREFIX)
        && let Ok(network) = Ipv4Net::new(address, prefix)
    {
        return network.into();
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ClientAddress {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn addresses_are_canonical_and_counted_by_network() {
        for (text, shown, network) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7", "203.0.113.7"),
            ("2001:DB8:0:1::7", "2001:db8:0:1::7", "2001:db8:0:1::/64"),
            ("2001:db8:0:1:ffff::", "2001:db8:0:1:ffff::", "2001:db8:0:1::/64"),
            ("2001:db8:0:2::7", "2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ] {
            assert_eq!(address(text).to_string(), shown);
            assert_eq!(address(text).network().to_string(), network);
        }
        assert_eq!(address("2001:db8::1").network(), address("2001:db8::ffff:1").network());
        assert_ne!(address("2001:db8::1").network(), address("2001:db8:0:1::1").network());
    }

    #[test]
    fn an_ipv6_network_is_in_a_site_of_48_bits() {
        let site = |text: &str| address(text).network().site();
        assert_eq!(site("2001:db8:1:ffff::7").unwrap().to_string(), "2001:db8:1::/48");
        assert_eq!(site("2001:db8:1::1"), site("2001:db8:1:2::1"));
        assert_ne!(site("2001:db8:1::1"), site("2001:db8:2::1"));
        // The first network of a site has the same address as the site, but is another key.
        let network = address("2001:db8:1::1").network();
        assert_ne!(network.site().unwrap(), network);
        assert!(network.site().unwrap().is_site() && !network.is_site());
        assert_eq!(network.site().unwrap().site(), None);
        assert_eq!(site("203.0.113.7"), None);
        assert_eq!(site("::ffff:203.0.113.7"), None);
    }

    #[test]
    fn a_list_has_networks_addresses_and_words() {
        for (setting, inside, outside) in [
            ("none", &[][..], &["127.0.0.1", "10.0.0.1", "::1"][..]),
            ("10.0.0.7", &["10.0.0.7", "::ffff:10.0.0.7"], &["10.0.0.8"]),
            ("10.1.2.3/8, 2001:db8::/32", &["10.200.0.1", "2001:db8:1::1"], &["11.0.0.1", "2001:db9::1", "::1"]),
            ("loopback", &["127.0.0.1", "127.8.0.1", "::1"], &["10.0.0.1", "::2"]),
            ("private", &["10.0.0.1", "172.31.0.1", "192.168.3.4", "fd00::1"], &["127.0.0.1", "172.32.0.1", "fe80::1"]),
            ("::ffff:10.0.0.0/104", &["10.9.9.9"], &["11.0.0.1"]),
            ("0.0.0.0/0", &["203.0.113.7"], &["2001:db8::1"]),
        ] {
            let listed: Networks = setting.parse().unwrap();
            assert!(inside.iter().all(|text| listed.contains(address(text))), "{setting}");
            assert!(!outside.iter().any(|text| listed.contains(address(text))), "{setting}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0", "proxy.example.org", "10.0.0.1,,10.0.0.2", "fe80::1%eth0"] {
            assert!(wrong.parse::<Networks>().unwrap_err().starts_with("allowed"), "{wrong}");
        }
    }
}
