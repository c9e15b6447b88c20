//! The error for a document with too many fields.

use std::cmp::Reverse;

use crate::graphql::{Error, ErrorCode};

/// Maximum number of lists that the error names.
const MAX_NAMED_LISTS: usize = 3;

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
