//! The values of the labels of metrics.

/// How the tail received an event: published by a node, or read from Postgres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Published,
    Read,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    Query,
    Mutation,
    Subscription,
}

/// The transport of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Http,
    /// An event stream over HTTP: Server-Sent Events or multipart.
    EventStream,
    WebSocket,
}

/// The kinds of live state that a node publishes to the other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LiveKind {
    Presence,
    Typing,
    Room,
    Device,
}

/// The outcome of a request to S3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Outcome {
    Done,
    /// S3 refused the request, or the object does not exist.
    Refused,
    Unavailable,
}

impl OperationKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

impl Transport {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::EventStream => "event_stream",
            Self::WebSocket => "websocket",
        }
    }
}
