//! Connections, as the Relay cursor connections specification has them.

use async_graphql::OutputType;
use async_graphql::connection::{Connection as RelayConnection, Edge};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike as _, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, Result};

/// Items on one page at most. The contract names it, so it is no setting.
pub const MAX_PAGE_SIZE: u16 = 100;

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
