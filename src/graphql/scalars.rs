//! Scalars of our own, and the reading of ids.

use std::str::FromStr;

use async_graphql::{ID, InputValueError, InputValueResult, MaybeUndefined, Scalar, ScalarType, Value};
use chrono::{SecondsFormat, Utc};

use super::error::{Error, Result};
use crate::ids::InvalidId;

#[derive(Clone, Copy, Debug)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// RFC 3339, UTC, such as 2026-11-20T09:30:00.123456Z.
#[Scalar]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => match chrono::DateTime::parse_from_rfc3339(text) {
                Ok(time) => Ok(Self(time.to_utc())),
                Err(_) => Err(InputValueError::custom("not a date and time of RFC 3339")),
            },
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

impl From<chrono::DateTime<Utc>> for DateTime {
    fn from(time: chrono::DateTime<Utc>) -> Self {
        Self(time)
    }
}

/// Reads the ids that came in the list `path`.
pub(super) fn parse_ids<T: FromStr<Err = InvalidId>>(ids: &[ID], path: &str) -> Result<Vec<T>> {
    ids.iter().enumerate().map(|(place, id)| parse_id(id, &format!("{path}.{place}"))).collect()
}

/// Reads the id in the field `path` that may be left out, and may be null.
#[expect(clippy::option_option, reason = "None leaves it as it is, `Some(None)` empties it")]
pub(super) fn parse_changed_id<T: FromStr<Err = InvalidId>>(
    id: MaybeUndefined<ID>,
    path: &str,
) -> Result<Option<Option<T>>> {
    match id {
        MaybeUndefined::Undefined => Ok(None),
        MaybeUndefined::Null => Ok(Some(None)),
        MaybeUndefined::Value(id) => parse_id(&id, path).map(|id| Some(Some(id))),
    }
}

/// Reads the id that came in the field or argument `path`.
pub(super) fn parse_id<T: FromStr<Err = InvalidId>>(id: &ID, path: &str) -> Result<T> {
    id.parse().map_err(|InvalidId { expected }| Error::bad_input(path, format!("An id here begins with {expected}_.")))
}
