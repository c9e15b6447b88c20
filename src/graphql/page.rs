//! Connections, as the Relay cursor connections specification has them.

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

/// Items on one page at most. The contract names it, so it is no setting.
pub const MAX_PAGE_SIZE: u16 = 100;
/// Those on a page whose size was not asked for, where the schema has no other default.
pub const DEFAULT_PAGE_SIZE: u16 = 50;

/// Cursors are opaque text: base64url of the item's sort key as JSON.
pub type Connection<T> = RelayConnection<String, T>;

/// A checked request for the items after a place.
#[derive(Clone, Debug)]
pub struct Forward<K> {
    pub first: u16,
    pub after: Option<K>,
}

/// What a cursor holds.
pub trait Key: DeserializeOwned {
    /// Whether a row can have this value, whatever a client has made up.
    fn is_possible(&self) -> bool;
}

impl<Id: DeserializeOwned> Key for (DateTime<Utc>, Id) {
    fn is_possible(&self) -> bool {
        // Postgres and chrono each know times that the other does not.
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

    /// One more than the page holds, which tells whether there is a next one.
    pub fn limit(&self) -> i64 {
        i64::from(self.first) + 1
    }

    /// The page of rows that were read with `limit`.
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

/// Items on a page whose size was not asked for, by the name of the connection's field; the larger where two types
/// have such a field. Of the lists that introspection has, their usual length.
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
    sizes.extend(lists.usual());
    // Lists that are no connections, because they cannot grow beyond this.
    sizes.insert("reactions".to_owned(), MAX_KINDS);
    sizes.insert("attachments".to_owned(), MAX_ATTACHMENTS);
    sizes
}

/// How long the lists of the schema's types are, all together.
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

    fn usual(&self) -> impl Iterator<Item = (String, u16)> {
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
    // The keys are numbers, times, ids and text: they always have a JSON form.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

pub fn decode_cursor<K: Key>(cursor: &str, path: &str) -> Result<K> {
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .filter(K::is_possible)
        .ok_or_else(|| Error::bad_input(path, "This is no cursor of this list."))
}

#[cfg(test)]
mod tests {
    use super::page_sizes;

    #[test]
    fn the_sizes_of_all_lists_are_known() {
        let sizes = page_sizes();
        for list in ["messages", "participants", "conversations", "searchUsers", "types", "fields", "possibleTypes"] {
            assert!(sizes[list] > 0, "{list}");
        }
        assert_eq!(sizes["searchUsers"], 20);
        assert_eq!(sizes["reactions"], 20);
        assert!(sizes["types"] > 30, "{}", sizes["types"]);
    }
}
