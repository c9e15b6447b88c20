//! Splits the text of a document into tokens (GraphQL specification of September 2025, section 2.1).

const BLOCK_QUOTES: &str = "\"\"\"";
/// Maximum number of characters of a text that an error quotes.
const MAX_QUOTED: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Punctuator,
    Name,
    Number,
    String,
    /// The end of the document. `Tokens` does not return this kind.
    End,
}

#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    pub kind: Kind,
    /// Offset in the document, in bytes.
    pub start: usize,
    pub text: &'a str,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// A text that is not a token.
#[derive(Debug)]
pub struct LexicalError {
    /// Offset in the document, in bytes.
    pub offset: usize,
    /// The message says what is expected and what is found, such as "expected a number, found `1a`".
    pub message: String,
}

/// The tokens of a document. Ends after the first error.
pub struct Tokens<'a> {
    text: &'a str,
    rest: &'a str,
}

/// Returns the tokens of a document, without comments, commas and white space.
pub fn tokens(text: &str) -> Tokens<'_> {
    Tokens { text, rest: text }
}

/// The rest of the document from an error on, and the message of the error.
type Invalid<'a> = (&'a str, String);

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<Token<'a>, LexicalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = after_ignored(self.rest);
        let first = text.chars().next()?;
        let after_first = &text[first.len_utf8()..];
        let (kind, after) = match first {
            '!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '|' | '}' => {
                (Kind::Punctuator, Ok(after_first))
            }
            '.' => (Kind::Punctuator, text.strip_prefix("...").ok_or_else(|| not_a_token(text, first))),
            '_' | 'a'..='z' | 'A'..='Z' => (Kind::Name, Ok(after_first.trim_start_matches(continues_name))),
            '-' | '0'..='9' => (Kind::Number, after_number(text).ok_or_else(|| not_a_number(text))),
            '"' => (Kind::String, after_string(text)),
            _ => (Kind::Punctuator, Err(not_a_token(text, first))),
        };
        Some(match after {
            Ok(after) => {
                self.rest = after;
                let start = self.text.len() - text.len();
                Ok(Token { kind, start, text: &text[..text.len() - after.len()] })
            }
            Err((at, message)) => {
                self.rest = "";
                Err(LexicalError { offset: self.text.len() - at.len(), message })
            }
        })
    }
}

fn not_a_token(text: &str, first: char) -> Invalid<'_> {
    let first = if first.is_ascii_graphic() { first.to_string() } else { first.escape_debug().to_string() };
    (text, format!("expected a name, a value or a punctuator, found `{first}`"))
}

/// Returns a text in backquotes, for an error. Omits the end of a long text.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTED) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}

fn after_ignored(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches([' ', '\t', '\n', '\r', ',', '\u{feff}']);
        let Some(comment) = text.strip_prefix('#') else { return text };
        text = comment.trim_start_matches(|next: char| !matches!(next, '\n' | '\r'));
    }
}

fn continues_name(character: char) -> bool {
    character == '_' || character.is_ascii_alphanumeric()
}

/// Returns the text after the number at the beginning of `text`. A number may follow another without a separator, such
/// as `1-1`, but no digit, name or dot may follow a number.
fn after_number(text: &str) -> Option<&str> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let mut rest = unsigned.strip_prefix('0').or_else(|| after_digits(unsigned))?;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = after_digits(fraction)?;
    }
    if let Some(exponent) = rest.strip_prefix(['e', 'E']) {
        rest = after_digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))?;
    }
    (!rest.starts_with(|next: char| next == '.' || continues_name(next))).then_some(rest)
}

/// Returns the text after one or more digits.
fn after_digits(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|next: char| next.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
}

fn not_a_number(text: &str) -> Invalid<'_> {
    let rest = text.trim_start_matches(|next: char| matches!(next, '.' | '+' | '-') || continues_name(next));
    (text, format!("expected a number, found {}", quoted(&text[..text.len() - rest.len()])))
}

/// Returns the text after the string or block string at the beginning of `text`.
fn after_string(text: &str) -> Result<&str, Invalid<'_>> {
    let unclosed = |quotes: &str, end: &str| {
        (text, format!("expected `{quotes}` at the end of this string, found the end of the {end}"))
    };
    if let Some(mut rest) = text.strip_prefix(BLOCK_QUOTES) {
        while let Some((content, after)) = rest.split_once(BLOCK_QUOTES) {
            if !content.ends_with('\\') {
                return Ok(after);
            }
            rest = after;
        }
        return Err(unclosed(BLOCK_QUOTES, "document"));
    }
    let mut rest = &text[1..];
    loop {
        rest = rest.trim_start_matches(|next: char| !matches!(next, '"' | '\\' | '\n' | '\r'));
        if let Some(after) = rest.strip_prefix('"') {
            return Ok(after);
        }
        let Some(escape) = rest.strip_prefix('\\') else {
            return Err(unclosed("\"", if rest.is_empty() { "document" } else { "line" }));
        };
        rest = after_escape(escape).ok_or_else(|| not_an_escape(rest))?;
    }
}

/// Returns the text after an escape sequence. `text` begins after the backslash.
fn after_escape(text: &str) -> Option<&str> {
    let Some(code) = text.strip_prefix('u') else {
        return text.strip_prefix(['"', '\\', '/', 'b', 'f', 'n', 'r', 't']);
    };
    if let Some(code) = code.strip_prefix('{') {
        let (digits, after) = code.split_once('}')?;
        return char::from_u32(hexadecimal(digits)?).map(|_| after);
    }
    let (digits, after) = code.split_at_checked(4)?;
    let value = hexadecimal(digits)?;
    if !(0xD800..=0xDBFF).contains(&value) {
        return char::from_u32(value).map(|_| after);
    }
    // A leading surrogate. The trailing one must follow.
    let (digits, after) = after.strip_prefix("\\u")?.split_at_checked(4)?;
    (0xDC00..=0xDFFF).contains(&hexadecimal(digits)?).then_some(after)
}

fn hexadecimal(digits: &str) -> Option<u32> {
    // `from_str_radix` also accepts a sign.
    let are_digits = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if are_digits { u32::from_str_radix(digits, 16).ok() } else { None }
}

fn not_an_escape(text: &str) -> Invalid<'_> {
    let expected = if text.starts_with("\\u") {
        "the code of a Unicode character, such as `\\u00e9` or `\\u{1F600}`"
    } else {
        "an escape sequence, such as `\\n` or `\\\"`"
    };
    let found = text.split(['"', ' ', '\n', '\r']).next().unwrap_or_default();
    (text, format!("expected {expected}, found {}", quoted(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the tokens of a text, and the offset and message of the error after them.
    fn read(text: &str) -> Vec<String> {
        let read = tokens(text).map(|token| match token {
            Ok(token) => {
                assert_eq!(&text[token.start..token.end()], token.text);
                token.text.to_owned()
            }
            Err(error) => format!("{}: {}", error.offset, error.message),
        });
        read.collect()
    }

    #[test]
    fn a_text_is_split_into_tokens() {
        for (text, expected) in [
            ("", ""),
            ("\u{feff} ,\t\r\n# comment", ""),
            ("#\r{a#é}\n,b}\u{feff}", "{ a b }"),
            ("!$&():=@[]{|}......F", "! $ & ( ) : = @ [ ] { | } ... ... F"),
            ("_a A1_z", "_a A1_z"),
            ("1-1-0 120 0.5-0 1.50e-03 1E+2 0e0", "1 -1 -0 120 0.5 -0 1.50e-03 1E+2 0e0"),
            (r#"""a"b"1"""""""#, r#""" a "b" 1 """""""#),
            (r#""\"\\\/\b\f\n\r\t""#, r#""\"\\\/\b\f\n\r\t""#),
            (r#""\u00e9\u{0000001F600}\uD83d\uDe00""#, r#""\u00e9\u{0000001F600}\uD83d\uDe00""#),
            ("\"\"\"a\n\\q \\\"\"\" \\\\\"\"\" \"\" é\"\"\"\"\"", "\"\"\"a\n\\q \\\"\"\" \\\\\"\"\" \"\" é\"\"\" \"\""),
        ] {
            assert_eq!(read(text).join(" "), expected, "{text}");
        }
    }

    #[test]
    fn the_tokens_end_at_a_text_that_is_not_a_token() {
        for (text, expected) in [
            ("é", "0: expected a name, a value or a punctuator, found `é`"),
            ("a\u{a0}b", "a 1: expected a name, a value or a punctuator, found `\\u{a0}`"),
            ("'a'", "0: expected a name, a value or a punctuator, found `'`"),
            ("..F", "0: expected a name, a value or a punctuator, found `.`"),
            (".5", "0: expected a name, a value or a punctuator, found `.`"),
            ("-", "0: expected a number, found `-`"),
            ("01", "0: expected a number, found `01`"),
            ("-00 a", "0: expected a number, found `-00`"),
            ("1.", "0: expected a number, found `1.`"),
            ("1...F", "0: expected a number, found `1...F`"),
            ("1.5.2", "0: expected a number, found `1.5.2`"),
            ("1e", "0: expected a number, found `1e`"),
            ("1e+)", "0: expected a number, found `1e+`"),
            ("1a", "0: expected a number, found `1a`"),
            ("0xF", "0: expected a number, found `0xF`"),
            (r#"a "b"#, r#"a 2: expected `"` at the end of this string, found the end of the document"#),
            ("\"\nb\"", r#"0: expected `"` at the end of this string, found the end of the line"#),
            ("\"b\r\"", r#"0: expected `"` at the end of this string, found the end of the line"#),
            (r#""a\q b""#, r#"2: expected an escape sequence, such as `\n` or `\"`, found `\q`"#),
            ("\"\\\n\"", r#"1: expected an escape sequence, such as `\n` or `\"`, found `\`"#),
        ] {
            assert_eq!(read(text).join(" "), expected, "{text}");
        }
        for code in [
            r"\u",
            r"\u12",
            r"\u{",
            r"\u{}",
            r"\u{+1}",
            r"\u{110000}",
            r"\u{d83d}",
            r"\u+123",
            r"\ud83d",
            r"\ud83dx",
            r"\ude00\ud83d",
            r"\ud83d\u0041",
            r"\ud83d\u{de00}",
        ] {
            let expected = r"the code of a Unicode character, such as `\u00e9` or `\u{1F600}`";
            let expected = format!("3: expected {expected}, found `{code}`");
            assert_eq!(read(&format!("\"é{code}\"")).join(" "), expected);
        }
        let long = "1".repeat(MAX_QUOTED);
        assert_eq!(read(&format!("{long}a")).join(" "), format!("0: expected a number, found `{long}…`"));
        // The search for the end of a string does not begin again after the string.
        for block in [r#""""b"""#.to_owned(), format!(r#""""{}"#, r#"\""""#.repeat(100_000))] {
            let expected = r#"0: expected `"""` at the end of this string, found the end of the document"#;
            assert_eq!(read(&block).join(" "), expected);
        }
    }

    /// `check_text` also counts the tokens of texts that are not documents.
    #[test]
    fn a_part_of_a_text_has_at_most_as_many_tokens() {
        let pieces = ["a", "1", "-", ".", "e", "\"", "\"\"\"", "\\", "\\u", "{", "}", "d83d", "#", "\n", "é"];
        let count = pieces.len();
        for index in 0..count.pow(4) {
            let text: String = (0..4).map(|place| pieces[index / count.pow(place) % count]).collect();
            let whole = tokens(&text).count();
            for (end, _) in text.char_indices() {
                assert!(tokens(&text[..end]).count() <= whole, "{text:?} up to {end}");
            }
        }
    }
}
