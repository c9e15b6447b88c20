//! The errors of the API: the one place where what went wrong gets its words and its code.

use async_graphql::{Enum, ErrorExtensionValues, Value};

use crate::domain::{Error as Domain, Violation};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Every value that `extensions.code` can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ErrorCode {
    /// The document does not parse.
    GraphqlParseFailed,
    /// The document or its variables do not fit the schema.
    GraphqlValidationFailed,
    /// Deeper, wider or costlier than the server allows.
    OperationTooComplex,
    PersistedQueryNotFound,
    BadUserInput,
    Unauthenticated,
    /// Visible, but not the viewer's to do.
    Forbidden,
    NotFound,
    /// Already taken, or changed meanwhile.
    Conflict,
    RateLimited,
    /// A part the server needs is away; trying again later will do.
    Unavailable,
    InternalServerError,
}

impl ErrorCode {
    pub const ALL: [Self; 12] = [
        Self::GraphqlParseFailed,
        Self::GraphqlValidationFailed,
        Self::OperationTooComplex,
        Self::PersistedQueryNotFound,
        Self::BadUserInput,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::RateLimited,
        Self::Unavailable,
        Self::InternalServerError,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GraphqlParseFailed => "GRAPHQL_PARSE_FAILED",
            Self::GraphqlValidationFailed => "GRAPHQL_VALIDATION_FAILED",
            Self::OperationTooComplex => "OPERATION_TOO_COMPLEX",
            Self::PersistedQueryNotFound => "PERSISTED_QUERY_NOT_FOUND",
            Self::BadUserInput => "BAD_USER_INPUT",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::Conflict => "CONFLICT",
            Self::RateLimited => "RATE_LIMITED",
            Self::Unavailable => "UNAVAILABLE",
            Self::InternalServerError => "INTERNAL_SERVER_ERROR",
        }
    }
}

/// A failed field. It has no `Display`, on purpose: async-graphql would show any that has one to the client,
/// so that `?` on a foreign error must not compile in a resolver.
#[derive(Clone, Debug)]
pub struct Error {
    code: ErrorCode,
    message: String,
    violations: Vec<Violation>,
}

impl Error {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), violations: Vec::new() }
    }

    pub(super) fn unauthenticated(message: &str) -> Self {
        Self::new(ErrorCode::Unauthenticated, message)
    }

    pub(super) fn bad_input(path: &str, message: impl Into<String>) -> Self {
        Domain::invalid(path, message).into()
    }

    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    fn with_violations(code: ErrorCode, violations: Vec<Violation>) -> Self {
        let message = violations.iter().map(|violation| violation.message.as_str()).collect::<Vec<_>>().join(" ");
        Self { code, message, violations }
    }

    fn extensions(&self) -> ErrorExtensionValues {
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.code.as_str());
        if !self.violations.is_empty() {
            let violations = self.violations.iter().map(|violation| {
                Value::Object(
                    [("path", &violation.path), ("message", &violation.message)]
                        .into_iter()
                        .map(|(name, text)| (async_graphql::Name::new(name), Value::from(text.as_str())))
                        .collect(),
                )
            });
            extensions.set("violations", Value::List(violations.collect()));
        }
        extensions
    }
}

impl From<Domain> for Error {
    fn from(error: Domain) -> Self {
        match error {
            Domain::Invalid(violations) => Self::with_violations(ErrorCode::BadUserInput, violations),
            Domain::Conflict(violation) => Self::with_violations(ErrorCode::Conflict, vec![violation]),
            Domain::Unauthenticated(message) => Self::new(ErrorCode::Unauthenticated, message),
            Domain::NotFound(message) => Self::new(ErrorCode::NotFound, message),
            Domain::Overloaded(message) => Self::new(ErrorCode::Unavailable, message),
            Domain::Internal(error) if error.is_unavailable() => {
                tracing::warn!(%error, "a part is away");
                Self::new(ErrorCode::Unavailable, "The server cannot do this just now. Try again in a moment.")
            }
            Domain::Internal(error) => {
                tracing::error!(%error, "a request failed");
                Self::new(ErrorCode::InternalServerError, "Something went wrong on the server.")
            }
        }
    }
}

impl From<Error> for async_graphql::Error {
    fn from(error: Error) -> Self {
        let extensions = error.extensions();
        Self { message: error.message, source: None, extensions: Some(extensions) }
    }
}

impl From<Error> for async_graphql::ServerError {
    fn from(error: Error) -> Self {
        let extensions = error.extensions();
        let mut server_error = Self::new(error.message, None);
        server_error.extensions = Some(extensions);
        server_error
    }
}
