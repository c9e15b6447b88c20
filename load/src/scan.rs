//! Finds in an event the fields that count, without reading all of it.
//!
//! Quotes within a JSON string are escaped, so that a name between bare quotes and before a colon is a member's.

use memchr::memmem;

/// Whether it brings a message.
pub fn is_message(event: &[u8]) -> bool {
    memmem::find(event, br#""MessageAdded""#).is_some()
}

/// The value of the first member of that name, given as `"name":`, where that is a plain string.
pub fn text<'a>(event: &'a [u8], member: &str) -> Option<&'a str> {
    let value = after(event, member)?.strip_prefix(b"\"")?;
    std::str::from_utf8(&value[..memchr::memchr(b'"', value)?]).ok()
}

/// The same, where that is a whole number.
pub fn number(event: &[u8], member: &str) -> Option<i32> {
    let value = after(event, member)?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

fn after<'a>(event: &'a [u8], member: &str) -> Option<&'a [u8]> {
    memmem::find(event, member.as_bytes()).map(|place| &event[place + member.len()..])
}

#[cfg(test)]
mod tests {
    use super::{is_message, number, text};

    #[test]
    fn fields_are_found() {
        let event = br#"{"type":"next","id":"inbox","payload":{"data":{"inbox":{"__typename":"MessageAdded","cursor":"ab","message":{"body":"\"number\":8","number":12,"clientId":"1-2-3-4"}}}}}"#;
        assert!(is_message(event));
        assert_eq!(number(event, "\"number\":"), Some(12));
        assert_eq!(text(event, "\"clientId\":"), Some("1-2-3-4"));
        assert_eq!(text(event, "\"cursor\":"), Some("ab"));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let event =
            br#"{"type":"next","payload":{"data":{"inbox":{"__typename":"CaughtUp","clientId":null,"number":"x"}}}}"#;
        assert!(!is_message(event));
        assert_eq!(number(event, "\"number\":"), None);
        assert_eq!(text(event, "\"clientId\":"), None);
        assert_eq!(text(event, "\"cursor\":"), None);
    }
}
