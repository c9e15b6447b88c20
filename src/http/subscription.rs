//! A running subscription, from the items of the log to the responses for its client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use async_graphql::{Request, Response};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};

use super::Server;
use super::budget::Share;
use super::plan_request::PlanRequest;
use super::render::{Plan, Results};
use super::rendered::Rendered;
use super::response::Body;
use crate::graphql::{Batches, Caller, Items, Schema};
use crate::metrics::{Metrics, Open};
use crate::task::Spawned;

/// Maximum number of waiting events of one stream that are rendered together.
const MAX_BATCH: u64 = 16;
/// Maximum cost of the events of one stream that are rendered together, in the unit of OPERATION_MAX_COMPLEXITY. Bounds
/// the memory of the results that wait for a client. A more expensive event is rendered alone.
const MAX_BATCH_COST: u64 = 1_600;

/// The stream of responses of a subscription. The caller must drop the stream after `Rendered::Failed`.
pub(super) struct Subscription {
    metrics: Metrics,
    stage: Stage,
    _open: Open,
    /// The subscription's share of the user's SUBSCRIPTION_BUDGET.
    _share: Option<Share>,
}

enum Stage {
    /// The subscription shares no renderings: each event is executed for this client alone.
    Alone(Spawned<Response>),
    /// The caller and the arguments are being checked.
    Opening(Spawned<Result<Box<Live>, Body>>),
    Live(Box<Live>),
    Over,
}

struct Live {
    items: Items,
    plan: Arc<Plan>,
    caller: Caller,
    /// Maximum number of events that are rendered together.
    max_batch: u64,
    rendering: Option<BoxFuture<'static, Results>>,
    /// The results that were rendered together and are not sent yet.
    rendered: vec::IntoIter<Option<Rendered>>,
}

impl Subscription {
    pub(super) fn new(
        server: &Server,
        schema: &Schema,
        request: Request,
        plan_request: Option<PlanRequest>,
        caller: Caller,
        share: Option<Share>,
    ) -> Self {
        let metrics = server.app.metrics().clone();
        let gate = server.plans.personal.gate();
        let stage = match plan_request {
            // A subscription without a plan has its own loaders.
            None => {
                let batches = Batches::default();
                let request = request.data(server.plans.loaders(batches.clone())).data(caller);
                Stage::Alone(Spawned::new(gate.stream(batches.drive_stream(schema.execute_stream(request)))))
            }
            Some(plan_request) => {
                Stage::Opening(Spawned::new(gate.stream(stream::once(open(server.clone(), plan_request, caller)))))
            }
        };
        Self { _open: metrics.subscription(), _share: share, metrics, stage }
    }
}

/// Checks the caller and the arguments, and opens the subscription. An error is the only response of the subscription.
async fn open(server: Server, plan_request: PlanRequest, caller: Caller) -> Result<Box<Live>, Body> {
    let items = server.schemas.open(&plan_request.log_request, &caller).await;
    let items = items.map_err(|error| Body::new(Response::from_errors(vec![error])))?;
    let plan = server.plans.get_or_create(plan_request);
    let max_batch = (MAX_BATCH_COST / plan.cost().max(1)).clamp(1, MAX_BATCH);
    Ok(Box::new(Live { items, plan, caller, max_batch, rendering: None, rendered: Vec::new().into_iter() }))
}

impl Stream for Subscription {
    type Item = Rendered;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Rendered>> {
        loop {
            let response = match &mut self.stage {
                Stage::Alone(responses) => {
                    let response = ready!(responses.poll_next_unpin(cx));
                    if response.as_ref().is_some_and(Response::is_ok) {
                        self.metrics.renders(false);
                    }
                    response
                }
                Stage::Opening(opening) => {
                    let refused = match ready!(opening.poll_next_unpin(cx)) {
                        Some(Ok(live)) => {
                            self.stage = Stage::Live(live);
                            continue;
                        }
                        Some(Err(body)) => Some(Rendered::new(body.counted(&self.metrics))),
                        None => None,
                    };
                    self.stage = Stage::Over;
                    return Poll::Ready(refused);
                }
                Stage::Live(live) => return live.poll_next(cx),
                Stage::Over => None,
            };
            return Poll::Ready(response.map(|response| Rendered::new(Body::new(response).counted(&self.metrics))));
        }
    }
}

impl Live {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Rendered>> {
        loop {
            if let Some(rendering) = &mut self.rendering {
                self.rendered = ready!(rendering.poll_unpin(cx)).into_iter();
                self.rendering = None;
            }
            if let Some(rendered) = self.rendered.by_ref().flatten().next() {
                return Poll::Ready(Some(rendered));
            }
            let Some(item) = ready!(self.items.poll_next_unpin(cx)) else { return Poll::Ready(None) };
            match self.plan.rendered(item) {
                Some(Some(rendered)) => return Poll::Ready(Some(rendered)),
                Some(None) => {}
                None => {
                    // Events that already wait are rendered together with this event, so that they share their loads.
                    let mut waiting = vec![item];
                    while (waiting.len() as u64) < self.max_batch
                        && let Poll::Ready(Some(item)) = self.items.poll_next_unpin(cx)
                    {
                        waiting.push(item);
                    }
                    self.rendering = Some(self.plan.render(&self.caller, waiting));
                }
            }
        }
    }
}
