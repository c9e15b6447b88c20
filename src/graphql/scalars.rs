//! Custom scalars, and the parsing of ids.

use std::str::FromStr;

use async_graphql::{ID, InputValueError, InputValueResult, MaybeUndefined, Scalar, ScalarType, Value};
use chrono::{SecondsFormat, Utc};

use super::error::{Error, Result};
use crate::ids::InvalidId;

#[derive(Clone, Copy, Debug)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// Date and time as in RFC 3339, such as 2026-11-20T09:30:00.123456Z. Values in responses are in UTC and have
/// microseconds. A time in an input must be in the years 0000 to 9999, also in UTC.
#[Scalar]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match &value {
            Value::String(text) => {
                parse_time(text).map(Self).ok_or_else(|| InputValueError::custom("not a date and time of RFC 3339"))
            }
            _ => Err(InputValueError::expected_type(value)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.0.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

/// Parses a date and time of RFC 3339, and rounds it down to microseconds, as Postgres stores it. A leap second is the
/// first second of the next minute.
fn parse_time(text: &str) -> Option<chrono::DateTime<Utc>> {
    let time = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    chrono::DateTime::from_timestamp_micros(time.timestamp_micros())
}

impl From<chrono::DateTime<Utc>> for DateTime {
    fn from(time: chrono::DateTime<Utc>) -> Self {
        Self(time)
    }
}

/// Parses the ids in the list field `path`.
pub(super) fn parse_ids<T: FromStr<Err = InvalidId>>(ids: &[ID], path: &str) -> Result<Vec<T>> {
    ids.iter().enumerate().map(|(index, id)| parse_id(id, &format!("{path}.{index}"))).collect()
}

/// Parses the id in the field `path`. None if the field is omitted, `Some(None)` if it is null.
#[expect(clippy::option_option, reason = "None leaves the value unchanged, `Some(None)` removes it")]
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

/// Parses the id in the field or argument `path`.
pub(super) fn parse_id<T: FromStr<Err = InvalidId>>(id: &ID, path: &str) -> Result<T> {
    id.parse().map_err(|InvalidId { expected }| Error::bad_input(path, format!("An id here begins with {expected}_.")))
}
