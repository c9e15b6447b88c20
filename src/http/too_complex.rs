//! Errors for documents that exceed a limit.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt::Display;

use crate::graphql::{Error, ErrorCode};

/// Maximum number of fields that an error names.
const MAX_NAMED: usize = 3;

/// Mutations that check or hash a password, which takes at least 50 ms of processor time.
pub(super) const PASSWORD_FIELDS: [&str; 7] =
    ["register", "upgradeGuest", "login", "changePassword", "resetPassword", "confirmIdentity", "deleteAccount"];

/// Maximum number of passwords that one request may check or hash. So each guess of a password takes a separate
/// request, which the rate limits count.
pub(super) const MAX_PASSWORDS: u64 = 1;

/// A field that can have a large part of the fields of a document: a list or a field at the root.
pub(super) struct Large<'a> {
    pub(super) name: &'a str,
    /// Maximum number of items. 1 if the field returns no list.
    pub(super) items: u64,
    /// Number of fields of each item.
    pub(super) fields: u64,
}

impl Large<'_> {
    const fn total(&self) -> u64 {
        self.items.saturating_mul(self.fields)
    }
}

/// Returns the error for a document with too many fields. The error names the lists with the most fields. If the
/// document has no lists, the error names the fields at the root with the most fields.
pub(super) fn too_complex(count: u64, max: u64, mut largest: Vec<Large<'_>>) -> Error {
    let has_lists = largest.iter().any(|field| field.items > 1);
    largest.retain(|field| !has_lists || field.items > 1);
    largest.sort_by_key(|field| (Reverse(field.total()), field.name));
    let mut seen = HashSet::new();
    let named: Vec<_> = largest
        .iter()
        .filter(|field| seen.insert(field.name))
        .take(MAX_NAMED)
        .map(|Large { name, items, fields }| match items {
            1 => format!("`{name}` ({fields} fields)"),
            _ => format!("`{name}` ({items} items with {fields} fields each)"),
        })
        .collect();
    let named = named.join(", ");
    let advice = match (has_lists, named.is_empty()) {
        (true, _) => format!("Request fewer items or fields of the largest lists: {named}."),
        (false, false) => format!("Select fewer fields in {named}."),
        (false, true) => "Select fewer fields.".to_owned(),
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
