//! One operation that a client sends, in a body, in a query string or over a socket, and its execution.

use std::sync::Arc;

use async_graphql::parser::types::OperationType;
use async_graphql::{Request, Variables};
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use super::Server;
use super::cost::{Costs, DocumentCost};
use super::documents::{DocumentId, Documents, Found, Validated};
use super::plan_request::PlanRequest;
use super::response::Body;
use super::subscription::Subscription;
use super::threads::SMALL_WORK;
use crate::address::ClientNetwork;
use crate::fair::Gone;
use crate::graphql::{
    AnswerBytes, Batches, Caller, Deadline, Error, ErrorCode, Loaders, Rule, Schema, Spec, Syntax, selected_operation,
};
use crate::limiter::Key;

/// An operation as the client sends it: the members of a request (GraphQL over HTTP, section 5.4). Unknown members are
/// ignored.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub(super) struct Operation {
    /// The text of the document. None if the client sends only the id or the hash of the document.
    pub(super) query: Option<String>,
    pub(super) document: Option<DocumentId>,
    name: Option<String>,
    variables: Map<String, Value>,
    /// Whether the request was too large to be parsed on a thread of the runtime.
    large: bool,
}

/// An operation whose document is parsed and within the limits.
pub(super) struct Parsed {
    schema: Schema,
    request: Request,
    /// Whether the execution may keep a thread of the runtime busy for too long.
    costly: bool,
    pub(super) cost: DocumentCost,
    pub(super) kind: OperationType,
    /// The plan through which a subscription shares its renderings. None if its renderings are not shared, and for a
    /// query or mutation.
    plan_request: Option<PlanRequest>,
}

impl TryFrom<Map<String, Value>> for Operation {
    type Error = String;

    fn try_from(mut members: Map<String, Value>) -> Result<Self, String> {
        let extensions = object(&mut members, "extensions")?.unwrap_or_default();
        let document = match text(&mut members, "documentId")? {
            Some(id) => Some(DocumentId::Registered(id)),
            None => extensions.get("persistedQuery").map(persisted_query).transpose()?,
        };
        let operation = Self {
            // The npm package graphql-ws always sends a `query`. It is empty if the client sends only the document's
            // id.
            query: text(&mut members, "query")?.filter(|query| !query.is_empty() || document.is_none()),
            document,
            // Some clients send an empty name for a document that has one operation.
            name: text(&mut members, "operationName")?.filter(|name| !name.is_empty()),
            variables: object(&mut members, "variables")?.unwrap_or_default(),
            large: false,
        };
        if operation.query.is_none() && operation.document.is_none() {
            return Err("`query` is missing".to_owned());
        }
        Ok(operation)
    }
}

/// Reads the value of `extensions.persistedQuery`: `{"version": 1, "sha256Hash": "…"}`.
fn persisted_query(value: &Value) -> Result<DocumentId, String> {
    match (value.get("version").and_then(Value::as_u64), value.get("sha256Hash").and_then(Value::as_str)) {
        (Some(1), Some(hash)) => Ok(DocumentId::Hash(hash.to_owned())),
        _ => Err("`extensions.persistedQuery` must have `version` 1 and a `sha256Hash`".to_owned()),
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("`{name}` must be a string")),
    }
}

fn object(members: &mut Map<String, Value>, name: &str) -> Result<Option<Map<String, Value>>, String> {
    match members.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(format!("`{name}` must be an object")),
    }
}

/// An operation whose document is allowed and within the limits, but perhaps not validated against the schema yet.
pub(super) struct Admitted {
    pub(super) document: Arc<Validated>,
    /// The parsed document that still has to be validated. None if the document is cached.
    syntax: Option<Syntax>,
    /// The cost with the variables of this operation.
    cost: DocumentCost,
    name: Option<String>,
    variables: Variables,
}

impl Operation {
    /// Marks an operation whose request was too large to be parsed on a thread of the runtime.
    pub(super) const fn large(mut self) -> Self {
        self.large = true;
        self
    }

    /// Finds or parses the document and computes its cost, on a thread of the pool if the request or the document is
    /// large. An operation that is refused here has not been executed. `network` is the key of the client's share of
    /// the pool.
    pub(super) async fn parse(self, server: &Server, network: Option<ClientNetwork>) -> Result<Parsed, Body> {
        let parsed = if self.is_small(&server.documents) {
            self.try_parse(server)
        } else {
            let on_thread = server.clone();
            let parsed = server
                .threads
                .run(network.map(Key::Network), &Gone::default(), move || self.try_parse(&on_thread))
                .await;
            parsed.unwrap_or_else(|error| Err(Body::refused(error)))
        };
        parsed.map_err(|body| body.counted(server.app.metrics()))
    }

    fn is_small(&self, documents: &Documents) -> bool {
        !self.large && documents.is_small(self.query.as_deref(), self.document.as_ref())
    }

    /// Does the work of `parse` on this thread: parses and validates a new document, and coerces the variables.
    fn try_parse(self, server: &Server) -> Result<Parsed, Body> {
        let (large, spec) = (self.large, server.schemas.spec());
        let Admitted { mut document, syntax, cost, name, variables } =
            self.admit(&server.documents, &server.costs, spec)?;
        if let Some(syntax) = syntax {
            let never_null = spec.validate(&syntax).map_err(Body::invalid)?;
            if let Some(validated) = Arc::get_mut(&mut document) {
                never_null.apply(&mut validated.document);
                if let Some((rewritten, added)) = spec.rewrite_unions(&validated.document) {
                    let original = std::mem::replace(&mut validated.document, rewritten);
                    validated.counted = (validated.cost.varies && added > 0).then_some(original);
                    validated.added = added;
                }
            }
            server.documents.cache(Arc::clone(&document));
        }
        let (document, variables) = document.with_variables(spec, name.as_deref(), &variables)?;
        let operation = &selected_operation(&document.document, name.as_deref()).ok_or_else(unknown_operation)?.node;
        let kind = operation.ty;
        let plan_request = match kind {
            OperationType::Subscription => {
                PlanRequest::new(&document, operation, name.as_deref(), &variables, cost.complexity)
            }
            OperationType::Query | OperationType::Mutation => None,
        };
        let mut request = Request::new(&*document.text).variables(variables);
        request.operation_name = name;
        request.set_parsed_query(document.document.clone());
        let costly = large || cost.work > SMALL_WORK;
        Ok(Parsed { schema: server.schemas.executable().clone(), request, costly, cost, kind, plan_request })
    }

    /// Finds or parses the document and checks its limits. Does not validate it against the schema.
    pub(super) fn admit(self, documents: &Documents, costs: &Costs, spec: &Spec) -> Result<Admitted, Body> {
        let variables = Variables::from_json(Value::Object(self.variables));
        let (document, syntax, cost) =
            match documents.find(self.query, self.document.as_ref()).map_err(Body::refused)? {
                Found::Validated(document) => {
                    let cost = match document.cost {
                        cost if cost.varies => {
                            let counted = document.counted.as_ref().unwrap_or(&document.document);
                            costs.check(counted, &variables).map_err(Body::refused)?
                        }
                        cost => cost,
                    };
                    (document, None, cost)
                }
                Found::Text(digest, text) => {
                    costs.check_text(&text).map_err(Body::refused)?;
                    let (syntax, document) = spec.parse(&text).map_err(|error| Body::invalid(vec![error]))?;
                    let cost = costs.check(&document, &variables).map_err(Body::refused)?;
                    (Arc::new(Validated { digest, text, document, counted: None, added: 0, cost }), Some(syntax), cost)
                }
            };
        Ok(Admitted { document, syntax, cost, name: self.name, variables })
    }
}

impl Validated {
    /// Returns the coerced variables, and the document without the arguments whose variables are omitted.
    fn with_variables(
        self: Arc<Self>,
        spec: &Spec,
        name: Option<&str>,
        given: &Variables,
    ) -> Result<(Arc<Self>, Variables), Body> {
        let operation = selected_operation(&self.document, name).ok_or_else(unknown_operation)?;
        let variables = spec.coerce(&operation.node, given).map_err(Body::invalid)?;
        let changed = spec.executable(&self.document, operation, name, &variables).map(|document| {
            let (text, added) = (Arc::clone(&self.text), self.added);
            Arc::new(Self { digest: self.digest, text, document, counted: None, added, cost: self.cost })
        });
        Ok((changed.unwrap_or(self), variables))
    }
}

fn unknown_operation() -> Body {
    let message = "`operationName` must be the name of an operation in the document. It may be omitted only if the \
        document has one operation.";
    Body::refused(Error::violation(Rule::KnownOperationNames, message))
}

impl Parsed {
    /// Starts a query or mutation at once in its own task, and returns a future of its result. A costly operation is
    /// polled on threads of the pool. A transaction is finished even if its client disconnects. If the returned future
    /// is dropped, work that still waits for a worker pool never begins. A query that exceeds OPERATION_TIMEOUT runs no
    /// further statements.
    pub(super) fn execute(self, server: &Server, caller: Caller) -> impl Future<Output = Body> + Send + use<> {
        let (schema, limit) = (self.schema, server.config.operations.operation_timeout);
        let is_query = self.kind == OperationType::Query;
        let batches = Batches::default();
        let deadline = Instant::now() + limit;
        let loaders = Loaders::of_request(server.app.clone(), batches.clone(), is_query.then_some(deadline));
        let (gone, waiting) = Gone::on_drop();
        let (threads, key) = (server.threads.clone(), caller.key());
        let request = self
            .request
            .data(caller)
            .data(loaders)
            .data(gone.clone())
            .data(Deadline(deadline))
            .data(AnswerBytes::new(server.config.operations.operation_max_answer_bytes));
        // Boxed because the future is large and is moved to the task that runs it.
        let execution = Box::pin(async move { Body::new(batches.drive(schema.execute(request)).await) });
        let costly = self.costly;
        let task = tokio::spawn(async move {
            let answer = if costly {
                threads.drive(key, &gone, async { execution.await.encode() }).await
            } else {
                let body = execution.await.encode_if_small();
                if body.is_encoded() {
                    return body;
                }
                // The operation is done and can no longer be refused, so the encoding of its response does not wait for
                // the pool.
                Ok(spawn_blocking(|| body.encode()).await.unwrap_or_else(|_| Body::crashed()))
            };
            answer.unwrap_or_else(Body::refused)
        });
        let metrics = server.app.metrics().clone();
        let answer = async move {
            let _waiting = waiting;
            let seconds = limit.as_secs();
            match timeout(limit, task).await {
                Ok(finished) => finished.unwrap_or_else(|_| Body::crashed()),
                Err(_) if is_query => {
                    let message =
                        format!("The query took longer than {seconds} s and was stopped. Ask for less at once.");
                    Body::refused(Error::new(ErrorCode::OperationTooComplex, message))
                }
                // The mutation is not stopped, and its outcome is unknown. A client can retry it with the same
                // clientId.
                Err(_) => {
                    let message = format!(
                        "The mutation takes longer than {seconds} s. It may still succeed: fetch the state, or \
                         retry it with the same clientId."
                    );
                    Body::refused(Error::new(ErrorCode::Unavailable, message))
                }
            }
        };
        answer.map(move |body| body.counted(&metrics))
    }

    /// Starts a subscription and returns the stream of its responses. Returns RATE_LIMITED if the subscription exceeds
    /// the user's SUBSCRIPTION_BUDGET.
    pub(super) fn subscribe(self, server: &Server, caller: Caller) -> Result<Subscription, Error> {
        let share = server.subscription_budget.reserve(&caller, self.cost.complexity)?;
        Ok(Subscription::new(server, &self.schema, self.request, self.plan_request, caller, share))
    }
}
