//! Reads the operations of a request from JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::operation::Operation;

/// The operations in the body of a POST.
pub(super) enum Requested {
    One(Operation),
    Batch(Vec<Operation>),
    /// A list with more than OPERATION_MAX_BATCH operations.
    TooMany,
}

impl Requested {
    pub(super) fn large(self) -> Self {
        match self {
            Self::One(operation) => Self::One(operation.large()),
            Self::Batch(operations) => Self::Batch(operations.into_iter().map(Operation::large).collect()),
            Self::TooMany => Self::TooMany,
        }
    }
}

/// Reads a list with at most this number of operations. If the list has more operations, they are skipped and the
/// result is `TooMany`.
struct AtMost(usize);

impl<'de> DeserializeSeed<'de> for AtMost {
    type Value = Requested;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Requested, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AtMost {
    type Value = Requested;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of operations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Requested, A::Error> {
        let mut operations = Vec::new();
        while operations.len() < self.0 {
            match list.next_element()? {
                Some(operation) => operations.push(operation),
                None => return Ok(Requested::Batch(operations)),
            }
        }
        let mut complete = true;
        while list.next_element::<IgnoredAny>()?.is_some() {
            complete = false;
        }
        Ok(if complete { Requested::Batch(operations) } else { Requested::TooMany })
    }
}

/// Reads the body of a POST: one operation, or a list of at most `max_batch` operations.
pub(super) fn read_body(body: &[u8], max_batch: usize) -> serde_json::Result<Requested> {
    if !body.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(body).map(Requested::One);
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let requested = AtMost(max_batch).deserialize(&mut json)?;
    json.end().map(|()| requested)
}
