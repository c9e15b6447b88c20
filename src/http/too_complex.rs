//! The errors for documents that exceed a limit of their cost.

use std::cmp::Reverse;

use crate::graphql::{Error, ErrorCode};

/// Maximum number of lists that the error names.
const MAX_NAMED_LISTS: usize = 3;

/// Mutations that check or hash a password, which takes at least 50 ms of processor time.
pub(super) const PASSWORD_FIELDS: [&str; 4] = ["register", "login", "changePassword", "deleteAccount"];

/// Maximum number of passwords that one request may check or hash. So each guess of a password takes a separate
/// request, which the rate limits count.
pub(super) const MAX_PASSWORDS: u64 = 1;

/// A field that returns a list.
pub(super) struct List<'a> {
    pub(super) name: &'a str,
    pub(super) items: u64,
    /// Number of fields of each item.
    pub(super) fields: u64,
}

/// Returns the error for a document with too many fields. Names the lists that count most.
pub(super) fn too_complex(count: u64, max: u64, mut lists: Vec<List<'_>>) -> Error {
    lists.sort_by_key(|list| Reverse(list.items.saturating_mul(list.fields)));
    let named: Vec<_> = lists
        .iter()
        .take(MAX_NAMED_LISTS)
        .map(|List { name, items, fields }| format!("`{name}` ({items} items with {fields} fields)"))
        .collect();
    let dearest =
        if named.is_empty() { String::new() } else { format!(" The most expensive lists: {}.", named.join(", ")) };
    let message = format!(
        "The document has {count} fields, counted once for each item of their lists, and may have at most {max}.{dearest}"
    );
    Error::new(ErrorCode::OperationTooComplex, message)
}

/// Returns the error for a request that checks or hashes more than MAX_PASSWORDS passwords.
pub(super) fn too_many_passwords() -> Error {
    let fields = PASSWORD_FIELDS.join(", ");
    Error::new(
        ErrorCode::OperationTooComplex,
        format!("A request may have at most {MAX_PASSWORDS} of the fields {fields}."),
    )
}

/// Returns the error for a document that has more than `max` of something.
pub(super) fn too_much(what: &str, max: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::OperationTooComplex, format!("A document may have at most {max} {what}."))
}
