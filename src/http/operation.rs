//! One operation as a client sends it, in a body, a query string or over a socket, and its execution.

use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{Request, Variables};
use futures_util::FutureExt as _;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout};

use super::Server;
use super::cost::{Costs, Price};
use super::documents::{Documents, Found, Validated};
use super::plan_request::PlanRequest;
use super::response::Body;
use super::subscription::Subscription;
use crate::graphql::{Batches, Caller, Error, ErrorCode, Loaders, OnValid, Schema, Schemas};

/// As the specification of GraphQL over HTTP has it in section 5.4; members it does not know are left alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub(super) struct Operation {
    /// Left out where the document is known by its id.
    pub(super) query: Option<String>,
    pub(super) document: Option<DocumentId>,
    name: Option<String>,
    variables: Map<String, Value>,
}

/// By what name a client calls a document that it does not send, or sends to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DocumentId {
    /// `extensions.persistedQuery.sha256Hash`: Apollo's automatic persisted queries.
    Hash(String),
    /// `documentId`: the appendix on persisted documents to GraphQL over HTTP.
    Registered(String),
}

/// An operation that parses, and of which kind it is.
pub(super) struct Parsed {
    schema: Schema,
    request: Request,
    pub(super) kind: OperationType,
    /// In the unit of OPERATION_MAX_COMPLEXITY.
    cost: u64,
    /// How a subscription shares what it renders.
    wanted: Option<PlanRequest>,
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
            // The package graphql-ws sends nothing without a `query`, be it an empty one.
            query: text(&mut members, "query")?.filter(|query| !query.is_empty() || document.is_none()),
            document,
            // Some clients send an empty name for a document that has one operation.
            name: text(&mut members, "operationName")?.filter(|name| !name.is_empty()),
            variables: object(&mut members, "variables")?.unwrap_or_default(),
        };
        if operation.query.is_none() && operation.document.is_none() {
            return Err("`query` is missing".to_owned());
        }
        Ok(operation)
    }
}

/// `{"version": 1, "sha256Hash": "…"}`
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

/// An operation whose document may be run, as far as its own text goes.
pub(super) struct Admitted {
    pub(super) document: Arc<Validated>,
    cost: u64,
    /// Whether it is not known yet that it is valid.
    is_new: bool,
    name: Option<String>,
    variables: Variables,
}

impl Operation {
    /// Finds the document and what it costs. No work has been done yet for what is refused here.
    pub(super) fn parse(self, server: &Server) -> Result<Parsed, Body> {
        self.try_parse(server).map_err(|body| body.counted(server.app.metrics()))
    }

    fn try_parse(self, server: &Server) -> Result<Parsed, Body> {
        let Admitted { document, cost, is_new, name, variables } = self.admit(&server.documents, &server.costs)?;
        let operation = operation(&document.document, name.as_deref()).ok_or_else(|| {
            let message = "operationName must name one of the document's operations.";
            Body::refused(Error::new(ErrorCode::GraphqlValidationFailed, message))
        })?;
        let kind = operation.ty;
        Schemas::check_given(&operation.variable_definitions, &variables).map_err(Body::refused)?;
        let trusted = !is_new && server.schemas.fit(&operation.variable_definitions, &variables);
        let schema = if trusted { server.schemas.trusting() } else { server.schemas.strict(&document.text) };
        let wanted = match kind {
            OperationType::Subscription => PlanRequest::new(&document, operation, name.as_deref(), &variables, cost),
            OperationType::Query | OperationType::Mutation => None,
        };
        let mut request = Request::new(&*document.text).variables(variables);
        request.operation_name = name;
        request.set_parsed_query(document.document.clone());
        if is_new {
            let documents = Arc::clone(&server.documents);
            request = request.data(OnValid::new(move || documents.keep(Arc::clone(&document))));
        }
        Ok(Parsed { schema: schema.clone(), request, kind, cost, wanted })
    }

    /// As far as its own text goes, without the schema.
    pub(super) fn admit(self, documents: &Documents, costs: &Costs) -> Result<Admitted, Body> {
        let variables = Variables::from_json(Value::Object(self.variables));
        let (document, price, is_new) =
            match documents.find(self.query, self.document.as_ref()).map_err(Body::refused)? {
                Found::Validated(document) => {
                    let price = match document.price {
                        known @ Price { varies: false, .. } => known,
                        _ => costs.check(&document.document, &variables).map_err(Body::refused)?,
                    };
                    (document, price, false)
                }
                Found::Text(digest, text) => {
                    costs.check_text(&text).map_err(Body::refused)?;
                    let document = parse_query(&*text).map_err(|error| Body::unparsed(error.into()))?;
                    let price = costs.check(&document, &variables).map_err(Body::refused)?;
                    (Arc::new(Validated { digest, text, document, price }), price, true)
                }
            };
        Ok(Admitted { document, cost: price.complexity, is_new, name: self.name, variables })
    }
}

impl Parsed {
    /// Runs a query or mutation in a task of its own, from now on: a transaction is finished whether or not its
    /// client waits. A query whose time is up asks Postgres for nothing more.
    pub(super) fn execute(self, server: &Server, caller: Caller) -> impl Future<Output = Body> + Send + use<> {
        let (schema, limit) = (self.schema, server.config.operations.operation_timeout);
        let is_query = self.kind == OperationType::Query;
        let batches = Batches::default();
        let deadline = is_query.then(|| Instant::now() + limit);
        let loaders = Loaders::of_request(server.app.clone(), batches.clone(), deadline);
        let request = self.request.data(caller).data(loaders);
        let task = tokio::spawn(async move { Body::new(batches.drive(schema.execute(request)).await) });
        let metrics = server.app.metrics().clone();
        let answer = async move {
            let seconds = limit.as_secs();
            match timeout(limit, task).await {
                Ok(finished) => finished.unwrap_or_else(|_| Body::crashed()),
                Err(_) if is_query => {
                    let message = format!("This took more than {seconds} s, and was stopped.");
                    Body::refused(Error::new(ErrorCode::OperationTooComplex, message))
                }
                // It is neither stopped nor known to succeed; what has a clientId can be sent again.
                Err(_) => {
                    let message = format!("This takes more than {seconds} s. It may still be done.");
                    Body::refused(Error::new(ErrorCode::Unavailable, message))
                }
            }
        };
        answer.map(move |body| body.counted(&metrics))
    }

    /// Runs a subscription, as long as the stream is polled. RATE_LIMITED where the user's others cost too much already.
    pub(super) fn subscribe(self, server: &Server, caller: Caller) -> Result<Subscription, Error> {
        let share = server.subscription_budget.take(&caller, self.cost)?;
        Ok(Subscription::new(server, &self.schema, self.request, self.wanted, caller, share))
    }
}

fn operation<'a>(document: &'a ExecutableDocument, name: Option<&str>) -> Option<&'a OperationDefinition> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name)?,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next()?,
        (DocumentOperations::Single(_), Some(_)) | (DocumentOperations::Multiple(_), None) => return None,
    };
    Some(&operation.node)
}
