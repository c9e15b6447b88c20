//! Rendering once: subscribers with the same document and variables get the same bytes.
//!
//! The document is executed for an event without a viewer, and the result is cached. If a resolver asks for the viewer,
//! the document is executed for each viewer from then on. Data of one viewer cannot leak to another viewer, because a
//! shared execution has no viewer.

use std::collections::HashMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use chrono::{DateTime, Utc};
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all, ready};
use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio_util::task::AbortOnDropHandle;

use super::execution::Execution;
use super::personal::Personal;
use super::plan_request::{PlanKey, PlanRequest};
use super::rendered::Rendered;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::App;
use crate::graphql::{Batches, Caller, Identity, InboxItem, Loaders, Schema, Sharing, StreamLoaders};
use crate::log::{RowCache, Seq};
use crate::metrics::Metrics;
use crate::notices::Language;

/// Maximum bytes of rendered events that are cached for streams that have not sent them yet. Evicted events are
/// rendered again.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Estimated bytes that a cached event takes in addition to its text.
const ENTRY_BYTES: usize = 300;

/// The plans of all subscriptions of a node.
pub(super) struct Plans {
    schema: Schema,
    loaders: StreamLoaders,
    pub(super) personal: Personal,
    row_cache: RowCache,
    metrics: Metrics,
    by_key: Mutex<HashMap<PlanKey, Weak<Plan>>>,
    next_id: AtomicU64,
    clock: Clock,
    max_answer_bytes: u64,
    /// Cached renderings by plan, event, and the version of what the event shows.
    rendered: Cache<(u64, InboxItem, Seq), CachedRendering, Weight>,
}

/// A cached rendering for all subscribers.
#[derive(Clone)]
struct CachedRendering {
    /// The rendered event. None if the object of the event no longer exists.
    rendered: Option<Rendered>,
    /// Time after which the event is rendered again, because it shows URLs that expire. None if the event shows no such
    /// URLs.
    expires_at: Option<DateTime<Utc>>,
}

impl CachedRendering {
    fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

/// A document with an operation and variables, shared by all subscriptions that use them.
pub(super) struct Plan {
    key: PlanKey,
    plans: Arc<Plans>,
    execution: Arc<Execution>,
    /// Whether a resolver has ever asked for the viewer.
    personal: AtomicBool,
}

#[derive(Clone)]
struct Weight;

impl Weighter<(u64, InboxItem, Seq), CachedRendering> for Weight {
    fn weight(&self, _: &(u64, InboxItem, Seq), cached: &CachedRendering) -> u64 {
        (cached.rendered.as_ref().map_or(0, Rendered::len) + ENTRY_BYTES) as u64
    }
}

/// The responses for several items, in the order of the items. A response is None if the object of the event no longer
/// exists.
pub(super) type Results = Vec<Option<Rendered>>;

/// Why an item has no rendering for all subscribers.
enum Unshared {
    /// The document depends on the viewer.
    Personal,
    /// The response has errors. It is not cached, because the next rendering may succeed.
    Failed(Rendered),
}

impl Plans {
    pub(super) fn new(schema: Schema, app: &App, config: &Config) -> Self {
        let connections = config.postgres.database_pool_size;
        let entries = usize::try_from(CACHE_BYTES).unwrap_or(usize::MAX) / (2 * ENTRY_BYTES);
        let loaders = StreamLoaders::new(app.clone());
        let metrics = app.metrics().clone();
        Self {
            schema,
            personal: Personal::new(loaders.clone(), app.log().clone(), metrics.clone(), connections),
            loaders,
            row_cache: app.row_cache().clone(),
            metrics,
            by_key: Mutex::default(),
            next_id: AtomicU64::new(0),
            clock: app.clock(),
            max_answer_bytes: config.operations.operation_max_answer_bytes,
            rendered: Cache::with_weighter(entries, CACHE_BYTES, Weight),
        }
    }

    /// Returns loaders for one stream, whose executions `batches` must drive.
    pub(super) fn loaders(&self, batches: Batches) -> Loaders {
        self.loaders.loaders(batches)
    }

    /// Returns the plan for a request, and creates the plan if it does not exist. The subscription must have been
    /// opened successfully: all subscribers use the variables of the first subscriber, so these variables must be
    /// valid.
    pub(super) fn get_or_create(self: &Arc<Self>, plan_request: PlanRequest) -> Arc<Plan> {
        let PlanRequest { key, document, variables, cost, .. } = plan_request;
        let mut plans = self.by_key.lock();
        if let Some(plan) = plans.get(&key).and_then(Weak::upgrade) {
            return plan;
        }
        let plan = Arc::new(Plan {
            key: key.clone(),
            plans: Arc::clone(self),
            execution: Arc::new(Execution {
                id: self.next_id.fetch_add(1, Ordering::Relaxed),
                cost,
                schema: self.schema.clone(),
                metrics: self.metrics.clone(),
                max_answer_bytes: self.max_answer_bytes,
                document,
                operation: key.operation.clone(),
                variables,
            }),
            personal: AtomicBool::new(false),
        });
        plans.insert(key, Arc::downgrade(&plan));
        plan
    }
}

impl Plan {
    /// The cost of one event, in the unit of OPERATION_MAX_COMPLEXITY.
    pub(super) fn cost(&self) -> u64 {
        self.execution.cost
    }

    /// Returns the cached rendering of an item. Returns None if no valid rendering is cached. Does not wait.
    #[expect(clippy::option_option, reason = "the cached rendering itself may be None")]
    pub(super) fn rendered(&self, item: InboxItem) -> Option<Option<Rendered>> {
        if self.is_personal() {
            return None;
        }
        let cached = self.plans.rendered.get(&self.cache_key(item))?;
        // The clock is read only if the rendering can expire.
        if cached.expires_at.is_some() && cached.is_expired(self.plans.clock.now()) {
            None
        } else {
            Some(cached.rendered)
        }
    }

    /// Renders items for the caller. The rendering continues even while the returned future is not polled, because the
    /// subscriber may wait for a client that does not read. The rendering stops if the future is dropped.
    pub(super) fn render(self: &Arc<Self>, caller: &Caller, items: Vec<InboxItem>) -> BoxFuture<'static, Results> {
        if self.is_personal() {
            return self.plans.personal.render(&self.execution, caller, &items).boxed();
        }
        let mut rendering = Arc::clone(self).render_all(caller.clone(), items).boxed();
        // Most renderings are ready at once.
        if let Some(results) = rendering.as_mut().now_or_never() {
            return ready(results).boxed();
        }
        let task = AbortOnDropHandle::new(tokio::spawn(rendering));
        task.map(|done| done.unwrap_or_else(|error| resume_unwind(error.into_panic()))).boxed()
    }

    /// Renders each item for all subscribers if possible, otherwise for this caller. All items share their loads.
    async fn render_all(self: Arc<Self>, caller: Caller, items: Vec<InboxItem>) -> Results {
        let batches = Batches::default();
        let loaders = self.plans.loaders(batches.clone());
        let shared = batches.drive(join_all(items.iter().map(|&item| self.share(item, loaders.clone())))).await;
        join_all(shared.into_iter().zip(items).map(async |(shared, item)| match shared {
            Ok(rendered) => rendered,
            Err(Unshared::Failed(rendered)) => Some(rendered),
            Err(Unshared::Personal) => {
                self.plans.personal.render(&self.execution, &caller, &[item]).await.pop().flatten()
            }
        }))
        .await
    }

    /// Renders an item for all subscribers. If several subscribers ask for the item at the same time, the first
    /// subscriber renders it and the other subscribers wait.
    async fn share(&self, item: InboxItem, loaders: Loaders) -> Result<Option<Rendered>, Unshared> {
        let (cache, key) = (&self.plans.rendered, self.cache_key(item));
        if cache.peek(&key).is_some_and(|cached| cached.is_expired(self.plans.clock.now())) {
            cache.remove_if(&key, |cached| cached.is_expired(self.plans.clock.now()));
        }
        Ok(cache.get_or_insert_async(&key, self.render_shared(item, loaders)).await?.rendered)
    }

    async fn render_shared(&self, item: InboxItem, loaders: Loaders) -> Result<CachedRendering, Unshared> {
        // The plan may have become personal while this subscriber waited for the rendering of another subscriber.
        if self.is_personal() {
            return Err(Unshared::Personal);
        }
        let sharing = Sharing::default();
        let language = Language::default();
        let anonymous = Caller { identity: Identity::Anonymous, ip_address: None, network: None, language };
        let body = self.execution.execute(item, anonymous, loaders, Some(sharing.clone())).await;
        if sharing.failed() {
            self.personal.store(true, Ordering::SeqCst);
            return Err(Unshared::Personal);
        }
        self.plans.metrics.renders(true);
        match body {
            Some(body) if !body.errors.is_empty() => Err(Unshared::Failed(Rendered::new(body))),
            body => Ok(CachedRendering { rendered: body.map(Rendered::new), expires_at: sharing.expires_at() }),
        }
    }

    /// Returns the cache key of an item. The key changes when the message that the item shows changes, so that the item
    /// is rendered again.
    fn cache_key(&self, item: InboxItem) -> (u64, InboxItem, Seq) {
        let state = match &item {
            InboxItem::Logged(item) => self.plans.row_cache.version_of(item),
            InboxItem::Typing(..) | InboxItem::Presence(..) => 0,
        };
        (self.execution.id, item, state)
    }

    fn is_personal(&self) -> bool {
        self.personal.load(Ordering::SeqCst)
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let mut plans = self.plans.by_key.lock();
        // A new plan may have replaced this one already.
        if plans.get(&self.key).is_some_and(|plan| plan.strong_count() == 0) {
            plans.remove(&self.key);
        }
    }
}
