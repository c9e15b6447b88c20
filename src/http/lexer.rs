//! Splits the text of a document into tokens (GraphQL specification, section 2.1), without parsing it.

/// Returns the first byte of each token. Comments, commas and white space are not tokens.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        while let Some((&byte, after)) = rest.split_first() {
            rest = match byte {
                b'"' => after_string(rest),
                b'.' => rest.strip_prefix(b"...").unwrap_or(after),
                b'_' | b'a'..=b'z' | b'A'..=b'Z' => skip(after, |byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                b'-' | b'0'..=b'9' => after_number(rest),
                b'#' => {
                    rest = skip(after, |byte| !matches!(byte, b'\n' | b'\r'));
                    continue;
                }
                b',' | b' ' | b'\t' | b'\r' | b'\n' => {
                    rest = after;
                    continue;
                }
                _ => after,
            };
            return Some(byte);
        }
        None
    })
}

/// Returns the bytes after the number at the beginning of `bytes`. The parser needs no separator between two numbers:
/// `1-1` is two numbers, and so is `00`.
fn after_number(bytes: &[u8]) -> &[u8] {
    let digits = |bytes| skip(bytes, |byte| byte.is_ascii_digit());
    let rest = match bytes.strip_prefix(b"-").unwrap_or(bytes) {
        [b'0', after @ ..] => after,
        rest => digits(rest),
    };
    let rest = match rest {
        [b'.', b'0'..=b'9', after @ ..] => digits(after),
        _ => rest,
    };
    match rest {
        [b'e' | b'E', b'0'..=b'9', after @ ..] | [b'e' | b'E', b'+' | b'-', b'0'..=b'9', after @ ..] => digits(after),
        _ => rest,
    }
}

fn skip(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> &[u8] {
    bytes.iter().position(|&byte| !belongs(byte)).map_or(&[], |end| &bytes[end..])
}

/// Returns the bytes after the string or block string at the beginning of `bytes`.
fn after_string(bytes: &[u8]) -> &[u8] {
    const BLOCK: &[u8] = b"\"\"\"";
    if let Some(mut rest) = bytes.strip_prefix(BLOCK) {
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(BLOCK) {
                return after;
            }
            rest = rest.strip_prefix(b"\\\"\"\"").unwrap_or(&rest[1..]);
        }
        // The parser reads the first two quotes of an unclosed block string as an empty string, and continues after
        // them.
        return &bytes[2..];
    }
    let mut rest = &bytes[1..];
    loop {
        rest = match rest {
            [b'"', after @ ..] => return after,
            [b'\\', _, after @ ..] | [_, after @ ..] => after,
            [] => return rest,
        };
    }
}
