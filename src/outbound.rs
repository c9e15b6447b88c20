//! Requests to other servers: a guard for hosts that clients choose, and functions that read answers.
//!
//! A client that chooses the host of a request could make the server call services of its own network. So the guard
//! allows only public addresses and the networks that the operator lists. It checks the addresses to which a name
//! resolves for each connection, because a name can resolve to another address every time.

use std::error::Error;
use std::iter;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ipnet::{Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::address::Networks;

/// The name of the server in its requests.
const AGENT: &str = concat!("Parlance/", env!("CARGO_PKG_VERSION"));
/// Maximum time to resolve the host of a URL that is checked.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of idle connections to one host that clients have chosen.
const IDLE_PER_HOST: usize = 4;
/// Time after which an idle connection to such a host is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Networks of IPv4 that are not public: the IANA registry of special-purpose addresses (RFC 6890), multicast
/// (RFC 5771) and the reserved class E (RFC 1112).
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];
/// The global unicast addresses of IPv6 (RFC 4291, section 2.4). All other addresses are refused, such as loopback,
/// unique local, link-local and multicast addresses.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0], 3);
/// Networks inside [`GLOBAL_V6`] that are not public, by the IANA registry: protocol assignments with Teredo
/// (RFC 2928), documentation (RFC 3849 and RFC 9637) and 6to4, which leads to any IPv4 address (RFC 3056).
const SPECIAL_V6: [Ipv6Net; 4] =
    [v6([0x2001, 0], 23), v6([0x2001, 0x0db8], 32), v6([0x2002, 0], 16), v6([0x3fff, 0], 20)];
/// Addresses of NAT64 (RFC 6052, section 2.1). Their last 32 bits are the IPv4 address to which they lead. Servers
/// without IPv4 reach hosts without IPv6 by these addresses.
const NAT64: Ipv6Net = v6([0x0064, 0xff9b], 96);

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

/// Returns the network whose first address has these segments, and zeros after them.
const fn v6([first, second]: [u16; 2], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// Sends requests to hosts that clients choose. Follows no redirects and uses no proxy, because a proxy would resolve
/// the names itself. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    encrypted: Lane,
    plain: Lane,
}

/// The requests with TLS, or those without.
#[derive(Clone)]
struct Lane {
    client: Client,
    guard: Guard,
}

/// The addresses to which a connection may lead.
#[derive(Clone)]
struct Guard {
    /// Networks of the operator.
    listed: Arc<Networks>,
    /// Whether public addresses are allowed too.
    allows_public: bool,
}

/// Reason why the server sends no request to a URL. The text is a sentence for the client that chose the URL. It does
/// not say whether a name of a private network exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("The URL must begin with https://.")]
    NotEncrypted,
    #[error("The URL must not have a user name or a password.")]
    UserInfo,
    #[error("The server finds no public address for the host of the URL.")]
    NoPublicAddress,
}

impl Outbound {
    /// Prepares the connections. `allowed` are private networks that requests may reach, also without TLS. `deadline`
    /// is the maximum time of a request with its answer.
    pub fn new(allowed: Networks, deadline: Duration) -> reqwest::Result<Self> {
        let listed = Arc::new(allowed);
        let lane = |allows_public| -> reqwest::Result<Lane> {
            let guard = Guard { listed: Arc::clone(&listed), allows_public };
            let builder = client_builder(deadline).no_proxy().dns_resolver(guard.clone());
            let client = builder.pool_max_idle_per_host(IDLE_PER_HOST).pool_idle_timeout(IDLE_TIMEOUT).build()?;
            Ok(Lane { client, guard })
        };
        Ok(Self { encrypted: lane(true)?, plain: lane(false)? })
    }

    /// Checks a URL, and resolves its host. A later request checks the addresses again.
    pub async fn check(&self, url: &Url) -> Result<(), Refusal> {
        let lane = self.lane(url)?;
        if literal(url).is_some() {
            return Ok(());
        }
        let host = url.host_str().unwrap_or_default();
        match timeout(LOOKUP_TIMEOUT, lane.guard.lookup(host)).await {
            Ok(Ok(_)) => Ok(()),
            // Without TLS even a public address is refused, so the client gets the reason that it can change.
            _ if !lane.guard.allows_public => Err(Refusal::NotEncrypted),
            _ => Err(Refusal::NoPublicAddress),
        }
    }

    /// Begins a POST request, if its URL is allowed. If the host resolves only to addresses that are not allowed, the
    /// request fails as if the host did not exist.
    pub fn post(&self, url: Url) -> Result<RequestBuilder, Refusal> {
        Ok(self.lane(&url)?.client.post(url))
    }

    /// Returns the lane of the URL. Checks everything except the addresses of a name.
    fn lane(&self, url: &Url) -> Result<&Lane, Refusal> {
        let lane = match url.scheme() {
            "https" => &self.encrypted,
            "http" => &self.plain,
            _ => return Err(Refusal::NotEncrypted),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::UserInfo);
        }
        // The connector does not ask the resolver about an address.
        match literal(url) {
            Some(address) if !lane.guard.allows(address) && lane.guard.allows_public => Err(Refusal::NoPublicAddress),
            Some(address) if !lane.guard.allows(address) => Err(Refusal::NotEncrypted),
            None if !lane.guard.allows_public && lane.guard.listed.is_none() => Err(Refusal::NotEncrypted),
            _ => Ok(lane),
        }
    }
}

impl Guard {
    fn allows(&self, address: IpAddr) -> bool {
        self.listed.contains(address.into()) || self.allows_public && is_public(address)
    }

    /// Resolves a name. Returns only allowed addresses, and at least one.
    async fn lookup(&self, host: &str) -> Result<Vec<SocketAddr>, Refusal> {
        let found = lookup_host((host, 0)).await.map_err(|_| Refusal::NoPublicAddress)?;
        let allowed: Vec<_> = found.filter(|address| self.allows(address.ip())).collect();
        if allowed.is_empty() { Err(Refusal::NoPublicAddress) } else { Ok(allowed) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found = guard.lookup(name.as_str()).await;
            found
                .map(|addresses| Box::new(addresses.into_iter()) as Addrs)
                .map_err(|refusal| Box::new(refusal) as Box<dyn Error + Send + Sync>)
        })
    }
}

/// Returns the address if the host of the URL is an address. The parser of URLs has converted all forms of IPv4
/// addresses, such as `0x7f.1` and `017700000001`, to four decimal numbers.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) if NAT64.contains(&address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(Ipv4Addr::new(a, b, c, d).into())
        }
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !SPECIAL_V6.iter().any(|network| network.contains(&address))
        }
    }
}

/// Returns the settings of clients for requests to other servers: they have this deadline and follow no redirects.
pub fn client_builder(deadline: Duration) -> ClientBuilder {
    untimed_client_builder().timeout(deadline)
}

/// Like `client_builder`, for a caller that limits the time of each request itself.
pub fn untimed_client_builder() -> ClientBuilder {
    Client::builder().redirect(Policy::none()).user_agent(AGENT)
}

/// Reads the body of an answer. Returns None if it has more than `limit` bytes.
pub async fn body(response: &mut Response, limit: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Ok(None);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Some(body))
}

/// Reads at most `limit` bytes of the body of an answer, and drops the rest. A body that ends early is returned as far
/// as it was read.
pub async fn beginning(mut response: Response, limit: usize) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let free = limit - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(free)]);
        if body.len() == limit {
            break;
        }
    }
    body
}

/// Whether a request that was answered with this status may succeed later.
pub fn is_temporary(status: StatusCode) -> bool {
    status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): a number of seconds, or a date.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    Some(httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default())
}

/// Returns the text of an error with the texts of its causes, which the `Display` of reqwest omits. Leaves out the
/// address, which can contain a secret.
pub fn with_causes(error: reqwest::Error) -> String {
    causes(&error.without_url())
}

/// Returns the text of an error with the texts of its causes.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbound(allowed: &str) -> Outbound {
        Outbound::new(allowed.parse().unwrap(), Duration::from_secs(5)).unwrap()
    }

    /// Returns the refusal of a URL whose host is an address.
    fn refusal(outbound: &Outbound, url: &str) -> Option<Refusal> {
        outbound.lane(&Url::parse(url).unwrap()).err()
    }

    #[test]
    fn only_public_addresses_are_public() {
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2606:4700:4700::1111",
            "2001:200::1",
            "2003::1",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for special in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
    }

    #[test]
    fn all_forms_of_an_address_in_a_url_are_checked() {
        let outbound = outbound("none");
        for private in [
            "https://127.0.0.1/",
            "https://127.0.0.1./",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://017700000001/",
            "https://%31%32%37.0.0.1/",
            "https://１２７.0.0.1/",
            "https://0/",
            "https://169.254.169.254/latest/meta-data",
            "https://[::1]/",
            "https://[::]/",
            "https://[0:0:0:0:0:ffff:7f00:1]/",
            "https://[::ffff:10.0.0.1]:8443/",
            "https://[64:ff9b::10.0.0.1]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
        ] {
            assert_eq!(refusal(&outbound, private), Some(Refusal::NoPublicAddress), "{private}");
        }
        for public in ["https://1.1.1.1/", "https://[2606:4700:4700::1111]/", "https://push.example.org/"] {
            assert_eq!(refusal(&outbound, public), None, "{public}");
        }
    }

    #[test]
    fn a_url_has_tls_and_no_password() {
        let outbound = outbound("none");
        for plain in ["http://push.example.org/", "http://1.1.1.1/", "http://127.0.0.1/", "ftp://push.example.org/"] {
            assert_eq!(refusal(&outbound, plain), Some(Refusal::NotEncrypted), "{plain}");
        }
        for named in ["https://ada@push.example.org/", "https://ada:secret@push.example.org/", "https://:x@1.1.1.1/"] {
            assert_eq!(refusal(&outbound, named), Some(Refusal::UserInfo), "{named}");
        }
    }

    #[test]
    fn listed_networks_are_allowed_also_without_tls() {
        let outbound = outbound("10.1.0.0/16, loopback");
        for allowed in ["https://10.1.2.3/", "http://10.1.2.3:8080/", "http://[::1]/", "http://[::ffff:10.1.2.3]/"] {
            assert_eq!(refusal(&outbound, allowed), None, "{allowed}");
        }
        assert_eq!(refusal(&outbound, "https://10.2.0.1/"), Some(Refusal::NoPublicAddress));
        for plain in ["http://10.2.0.1/", "http://1.1.1.1/"] {
            assert_eq!(refusal(&outbound, plain), Some(Refusal::NotEncrypted), "{plain}");
        }
    }

    #[tokio::test]
    async fn a_name_is_checked_by_its_addresses() {
        let check = async |allowed: &str, url: &str| outbound(allowed).check(&Url::parse(url).unwrap()).await;
        assert_eq!(check("none", "https://localhost/").await, Err(Refusal::NoPublicAddress));
        assert_eq!(check("none", "http://localhost/").await, Err(Refusal::NotEncrypted));
        assert_eq!(check("10.0.0.0/8", "http://localhost/").await, Err(Refusal::NotEncrypted));
        assert_eq!(check("loopback", "https://localhost/").await, Ok(()));
        assert_eq!(check("loopback", "http://localhost/").await, Ok(()));
        assert_eq!(check("none", "https://name.invalid/").await, Err(Refusal::NoPublicAddress));
    }

    #[tokio::test]
    async fn a_request_connects_only_to_allowed_addresses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // The connector asks the resolver, which knows no allowed address.
        let encrypted = Url::parse(&format!("https://localhost:{port}/")).unwrap();
        let error = outbound("none").post(encrypted).unwrap().send().await.unwrap_err();
        assert!(error.is_connect(), "{error:?}");
        assert!(with_causes(error).contains(&Refusal::NoPublicAddress.to_string()));
        let plain = Url::parse(&format!("http://localhost:{port}/")).unwrap();
        let error = outbound("10.0.0.0/8").post(plain.clone()).unwrap().send().await.unwrap_err();
        assert!(with_causes(error).contains(&Refusal::NoPublicAddress.to_string()));
        let outbound = outbound("127.0.0.1");
        let (sent, accepted) = tokio::join!(
            timeout(Duration::from_millis(500), outbound.post(plain).unwrap().send()),
            timeout(Duration::from_secs(5), listener.accept()),
        );
        assert!(accepted.unwrap().is_ok() && sent.is_err(), "the connection is made, and nobody answers");
    }

    #[test]
    fn retry_after_is_a_number_of_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_mins(24_090_208);
        let read = |value: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, reqwest::header::HeaderValue::from_static(value))]);
            retry_after(&headers, now)
        };
        assert_eq!(read("7"), Some(Duration::from_secs(7)));
        assert_eq!(read("18446744073709551615"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:30 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(read("Wed, 21 Oct 2015 07:27:00 GMT"), Some(Duration::ZERO));
        for wrong in ["soon", "-1", "1.5", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
