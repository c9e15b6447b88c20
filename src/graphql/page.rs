//! Pages of lists, as connections of the Relay cursor connections specification.

use std::collections::HashMap;

use async_graphql::connection::{Connection as RelayConnection, Edge};
use async_graphql::parser::types::{InterfaceType, ObjectType, TypeKind};
use async_graphql::{OutputType, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};
use crate::domain::files::attachments::MAX_ATTACHMENTS;
use crate::domain::messaging::reactions::MAX_KINDS;

/// Maximum number of items on one page. It is part of the API's contract, so it is not a setting.
pub const MAX_PAGE_SIZE: u16 = 100;
/// Number of items on a page if the client gives no size and the schema has no other default.
pub const DEFAULT_PAGE_SIZE: u16 = 50;

/// A page of a list. The cursor of an item is its sort key as JSON in base64url, and is opaque to clients.
pub type Connection<T> = RelayConnection<String, T>;

/// Checked arguments `first` and `after` of a connection.
#[derive(Clone, Debug)]
pub struct Forward<K> {
    pub first: u16,
    pub after: Option<K>,
}

/// Sort key of an item, which the cursor of the item contains.
pub trait Key: DeserializeOwned {
    /// Returns whether a row can have this key. A client can send a cursor that the server did not make.
    fn is_possible(&self) -> bool;
}

impl<Id: DeserializeOwned> Key for (DateTime<Utc>, Id) {
    fn is_possible(&self) -> bool {
        // Postgres and chrono support different ranges of time. Both support these years.
        (1970..10_000).contains(&self.0.year())
    }
}

impl Key for (i32, String) {
    fn is_possible(&self) -> bool {
        !self.1.contains('\0')
    }
}

impl Key for i32 {
    fn is_possible(&self) -> bool {
        true
    }
}

impl<K: Key> Forward<K> {
    pub fn new(first: i32, after: Option<&str>) -> Result<Self> {
        let after = after.map(|cursor| decode_cursor(cursor, "after")).transpose()?;
        Ok(Self { first: check_size(first, "first")?, after })
    }

    /// Returns the number of rows to query: one more than the page size, to find out whether a next page exists.
    pub fn limit(&self) -> i64 {
        i64::from(self.first) + 1
    }

    /// Makes the page from rows that were queried with `limit`.
    pub fn connection<R, T: OutputType>(
        &self,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> K,
        node: impl Fn(R) -> T,
    ) -> Connection<T>
    where
        K: Serialize,
    {
        let has_next = rows.len() > usize::from(self.first);
        rows.truncate(self.first.into());
        let mut connection = Connection::new(self.after.is_some(), has_next);
        connection.edges.extend(rows.into_iter().map(|row| {
            let cursor = encode_cursor(&key(&row));
            Edge::new(cursor, node(row))
        }));
        connection
    }
}

/// Returns the default number of items of each list, by the name of its field. If several types have a field of that
/// name, the largest default counts. A list of introspection has its average length instead.
pub fn page_sizes() -> HashMap<String, u16> {
    let mut sizes = HashMap::new();
    let mut lists = SchemaLists::default();
    for definition in super::type_definitions() {
        lists.count(&definition.kind);
        let (TypeKind::Object(ObjectType { fields, .. }) | TypeKind::Interface(InterfaceType { fields, .. })) =
            definition.kind
        else {
            continue;
        };
        for field in fields {
            let Some(first) = field.node.arguments.iter().find(|input| input.node.name.node == "first") else {
                continue;
            };
            let size = first.node.default_value.as_ref().and_then(|value| match &value.node {
                Value::Number(number) => u16::try_from(number.as_u64()?).ok(),
                _ => None,
            });
            let known = sizes.entry(field.node.name.node.to_string()).or_default();
            *known = size.unwrap_or(DEFAULT_PAGE_SIZE).max(*known);
        }
    }
    sizes.extend(lists.average_lengths());
    // These lists are not connections, but have a fixed maximum length.
    sizes.insert("reactions".to_owned(), MAX_KINDS);
    sizes.insert("attachments".to_owned(), MAX_ATTACHMENTS);
    sizes
}

/// Total lengths of the lists by which introspection describes the types of the schema.
#[derive(Default)]
struct SchemaLists {
    types: usize,
    fields: usize,
    input_fields: usize,
    interfaces: usize,
    possible_types: usize,
    enum_values: usize,
}

impl SchemaLists {
    fn count(&mut self, kind: &TypeKind) {
        self.types += 1;
        match kind {
            TypeKind::Scalar => {}
            TypeKind::Object(object) => {
                self.fields += object.fields.len();
                self.interfaces += object.implements.len();
                self.possible_types += object.implements.len();
            }
            TypeKind::Interface(interface) => self.fields += interface.fields.len(),
            TypeKind::Union(union) => self.possible_types += union.members.len(),
            TypeKind::Enum(values) => self.enum_values += values.values.len(),
            TypeKind::InputObject(input) => self.input_fields += input.fields.len(),
        }
    }

    fn average_lengths(&self) -> impl Iterator<Item = (String, u16)> {
        let each = |total: usize| u16::try_from(total.div_ceil(self.types.max(1))).unwrap_or(u16::MAX);
        [
            ("types", u16::try_from(self.types).unwrap_or(u16::MAX)),
            ("fields", each(self.fields)),
            ("inputFields", each(self.input_fields)),
            ("interfaces", each(self.interfaces)),
            ("possibleTypes", each(self.possible_types)),
            ("enumValues", each(self.enum_values)),
        ]
        .map(|(name, length)| (name.to_owned(), length))
        .into_iter()
    }
}

pub fn check_size(size: i32, path: &str) -> Result<u16> {
    match u16::try_from(size) {
        Ok(size @ 1..=MAX_PAGE_SIZE) => Ok(size),
        _ => Err(Error::bad_input(path, format!("A page has 1 to {MAX_PAGE_SIZE} items."))),
    }
}

pub fn encode_cursor(key: &impl Serialize) -> String {
    // Serialization never fails, because keys consist of numbers, times, ids and texts.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

pub fn decode_cursor<K: Key>(cursor: &str, path: &str) -> Result<K> {
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .filter(K::is_possible)
        .ok_or_else(|| Error::bad_input(path, "This is not a cursor of this list."))
}

#[cfg(test)]
mod tests {
    use super::page_sizes;

    #[test]
    fn page_sizes_cover_connections_and_introspection() {
        let sizes = page_sizes();
        for list in ["messages", "participants", "conversations", "searchUsers", "types", "fields", "possibleTypes"] {
            assert!(sizes[list] > 0, "{list}");
        }
        assert_eq!(sizes["searchUsers"], 20);
        assert_eq!(sizes["reactions"], 20);
        assert!(sizes["types"] > 30, "{}", sizes["types"]);
    }
}
