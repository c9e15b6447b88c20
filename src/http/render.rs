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
use futures_util::StreamExt as _;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Server;
use super::documents::{Digest, Validated};
use super::response::Body;
use crate::graphql::{Caller, Identity, Loaders, Schema, Sharing, Turn};
use crate::log::Item;
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
    loaders: Loaders,
    metrics: Metrics,
    known: Mutex<HashMap<Key, Weak<Plan>>>,
    next_id: AtomicU64,
    /// None where what the event tells of is gone.
    rendered: Cache<(u64, Item), Option<Rendered>, Weight>,
}

/// Two who have it in common see every event the same.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    document: Digest,
    operation: Option<String>,
    /// As JSON, without those that only say what is subscribed to.
    variables: String,
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

impl Weighter<(u64, Item), Option<Rendered>> for Weight {
    fn weight(&self, _: &(u64, Item), rendered: &Option<Rendered>) -> u64 {
        let text = match rendered {
            Some(Rendered::Next(json)) => json.len(),
            Some(Rendered::Failed(_)) | None => 0,
        };
        (text + ENTRY) as u64
    }
}

/// The document is for each viewer.
struct Personal;

impl Plans {
    pub(super) fn new(schema: Schema, loaders: Loaders, metrics: Metrics) -> Self {
        let entries = usize::try_from(KEPT_BYTES).unwrap_or(usize::MAX) / (2 * ENTRY);
        Self {
            schema,
            loaders,
            metrics,
            known: Mutex::default(),
            next_id: AtomicU64::new(0),
            rendered: Cache::with_weighter(entries, KEPT_BYTES, Weight),
        }
    }

    /// The plan of a subscription; None for one that is no single field, which is rendered for its subscriber alone.
    pub(super) fn of(
        server: &Server,
        document: &Arc<Validated>,
        operation: &OperationDefinition,
        name: Option<&str>,
        variables: &Variables,
    ) -> Option<Arc<Plan>> {
        let plans = &server.plans;
        let root = single_field(operation)?;
        let mut used = Used::default();
        used.set(&root.selection_set.node);
        used.directives(&operation.directives);
        document.document.fragments.values().for_each(|fragment| {
            used.directives(&fragment.node.directives);
            used.set(&fragment.node.selection_set.node);
        });
        let relevant: BTreeMap<_, _> = used.0.into_iter().map(|name| (name, variables.get(name))).collect();
        let key = Key {
            document: document.digest,
            operation: name.map(str::to_owned),
            variables: serde_json::to_string(&relevant).ok()?,
        };
        let mut known = plans.lock();
        if let Some(plan) = known.get(&key).and_then(Weak::upgrade) {
            return Some(plan);
        }
        let plan = Arc::new(Plan {
            id: plans.next_id.fetch_add(1, Ordering::Relaxed),
            key: key.clone(),
            plans: Arc::clone(plans),
            document: Arc::clone(document),
            variables: variables.clone(),
            personal: AtomicBool::new(false),
        });
        known.insert(key, Arc::downgrade(&plan));
        Some(plan)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Weak<Plan>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// The same where it has been rendered for all, without waiting for anything.
    #[expect(clippy::option_option, reason = "what was rendered may be nothing")]
    pub(super) fn rendered(&self, item: Item) -> Option<Option<Rendered>> {
        if self.is_personal() { None } else { self.plans.rendered.get(&(self.id, item)) }
    }

    /// The item as its subscribers see it; None where what it tells of is gone.
    pub(super) async fn render(&self, caller: &Caller, item: Item) -> Option<Rendered> {
        if !self.is_personal() {
            let shared = self.plans.rendered.get_or_insert_async(&(self.id, item), self.render_shared(item)).await;
            if let Ok(rendered) = shared {
                return rendered;
            }
        }
        self.plans.metrics.renders(false);
        self.execute(self.request(item).data(caller.clone())).await
    }

    async fn render_shared(&self, item: Item) -> Result<Option<Rendered>, Personal> {
        // Those who have waited for the first to find out need not find out again.
        if self.is_personal() {
            return Err(Personal);
        }
        let sharing = Sharing::default();
        let nobody = Caller { identity: Identity::Anonymous, ip_address: None };
        let rendered = self.execute(self.request(item).data(nobody).data(sharing.clone())).await;
        if sharing.failed() {
            self.personal.store(true, Ordering::SeqCst);
            return Err(Personal);
        }
        self.plans.metrics.renders(true);
        Ok(rendered)
    }

    fn is_personal(&self) -> bool {
        self.personal.load(Ordering::SeqCst)
    }

    fn request(&self, item: Item) -> Request {
        let mut request = Request::new(&*self.document.text).variables(self.variables.clone());
        request.operation_name.clone_from(&self.key.operation);
        request.set_parsed_query(self.document.document.clone());
        request.data(Turn::Render(item)).data(self.plans.loaders.clone())
    }

    async fn execute(&self, request: Request) -> Option<Rendered> {
        // One item is at most one response.
        let response = self.plans.schema.execute_stream(request).next().await?;
        Some(Rendered::new(Body::new(response).counted(&self.plans.metrics)))
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
