//! Lines and columns in the text of a document.

use async_graphql::Pos;

/// Returns the line and column of an offset in bytes, both counted from 1. Columns count characters. A line ends at LF,
/// CR or CRLF (GraphQL specification, section 2.1.3).
pub(super) fn position(text: &str, offset: usize) -> Pos {
    let mut pos = Pos { line: 1, column: 1 };
    let mut before = text.get(..offset).unwrap_or(text).chars().peekable();
    while let Some(next) = before.next() {
        if next == '\n' || next == '\r' && before.peek() != Some(&'\n') {
            pos = Pos { line: pos.line + 1, column: 1 };
        } else {
            pos.column += 1;
        }
    }
    pos
}
