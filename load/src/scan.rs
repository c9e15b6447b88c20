//! Finds single fields in the JSON of an event without parsing all of it.
//!
//! Quotes within a JSON string are escaped, so `"name":` with bare quotes is always the name of a member.

use memchr::memmem;

/// Whether the event is a `MessageAdded`.
pub fn is_message(event: &[u8]) -> bool {
    memmem::find(event, br#""MessageAdded""#).is_some()
}

/// Returns the string value of the first member with a name. The parameter `member` is the name in the form `"name":`.
/// None if the value is not a string. Escapes are not decoded.
pub fn text<'a>(event: &'a [u8], member: &str) -> Option<&'a str> {
    let value = after(event, member)?.strip_prefix(b"\"")?;
    std::str::from_utf8(&value[..memchr::memchr(b'"', value)?]).ok()
}

/// Returns the integer value of the first member with a name. The parameter `member` is the name in the form `"name":`.
/// None if the value does not begin with a digit, or is too large.
pub fn number(event: &[u8], member: &str) -> Option<i32> {
    let value = after(event, member)?;
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&value[..digits]).ok()?.parse().ok()
}

fn after<'a>(event: &'a [u8], member: &str) -> Option<&'a [u8]> {
    memmem::find(event, member.as_bytes()).map(|index| &event[index + member.len()..])
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
    fn missing_fields_and_other_types_are_none() {
        let event =
            br#"{"type":"next","payload":{"data":{"inbox":{"__typename":"CaughtUp","clientId":null,"number":"x"}}}}"#;
        assert!(!is_message(event));
        assert_eq!(number(event, "\"number\":"), None);
        assert_eq!(text(event, "\"clientId\":"), None);
        assert_eq!(text(event, "\"cursor\":"), None);
    }
}
