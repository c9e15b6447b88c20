//! Connections, as the Relay cursor connections specification has them.

use async_graphql::OutputType;
use async_graphql::connection::{Connection as RelayConnection, Edge};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};

/// Items on one page at most. The contract names it, so it is no setting.
pub const MAX_PAGE_SIZE: i32 = 100;

/// Cursors are opaque text: base64url of the item's sort key as JSON.
pub type Connection<T> = RelayConnection<String, T>;

/// A checked request for the items after a place.
#[derive(Clone, Debug)]
pub struct Forward<K> {
    pub first: usize,
    pub after: Option<K>,
}

impl<K: DeserializeOwned> Forward<K> {
    pub fn new(first: i32, after: Option<&str>) -> Result<Self> {
        let after = after.map(|cursor| decode_cursor(cursor, "after")).transpose()?;
        Ok(Self { first: check_size(first, "first")?, after })
    }

    /// One more than the page holds, which tells whether there is a next one.
    pub fn limit(&self) -> i64 {
        self.first as i64 + 1
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
        let has_next = rows.len() > self.first;
        rows.truncate(self.first);
        let mut connection = Connection::new(self.after.is_some(), has_next);
        connection.edges.extend(rows.into_iter().map(|row| {
            let cursor = encode_cursor(&key(&row));
            Edge::new(cursor, node(row))
        }));
        connection
    }
}

pub fn check_size(size: i32, path: &str) -> Result<usize> {
    match usize::try_from(size) {
        Ok(size @ 1..) if size <= MAX_PAGE_SIZE as usize => Ok(size),
        _ => Err(Error::bad_input(path, format!("A page has 1 to {MAX_PAGE_SIZE} items."))),
    }
}

pub fn encode_cursor(key: &impl Serialize) -> String {
    // The keys are numbers, times, ids and text: they always have a JSON form.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(key).unwrap_or_default())
}

pub fn decode_cursor<K: DeserializeOwned>(cursor: &str, path: &str) -> Result<K> {
    URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(|| Error::bad_input(path, "This is no cursor of this list."))
}
