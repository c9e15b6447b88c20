//! A rendered event.

use std::sync::Arc;

use async_graphql::Value;

use super::response::Body;

/// The response for one event of a subscription, which several clients can share.
#[derive(Clone)]
pub(super) enum Rendered {
    /// A response, as JSON.
    Next(Arc<str>),
    /// The operation failed as a whole. This ends the subscription.
    Failed(Arc<Body>),
}

impl Rendered {
    pub(super) fn new(body: Body) -> Self {
        match body.data {
            None | Some(Value::Null) => Self::Failed(Arc::new(body)),
            Some(_) => Self::Next(body.to_json().into()),
        }
    }

    /// Returns the bytes of the JSON, or 0 for a failure.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Next(json) => json.len(),
            Self::Failed(_) => 0,
        }
    }
}
