//! GraphQL responses. Every error gets a code. The response of an operation that was not executed has no data.

use std::io;

use async_graphql::indexmap::IndexMap;
use async_graphql::{ErrorExtensionValues, Response, ServerError, Value};
use serde::Serialize;

use super::threads::SMALL_ANSWER;
use crate::graphql::{Error, ErrorCode, MAX_ERRORS};
use crate::metrics::Metrics;

/// Maximum length in characters of an error message about a document or its variables.
const MAX_MESSAGE: usize = 500;

/// The body of a response (GraphQL specification, section 7).
#[derive(Debug, Serialize)]
pub(super) struct Body {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) errors: Vec<ServerError>,
    /// The result of the operation. None if the operation was not executed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<Value>,
    /// The error code if the server refused the operation before its execution.
    #[serde(skip)]
    pub(super) refusal: Option<ErrorCode>,
    /// The whole body as JSON. None until the body is encoded.
    #[serde(skip)]
    json: Option<Box<str>>,
}

/// Collects the JSON of a response. A write fails if the JSON would have more than SMALL_ANSWER bytes.
struct BoundedBuffer(Vec<u8>);

impl io::Write for BoundedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > SMALL_ANSWER {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Body {
    pub(super) fn new(mut response: Response) -> Self {
        response.errors.truncate(MAX_ERRORS);
        response.errors.iter_mut().for_each(add_code);
        // Errors of the document or its variables have no path.
        let never_ran = response.data == Value::Null
            && !response.errors.is_empty()
            && response.errors.iter().all(|error| error.path.is_empty());
        Self { errors: response.errors, data: (!never_ran).then_some(response.data), refusal: None, json: None }
    }

    pub(super) fn refused(error: Error) -> Self {
        let refusal = Some(error.code());
        Self { errors: vec![error.into()], data: None, refusal, json: None }
    }

    pub(super) fn to_json(&self) -> String {
        // Every value has a JSON form, so the encoding cannot fail.
        match &self.json {
            Some(json) => json.clone().into(),
            None => serde_json::to_string(self).unwrap_or_default(),
        }
    }

    /// Returns the JSON. Does not copy it if the body is encoded already.
    pub(super) fn into_json(mut self) -> String {
        self.json.take().map_or_else(|| self.to_json(), String::from)
    }

    /// Encodes the JSON if it has at most SMALL_ANSWER bytes.
    pub(super) fn encode_if_small(mut self) -> Self {
        let mut small = BoundedBuffer(Vec::new());
        if serde_json::to_writer(&mut small, &self).is_ok() {
            self.json = String::from_utf8(small.0).ok().map(String::into_boxed_str);
        }
        self
    }

    pub(super) const fn is_encoded(&self) -> bool {
        self.json.is_some()
    }

    /// Encodes the JSON, whatever its size. If `data` is an object, the object is empty afterwards.
    pub(super) fn encode(mut self) -> Self {
        self.json = Some(self.to_json().into_boxed_str());
        if let Some(Value::Object(data)) = &mut self.data {
            *data = IndexMap::default();
        }
        self
    }

    /// Returns the seconds to wait, if exceeded rates are the only errors and nothing was done. Otherwise returns None.
    pub(super) fn retry_after(&self) -> Option<u64> {
        let nothing_done = matches!(self.data, None | Some(Value::Null));
        let waits = self.errors.iter().map(|error| match error.extensions.as_ref()?.get("retryAfter")? {
            Value::Number(seconds) => seconds.as_u64(),
            _ => None,
        });
        waits.collect::<Option<Vec<_>>>()?.into_iter().max().filter(|_| nothing_done)
    }

    /// Whether the document or its variables violate a rule.
    pub(super) fn is_invalid(&self) -> bool {
        let invalid = Value::from(ErrorCode::GraphqlValidationFailed.as_str());
        let code = |error: &ServerError| error.extensions.as_ref().and_then(|all| all.get("code")) == Some(&invalid);
        self.errors.iter().any(code)
    }

    /// Counts the errors in the metrics, by their codes.
    pub(super) fn counted(self, metrics: &Metrics) -> Self {
        for error in &self.errors {
            let Some(Value::String(code)) = error.extensions.as_ref().and_then(|all| all.get("code")) else { continue };
            if let Some(code) = ErrorCode::ALL.into_iter().find(|known| known.as_str() == code) {
                metrics.error(code.as_str());
            }
        }
        self
    }

    /// Returns the response after a panic. The panic hook has already reported the details.
    pub(super) fn crashed() -> Self {
        Self::refused(Error::new(
            ErrorCode::InternalServerError,
            "Something went wrong on the server. Try again, and tell its operator if that fails.",
        ))
    }

    /// Returns the response for a document that cannot be parsed, or for a document or variables that are invalid.
    pub(super) fn invalid(mut errors: Vec<ServerError>) -> Self {
        errors.truncate(MAX_ERRORS);
        for error in &mut errors {
            shorten(&mut error.message);
        }
        Self { errors, data: None, refusal: None, json: None }
    }
}

/// Adds a code to an error of async-graphql. Such errors are always about the document or its variables. Errors of the
/// API already have a code.
fn add_code(error: &mut ServerError) {
    if error.extensions.as_ref().and_then(|extensions| extensions.get("code")).is_none() {
        set_code(error, ErrorCode::GraphqlValidationFailed);
        shorten(&mut error.message);
    }
}

/// Shortens a message to MAX_MESSAGE characters. Messages of async-graphql and apollo-compiler quote names and values
/// of the document, which can be as long as the document itself.
fn shorten(message: &mut String) {
    if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
        message.truncate(end);
        message.push('…');
    }
}

fn set_code(error: &mut ServerError, code: ErrorCode) {
    error.extensions.get_or_insert_with(ErrorExtensionValues::default).set("code", code.as_str());
}
