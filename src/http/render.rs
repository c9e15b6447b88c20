//! Rendering once: subscribers that ask in the same way get the same bytes.
//!
//! An event is executed without any viewer and kept for a while. Where a resolver asks for the viewer, its document is
//! executed for each viewer from then on: what differs between viewers cannot leak, because shared execution knows none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_graphql::parser::types::{Directive, Field, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned, Request, Value, Variables};
use async_graphql_value::Value as Literal;
use chrono::{DateTime, Utc};
use futures_util::{FutureExt as _, StreamExt as _};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::documents::{Digest, Validated};
use super::response::Body;
use crate::clock::Clock;
use crate::graphql::{Caller, Identity, InboxItem, Loaders, Phase, Schema, Sharing};
use crate::log::{Log, Seq};
use crate::metrics::Metrics;

/// Bytes of rendered events kept for the streams that have not come to them yet; behind that they are rendered anew.
const KEPT_BYTES: u64 = 32 * 1024 * 1024;
/// About what an event takes beside its text.
const ENTRY: usize = 300;

/// One event of a subscription on its way to clients.
#[derive(Clone)]
pub(super) enum Rendered {
    /// A response, as JSON.
    Next(Arc<str>),
    /// It failed as a whole, which ends the subscription.
    Failed(Arc<Body>),
}

impl Rendered {
    pub(super) fn new(body: Body) -> Self {
        match body.data {
            None | Some(Value::Null) => Self::Failed(Arc::new(body)),
            Some(_) => Self::Next(body.to_json().into()),
        }
    }
}

/// The ways in which the subscribers of a node ask.
pub(super) struct Plans {
    schema: Schema,
    /// Of every stream of the node.
    pub(super) loaders: Loaders,
    log: Log,
    metrics: Metrics,
    known: Mutex<HashMap<Key, Weak<Plan>>>,
    next_id: AtomicU64,
    clock: Clock,
    /// By plan, event, and the state of what it shows.
    rendered: Cache<(u64, InboxItem, Seq), Kept, Weight>,
}

/// What was rendered for all.
#[derive(Clone)]
struct Kept {
    /// None where what the event tells of is gone.
    rendered: Option<Rendered>,
    /// From when on it is rendered anew: it shows addresses that expire. None is never.
    fades_at: Option<DateTime<Utc>>,
}

impl Kept {
    fn is_faded(&self, now: DateTime<Utc>) -> bool {
        self.fades_at.is_some_and(|at| at <= now)
    }
}

/// Two who have it in common see every event the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    document: Digest,
    operation: Option<String>,
    /// As JSON, without those that only say what is subscribed to.
    variables: String,
}

/// A way of asking, before it is known whether it is right.
pub(super) struct PlanRequest {
    key: Key,
    document: Arc<Validated>,
    /// Those that the operation declares.
    variables: Variables,
}

impl PlanRequest {
    /// None for what is no single field, and is rendered for its subscriber alone.
    pub(super) fn new(
        document: &Arc<Validated>,
        operation: &OperationDefinition,
        name: Option<&str>,
        variables: &Variables,
    ) -> Option<Self> {
        let root = single_field(operation)?;
        let mut used = Used::default();
        used.set(&root.selection_set.node);
        used.directives(&operation.directives);
        for fragment in document.document.fragments.values() {
            used.directives(&fragment.node.directives);
            used.set(&fragment.node.selection_set.node);
        }
        // One that is null is not one that is left out, which has its default.
        let relevant: BTreeMap<_, _> =
            used.0.into_iter().filter_map(|name| Some((name, variables.get(name)?))).collect();
        let key = Key {
            document: document.digest,
            operation: name.map(str::to_owned),
            variables: serde_json::to_string(&relevant).ok()?,
        };
        let declared = operation.variable_definitions.iter().map(|definition| &definition.node.name.node);
        let declared = declared.filter_map(|name| Some((name.clone(), variables.get(name)?.clone())));
        let variables = Variables::from_value(Value::Object(declared.collect()));
        Some(Self { key, document: Arc::clone(document), variables })
    }
}

/// One way of asking.
pub(super) struct Plan {
    id: u64,
    key: Key,
    plans: Arc<Plans>,
    document: Arc<Validated>,
    variables: Variables,
    /// Whether the viewer was ever asked for.
    personal: AtomicBool,
}

#[derive(Clone)]
struct Weight;

impl Weighter<(u64, InboxItem, Seq), Kept> for Weight {
    fn weight(&self, _: &(u64, InboxItem, Seq), kept: &Kept) -> u64 {
        let text = match &kept.rendered {
            Some(Rendered::Next(json)) => json.len(),
            Some(Rendered::Failed(_)) | None => 0,
        };
        (text + ENTRY) as u64
    }
}

/// Why the rendering for all is none.
enum Unshared {
    /// The document is for each viewer.
    Personal,
    /// There were errors, which may be gone the next time.
    Failed(Rendered),
}

impl Plans {
    pub(super) fn new(schema: Schema, loaders: Loaders, log: Log, metrics: Metrics, clock: Clock) -> Self {
        let entries = usize::try_from(KEPT_BYTES).unwrap_or(usize::MAX) / (2 * ENTRY);
        Self {
            schema,
            loaders,
            log,
            metrics,
            known: Mutex::default(),
            next_id: AtomicU64::new(0),
            clock,
            rendered: Cache::with_weighter(entries, KEPT_BYTES, Weight),
        }
    }

    /// The plan of those who ask in this way. Only for who was let in, with variables that were found right: the first
    /// one's are everybody's.
    pub(super) fn enter(self: &Arc<Self>, wanted: PlanRequest) -> Arc<Plan> {
        let PlanRequest { key, document, variables } = wanted;
        let mut known = self.lock();
        if let Some(plan) = known.get(&key).and_then(Weak::upgrade) {
            return plan;
        }
        let plan = Arc::new(Plan {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            key: key.clone(),
            plans: Arc::clone(self),
            document,
            variables,
            personal: AtomicBool::new(false),
        });
        known.insert(key, Arc::downgrade(&plan));
        plan
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Plan>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// The same where it has been rendered for all, without waiting for anything.
    #[expect(clippy::option_option, reason = "what was rendered may be nothing")]
    pub(super) fn rendered(&self, item: InboxItem) -> Option<Option<Rendered>> {
        if self.is_personal() {
            return None;
        }
        let kept = self.plans.rendered.get(&self.place(item))?;
        // The clock is asked only where it matters.
        if kept.fades_at.is_some() && kept.is_faded(self.plans.clock.now()) { None } else { Some(kept.rendered) }
    }

    /// The item as its subscribers see it; None where what it tells of is gone.
    pub(super) async fn render(self: &Arc<Self>, caller: &Caller, item: InboxItem) -> Option<Rendered> {
        if !self.is_personal() {
            match self.share(item).await {
                Ok(rendered) => return rendered,
                Err(Unshared::Failed(rendered)) => return Some(rendered),
                Err(Unshared::Personal) => {}
            }
        }
        self.plans.metrics.renders(false);
        let body = self.execute(self.request(item).data(caller.clone())).await?;
        Some(Rendered::new(body))
    }

    /// The others wait for who comes first. Where that is not done at once it goes on in a task of its own: this
    /// subscriber may be stuck with a client that does not read.
    async fn share(self: &Arc<Self>, item: InboxItem) -> Result<Option<Rendered>, Unshared> {
        let plan = Arc::clone(self);
        let mut sharing = Box::pin(async move {
            let (kept, place) = (&plan.plans.rendered, plan.place(item));
            if kept.peek(&place).is_some_and(|kept| kept.is_faded(plan.plans.clock.now())) {
                kept.remove_if(&place, |kept| kept.is_faded(plan.plans.clock.now()));
            }
            Ok(kept.get_or_insert_async(&place, plan.render_shared(item)).await?.rendered)
        });
        match sharing.as_mut().now_or_never() {
            Some(shared) => shared,
            // It fails only by a panic, which the log tells of; then each renders for itself.
            None => tokio::spawn(sharing).await.unwrap_or(Err(Unshared::Personal)),
        }
    }

    async fn render_shared(&self, item: InboxItem) -> Result<Kept, Unshared> {
        // Those who have waited for the first to find out need not find out again.
        if self.is_personal() {
            return Err(Unshared::Personal);
        }
        let sharing = Sharing::default();
        let nobody = Caller { identity: Identity::Anonymous, ip_address: None };
        let body = self.execute(self.request(item).data(nobody).data(sharing.clone())).await;
        if sharing.failed() {
            self.personal.store(true, Ordering::SeqCst);
            return Err(Unshared::Personal);
        }
        self.plans.metrics.renders(true);
        match body {
            Some(body) if !body.errors.is_empty() => Err(Unshared::Failed(Rendered::new(body))),
            body => Ok(Kept { rendered: body.map(Rendered::new), fades_at: sharing.fades_at() }),
        }
    }

    /// Under which it is kept: what shows a message is rendered anew once that has changed.
    fn place(&self, item: InboxItem) -> (u64, InboxItem, Seq) {
        let state = match &item {
            InboxItem::Logged(item) => self.plans.log.state_of(item),
            InboxItem::Typing(..) | InboxItem::Presence(..) => 0,
        };
        (self.id, item, state)
    }

    fn is_personal(&self) -> bool {
        self.personal.load(Ordering::SeqCst)
    }

    fn request(&self, item: InboxItem) -> Request {
        let mut request = Request::new(&*self.document.text).variables(self.variables.clone());
        request.operation_name.clone_from(&self.key.operation);
        request.set_parsed_query(self.document.document.clone());
        request.data(Phase::Render(item)).data(self.plans.loaders.clone())
    }

    async fn execute(&self, request: Request) -> Option<Body> {
        // One item is at most one response.
        let response = self.plans.schema.execute_stream(request).next().await?;
        Some(Body::new(response).counted(&self.plans.metrics))
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        let mut known = self.plans.lock();
        // Another may have taken its place already.
        if known.get(&self.key).is_some_and(|plan| plan.strong_count() == 0) {
            known.remove(&self.key);
        }
    }
}

/// The field of an operation that has one, whatever the variables are.
fn single_field(operation: &OperationDefinition) -> Option<&Field> {
    match operation.selection_set.node.items.as_slice() {
        [Positioned { node: Selection::Field(field), .. }] if field.node.directives.is_empty() => Some(&field.node),
        _ => None,
    }
}

/// The variables that are used in selections and directives.
#[derive(Default)]
struct Used<'a>(BTreeSet<&'a str>);

impl<'a> Used<'a> {
    fn set(&mut self, set: &'a SelectionSet) {
        for selection in &set.items {
            match &selection.node {
                Selection::Field(field) => {
                    let field = &field.node;
                    self.arguments(&field.arguments);
                    self.directives(&field.directives);
                    self.set(&field.selection_set.node);
                }
                Selection::FragmentSpread(spread) => self.directives(&spread.node.directives),
                Selection::InlineFragment(fragment) => {
                    self.directives(&fragment.node.directives);
                    self.set(&fragment.node.selection_set.node);
                }
            }
        }
    }

    fn directives(&mut self, directives: &'a [Positioned<Directive>]) {
        for directive in directives {
            self.arguments(&directive.node.arguments);
        }
    }

    fn arguments(&mut self, arguments: &'a [(Positioned<Name>, Positioned<Literal>)]) {
        for (_, value) in arguments {
            self.value(&value.node);
        }
    }

    fn value(&mut self, value: &'a Literal) {
        match value {
            Literal::Variable(name) => {
                self.0.insert(name);
            }
            Literal::List(items) => items.iter().for_each(|item| self.value(item)),
            Literal::Object(members) => members.values().for_each(|value| self.value(value)),
            _ => {}
        }
    }
}
