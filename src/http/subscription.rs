//! A running subscription, from the items of the log to the responses for its client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::vec;

use async_graphql::{Request, Response};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, Stream, StreamExt as _};

use super::Server;
use super::budget::Share;
use super::plan_request::PlanRequest;
use super::render::{Plan, Plans, Results};
use super::rendered::Rendered;
use super::response::Body;
use crate::graphql::{Batches, Caller, Items, Opened, Phase, Schema};
use crate::metrics::{Metrics, Open};
use crate::task::Spawned;

/// Maximum number of events of one stream that are rendered together, if so many wait.
const MAX_TOGETHER: u64 = 16;
/// Maximum cost of the events of one stream that are rendered together, in the unit of OPERATION_MAX_COMPLEXITY. Bounds the
/// memory of the results that wait for a client. One event is always rendered.
const MAX_COST_TOGETHER: u64 = 1_600;

/// The responses of a subscription. The caller drops it after `Rendered::Failed`.
pub(super) struct Subscription {
    metrics: Metrics,
    stage: Stage,
    _open: Open,
    /// The subscription's share of the user's SUBSCRIPTION_BUDGET.
    _share: Option<Share>,
}

enum Stage {
    /// Shares no renderings: each event is executed for this client alone.
    Alone(Spawned<Response>),
    Opening(Box<Opening>),
    Live(Live),
    Over,
}

/// The caller and the arguments are being checked.
struct Opening {
    responses: Spawned<Response>,
    opened: Opened,
    plans: Arc<Plans>,
    wanted: PlanRequest,
    caller: Caller,
}

struct Live {
    items: Items,
    plan: Arc<Plan>,
    caller: Caller,
    /// Maximum number of events that are rendered together.
    together: u64,
    rendering: Option<BoxFuture<'static, Results>>,
    /// The results that were rendered together and are not sent yet.
    rendered: vec::IntoIter<Option<Rendered>>,
}

impl Subscription {
    pub(super) fn new(
        server: &Server,
        schema: &Schema,
        request: Request,
        wanted: Option<PlanRequest>,
        caller: Caller,
        share: Option<Share>,
    ) -> Self {
        // A stream that is executed for its client alone has loaders of its own.
        let batches = Batches::default();
        let request = request.data(server.plans.loaders(batches.clone())).data(caller.clone());
        let metrics = server.app.metrics().clone();
        let gate = server.plans.personal.gate();
        let run = |request| Spawned::new(gate.stream(batches.drive_stream(schema.execute_stream(request))));
        let stage = match wanted {
            None => Stage::Alone(run(request)),
            Some(wanted) => {
                let opened = Opened::default();
                let responses = run(request.data(Phase::Open(opened.clone())));
                Stage::Opening(Box::new(Opening {
                    responses,
                    opened,
                    plans: Arc::clone(&server.plans),
                    wanted,
                    caller,
                }))
            }
        };
        Self { _open: metrics.subscription(), _share: share, metrics, stage }
    }

    /// Goes from the checks to the events. Ends the subscription if the checks failed.
    fn go_live(&mut self) {
        if let Stage::Opening(opening) = std::mem::replace(&mut self.stage, Stage::Over)
            && let Some(items) = opening.opened.take()
        {
            let (plan, rendered) = (opening.plans.enter(opening.wanted), Vec::new().into_iter());
            let together = (MAX_COST_TOGETHER / plan.cost().max(1)).clamp(1, MAX_TOGETHER);
            self.stage = Stage::Live(Live { items, plan, caller: opening.caller, together, rendering: None, rendered });
        }
    }
}

impl Stream for Subscription {
    type Item = Rendered;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Rendered>> {
        loop {
            let response = match &mut self.stage {
                Stage::Alone(responses) => {
                    let response = ready!(responses.poll_next_unpin(cx));
                    if response.is_some() {
                        self.metrics.renders(false);
                    }
                    response
                }
                // There is no response here, unless the subscription is refused or shares no renderings.
                Stage::Opening(opening) => {
                    let response = ready!(opening.responses.poll_next_unpin(cx));
                    if response.is_none() {
                        self.go_live();
                        continue;
                    }
                    if response.as_ref().is_some_and(Response::is_ok) {
                        self.metrics.renders(false);
                    }
                    response
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
                    // Events that already wait are rendered with this one, so that they share their loads.
                    let mut waiting = vec![item];
                    while (waiting.len() as u64) < self.together
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
