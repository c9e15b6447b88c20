//! Errors for documents that exceed a limit.

use std::cmp::Reverse;
use std::fmt::Display;

use crate::graphql::{Error, ErrorCode};

/// Maximum number of lists in an error.
const MAX_NAMED_LISTS: usize = 3;

/// Mutations that check or hash a password, which takes at least 50 ms of processor time.
pub(super) const PASSWORD_FIELDS: [&str; 4] = ["register", "login", "changePassword", "deleteAccount"];

/// Maximum number of passwords that one request may check or hash. So each guess of a password takes a separate
/// request, which the rate limits count.
pub(super) const MAX_PASSWORDS: u64 = 1;

/// A field that returns a list.
pub(super) struct List<'a> {
    pub(super) name: &'a str,
    /// Maximum number of items.
    pub(super) items: u64,
    /// Number of fields of each item.
    pub(super) fields: u64,
}

/// Returns the error for a document with too many fields. The error names the lists with the most fields.
pub(super) fn too_complex(count: u64, max: u64, mut lists: Vec<List<'_>>) -> Error {
    lists.sort_by_key(|list| Reverse(list.items.saturating_mul(list.fields)));
    let named: Vec<_> = lists
        .iter()
        .take(MAX_NAMED_LISTS)
        .map(|List { name, items, fields }| format!("`{name}` ({items} items with {fields} fields each)"))
        .collect();
    let advice = if named.is_empty() {
        "Select fewer fields.".to_owned()
    } else {
        format!("Request fewer items or fields of the largest lists: {}.", named.join(", "))
    };
    let message = format!(
        "The document has {count} fields, counted once for each item of their lists, and may have at most {max}. \
         {advice}"
    );
    Error::new(ErrorCode::OperationTooComplex, message)
}

/// Returns the error for a request that checks or hashes more than MAX_PASSWORDS passwords.
pub(super) fn too_many_passwords() -> Error {
    let fields = PASSWORD_FIELDS.join("`, `");
    Error::new(
        ErrorCode::OperationTooComplex,
        format!("A request may have at most {MAX_PASSWORDS} of the fields `{fields}`. Send several requests."),
    )
}

/// Returns the error for a document whose text is too long.
pub(super) fn too_long(bytes: usize, max: usize) -> Error {
    let message = format!("The document has {bytes} bytes, and may have at most {max}. Send long values as variables.");
    Error::new(ErrorCode::OperationTooComplex, message)
}

/// Returns the error for a document whose text has too many tokens. The tokens are not counted to the end.
pub(super) fn too_many_tokens(max: usize) -> Error {
    let message = format!("A document may have at most {max} tokens. Send long values as variables.");
    Error::new(ErrorCode::OperationTooComplex, message)
}

/// Returns the error for a document with too many fragments for its number of operations.
pub(super) fn too_many_fragments(operations: usize, fragments: usize, max: usize) -> Error {
    let message = format!(
        "The document has {operations} operations and {fragments} fragments. The product of both numbers may be at \
         most {max}. Send each operation in a document with only the fragments that it uses."
    );
    Error::new(ErrorCode::OperationTooComplex, message)
}

/// Returns the error for a document that has more than `max` of something.
pub(super) fn too_much(what: &str, count: impl Display, max: impl Display) -> Error {
    Error::new(ErrorCode::OperationTooComplex, format!("The document has {count} {what}, and may have at most {max}."))
}
