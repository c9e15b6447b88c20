//! The address of a client behind proxies.
//!
//! A proxy appends the address from which it was called to `X-Forwarded-For`, or to `Forwarded` (RFC 7239). The entries
//! are read from the right, because the client may have written everything to the left of the first untrusted address.
//!
//! `X-Forwarded-For` wins if a request has both headers. Most proxies write only `X-Forwarded-For` and pass `Forwarded`
//! on unchanged. A proxy that writes `Forwarded` must therefore remove `X-Forwarded-For`.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use crate::address::{ClientAddress, Networks};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Maximum number of entries that are read, from the right. A request passes fewer proxies, and the other entries of a
/// longer list are ignored.
const MAX_ENTRIES: usize = 32;

/// Maximum bytes of one entry. The longest useful entry has an IPv6 address, a protocol and two host names of 253
/// bytes.
const MAX_ENTRY_BYTES: usize = 1024;

/// Returns the address of the client that sent a request: the address of the TCP peer, unless the peer is a trusted
/// proxy.
///
/// If the peer is a trusted proxy, the client's address is the rightmost address in the header that is not a trusted
/// proxy's. An entry that is not an address, such as `unknown` or `_hidden`, ends the search, and the address to the
/// right of that entry counts.
pub(super) fn client_address(headers: &HeaderMap, peer: SocketAddr, trusted: &Networks) -> ClientAddress {
    let mut client = ClientAddress::from(peer.ip());
    if !trusted.contains(client) {
        return client;
    }
    let plain = headers.contains_key(X_FORWARDED_FOR);
    let values = headers.get_all(if plain { X_FORWARDED_FOR } else { header::FORWARDED }).iter().rev();
    for entry in values.flat_map(|value| FromRight(Some(value.as_bytes()))).take(MAX_ENTRIES) {
        match entry {
            // RFC 9110, section 5.6.1.2: a list may have empty entries, which mean nothing.
            Some([]) => {}
            Some(entry) => match if plain { node(entry) } else { element(entry) } {
                Some(address) => client = address.into(),
                None => return client,
            },
            None => return client,
        }
        if !trusted.contains(client) {
            return client;
        }
    }
    client
}

/// Iterates over the entries of a list from the last to the first, without the white space around them. An entry that
/// is too long, or whose quotes are not closed, is None.
///
/// The text is scanned backwards, so that an open quote in the client's part cannot hide what a proxy appended.
struct FromRight<'a>(Option<&'a [u8]>);

impl<'a> Iterator for FromRight<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0.take()?;
        let mut quoted = false;
        for (index, byte) in text.iter().enumerate().rev() {
            if text.len() - index > MAX_ENTRY_BYTES {
                return Some(None);
            }
            match byte {
                b'"' if !(quoted && is_escaped(&text[..index])) => quoted = !quoted,
                b',' if !quoted => {
                    self.0 = Some(&text[..index]);
                    return Some(Some(text[index + 1..].trim_ascii()));
                }
                _ => {}
            }
        }
        Some((!quoted).then(|| text.trim_ascii()))
    }
}

/// Whether the text before a byte ends with an odd number of backslashes, so that the byte is literal. Counts at most
/// MAX_ENTRY_BYTES backslashes, because no useful text has more.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take(MAX_ENTRY_BYTES).take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// Returns the address in one element of `Forwarded`, such as `for="[2001:db8::17]:4711";proto=https`.
fn element(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let mut found = None;
    for pair in Pairs(text) {
        let Some((name, value)) = pair.split_once('=') else { continue };
        // RFC 7239, section 4: a parameter occurs at most once.
        if name.trim().eq_ignore_ascii_case("for") && found.replace(value.trim()).is_some() {
            return None;
        }
    }
    node(unquoted(found?)?.as_bytes())
}

/// Iterates over the parts of an element. The separators are semicolons that are not in quotes.
struct Pairs<'a>(&'a str);

impl<'a> Iterator for Pairs<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = self.0.bytes().position(|byte| {
            let literal = std::mem::take(&mut escaped);
            match byte {
                _ if literal => {}
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b';' => return !quoted,
                _ => {}
            }
            false
        });
        let (pair, rest) = end.map_or((self.0, ""), |end| (&self.0[..end], &self.0[end + 1..]));
        self.0 = rest;
        Some(pair)
    }
}

/// Returns the text of a quoted string (RFC 9110, section 5.6.4), or the text itself if it has no quotes.
fn unquoted(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix('"') else { return Some(value.into()) };
    let inner = inner.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(inner.into());
    }
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.push(if character == '\\' { characters.next()? } else { character });
    }
    Some(text.into())
}

/// Parses the address of a node (RFC 7239, section 6), with or without a port. As in `X-Forwarded-For`, an IPv6 address
/// without a port needs no brackets.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return fits.then(|| address.parse().ok().map(IpAddr::V6))?;
    }
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = text.split_once(':')?;
    is_port(port).then(|| address.parse::<Ipv4Addr>().ok().map(IpAddr::V4))?
}

/// Whether the text is a port: up to five digits, or an obfuscated port such as `_http`.
fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)),
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const TRUSTED: &str = "10.0.0.0/8, fd00::/8";

    /// Returns the client's address for a request from 10.0.0.1, a trusted proxy, with these header lines.
    fn client(lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let peer = SocketAddr::from(([10, 0, 0, 1], 4711));
        client_address(&headers, peer, &TRUSTED.parse().unwrap()).to_string()
    }

    #[test]
    fn x_forwarded_for_names_the_client() {
        for (value, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:51008", "203.0.113.7"),
            ("203.0.113.7:_web", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("[2001:DB8::7]:51008", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
            // The address on the left is the one that the client itself claims.
            ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("198.51.100.1,203.0.113.7:1 ,\t10.0.0.2, fd00::2", "203.0.113.7"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            (", 203.0.113.7, ,", "203.0.113.7"),
            // An entry that is not an address ends the search.
            ("unknown", "10.0.0.1"),
            ("", "10.0.0.1"),
            ("203.0.113.7, unknown", "10.0.0.1"),
            ("203.0.113.7, _hidden, 10.0.0.2", "10.0.0.2"),
            ("203.0.113.7, ü, fd00::2", "fd00::2"),
            ("203.0.113.7:", "10.0.0.1"),
            ("203.0.113.7:123456", "10.0.0.1"),
            ("203.0.113.07", "10.0.0.1"),
            ("[203.0.113.7]", "10.0.0.1"),
            ("[2001:db8::7", "10.0.0.1"),
            ("[2001:db8::7]80", "10.0.0.1"),
            ("2001:db8::7%eth0", "10.0.0.1"),
            ("203.0.113.7, \"", "10.0.0.1"),
        ] {
            assert_eq!(client(&[("x-forwarded-for", value)]), expected, "{value}");
        }
    }

    #[test]
    fn forwarded_names_the_client() {
        for (value, expected) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("FOR=\"203.0.113.7:51008\";proto=https", "203.0.113.7"),
            ("proto=https; For=\"[2001:db8:cafe::17]:4711\" ;by=10.0.0.1", "2001:db8:cafe::17"),
            ("for=\"[2001:db8:cafe::17]\"", "2001:db8:cafe::17"),
            ("for=\"[2001:db8::17]:_ws\"", "2001:db8::17"),
            ("for=\"203.0.113\\.7\"", "203.0.113.7"),
            ("host=\"a,b;for=198.51.100.1\";for=203.0.113.7", "203.0.113.7"),
            ("for=198.51.100.1, for=203.0.113.7;by=10.0.0.2, for=10.0.0.2", "203.0.113.7"),
            // An open quote of the client does not hide what a proxy appends.
            ("for=\"198.51.100.1, for=203.0.113.7", "203.0.113.7"),
            ("for=198.51.100.1, for=\"198.51.100.2, for=10.0.0.2", "10.0.0.2"),
            ("x=\"\\\\\", for=203.0.113.7", "203.0.113.7"),
            ("for=198.51.100.1, x=\"\\\"\";for=10.0.0.2", "198.51.100.1"),
            ("for=unknown", "10.0.0.1"),
            ("for=198.51.100.1, for=_hidden, for=10.0.0.2", "10.0.0.2"),
            ("for=\"_gazonk:80\"", "10.0.0.1"),
            ("by=203.0.113.7", "10.0.0.1"),
            ("for=203.0.113.7;for=203.0.113.8", "10.0.0.1"),
            ("203.0.113.7", "10.0.0.1"),
            ("for=\"203.0.113.7", "10.0.0.1"),
        ] {
            assert_eq!(client(&[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn lines_of_one_header_are_one_list() {
        let lines = ["198.51.100.1, 203.0.113.7", "10.0.0.3", "10.0.0.2"].map(|value| ("x-forwarded-for", value));
        assert_eq!(client(&lines), "203.0.113.7");
        let lines = ["for=203.0.113.7", "for=10.0.0.3, for=10.0.0.2"].map(|value| ("forwarded", value));
        assert_eq!(client(&lines), "203.0.113.7");
    }

    #[test]
    fn x_forwarded_for_wins_over_forwarded() {
        let forwarded = ("forwarded", "for=198.51.100.1");
        assert_eq!(client(&[forwarded, ("x-forwarded-for", "203.0.113.7")]), "203.0.113.7");
        assert_eq!(client(&[forwarded, ("x-forwarded-for", "unknown")]), "10.0.0.1");
        assert_eq!(client(&[forwarded]), "198.51.100.1");
    }

    #[test]
    fn headers_from_an_untrusted_peer_are_ignored() {
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, HeaderValue::from_static("198.51.100.1"))]);
        let address = |peer: &str, trusted: &str| {
            client_address(&headers, SocketAddr::new(peer.parse().unwrap(), 1), &trusted.parse().unwrap()).to_string()
        };
        assert_eq!(address("203.0.113.9", TRUSTED), "203.0.113.9");
        assert_eq!(address("10.0.0.1", "none"), "10.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1", TRUSTED), "198.51.100.1");
        assert_eq!(address("::ffff:203.0.113.9", TRUSTED), "203.0.113.9");
    }

    #[test]
    fn long_lists_and_entries_end_the_search() {
        assert_eq!(client(&[("x-forwarded-for", &format!("203.0.113.7{}", ", 10.0.0.2".repeat(31)))]), "203.0.113.7");
        assert_eq!(client(&[("x-forwarded-for", &format!("203.0.113.7{}", ", 10.0.0.2".repeat(32)))]), "10.0.0.2");
        let commas = ",".repeat(100_000);
        assert_eq!(client(&[("x-forwarded-for", &format!("203.0.113.7{commas}"))]), "10.0.0.1");
        for filler in ["\"", "\\\"", "a", "\\", " "] {
            let long = filler.repeat(100_000);
            assert_eq!(client(&[("forwarded", &format!("for=203.0.113.7;x={long}"))]), "10.0.0.1", "{filler}");
        }
        let lines = vec![("x-forwarded-for", "10.0.0.2"); 10_000];
        assert_eq!(client(&lines), "10.0.0.2");
    }
}
