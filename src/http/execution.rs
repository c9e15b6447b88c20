//! The execution of a subscription's document for one event.

use std::sync::Arc;

use async_graphql::{Request, Variables};
use futures_util::StreamExt as _;

use super::documents::Validated;
use super::response::Body;
use crate::graphql::{AnswerBytes, Caller, InboxItem, Loaders, Rendering, Schema, Sharing};
use crate::metrics::Metrics;

/// A document with an operation and variables, ready to be executed.
pub(super) struct Execution {
    /// Identifies the plan. Unique in this process.
    pub(super) id: u64,
    /// The cost of one event, in the unit of OPERATION_MAX_COMPLEXITY.
    pub(super) cost: u64,
    pub(super) schema: Schema,
    pub(super) metrics: Metrics,
    pub(super) max_answer_bytes: u64,
    pub(super) document: Arc<Validated>,
    pub(super) operation: Option<String>,
    pub(super) variables: Variables,
}

impl Execution {
    /// Executes the document for one item. Returns None if the item yields no response.
    pub(super) async fn execute(
        &self,
        item: InboxItem,
        caller: Caller,
        loaders: Loaders,
        sharing: Option<Sharing>,
    ) -> Option<Body> {
        let mut request = Request::new(&*self.document.text).variables(self.variables.clone());
        request.operation_name.clone_from(&self.operation);
        request.set_parsed_query(self.document.document.clone());
        request = request.data(Rendering(item)).data(loaders).data(caller);
        request = request.data(AnswerBytes::new(self.max_answer_bytes));
        if let Some(sharing) = sharing {
            request = request.data(sharing);
        }
        let response = self.schema.execute_stream(request).next().await?;
        Some(Body::new(response).counted(&self.metrics))
    }
}
