//! The operations that run on one connection.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};

use crate::http::rendered::Rendered;
use crate::http::response::Body;
use crate::http::subscription::Subscription;

#[derive(Default)]
pub(super) struct Operations {
    running: Vec<(Arc<str>, Running)>,
    /// Index of the operation that is polled first the next time, so that a busy operation does not starve the other
    /// operations.
    next: usize,
}

pub(super) enum Running {
    Subscription(Box<Subscription>),
    /// A query or mutation.
    Request(BoxFuture<'static, Body>),
}

/// An output of an operation.
pub(super) enum Output {
    /// The response for one event of a subscription.
    Event(Rendered),
    /// The result of a query or mutation, which ends the operation.
    Result(Body),
    /// The subscription has ended.
    End,
}

impl Output {
    /// Whether this output ends its operation.
    fn is_last(&self) -> bool {
        match self {
            Self::Event(Rendered::Next(_)) => false,
            Self::Event(Rendered::Failed(_)) | Self::Result(_) | Self::End => true,
        }
    }
}

impl Operations {
    pub(super) fn insert(&mut self, id: &str, operation: Running) {
        self.running.push((id.into(), operation));
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.running.retain(|(running, _)| &**running != id);
    }

    pub(super) fn contains(&self, id: &str) -> bool {
        self.running.iter().any(|(running, _)| &**running == id)
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether a query or mutation is still running.
    pub(super) fn has_requests(&self) -> bool {
        self.running.iter().any(|(_, operation)| matches!(operation, Running::Request(_)))
    }

    /// Returns the next output of any operation. Removes the operation if this is its last output. Stays pending while
    /// no operation runs.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Arc<str>, Output)> {
        for _ in 0..self.running.len() {
            let index = self.next % self.running.len();
            let Some((id, operation)) = self.running.get_mut(index) else { break };
            self.next = index + 1;
            if let Poll::Ready(output) = operation.poll_next(cx) {
                let id = Arc::clone(id);
                if output.is_last() {
                    self.running.swap_remove(index);
                }
                return Poll::Ready((id, output));
            }
        }
        Poll::Pending
    }
}

impl Running {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Output> {
        match self {
            Self::Subscription(events) => {
                events.poll_next_unpin(cx).map(|event| event.map_or(Output::End, Output::Event))
            }
            Self::Request(body) => body.poll_unpin(cx).map(Output::Result),
        }
    }
}
