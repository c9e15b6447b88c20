//! One operation as a client sends it, in a body, a query string or over a socket, and its execution.

use std::sync::Arc;

use async_graphql::parser::parse_query;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationType};
use async_graphql::{Request, Variables};
use futures_util::{Stream, StreamExt as _};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::Server;
use super::cost::Costs;
use super::documents::Documents;
use super::response::Body;
use crate::graphql::{Batches, Caller, Error, ErrorCode, Loaders, Schema};

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

/// An operation whose document may be run.
pub(super) struct Admitted {
    text: Arc<str>,
    pub(super) document: ExecutableDocument,
    id: Option<DocumentId>,
    name: Option<String>,
    variables: Variables,
}

impl Operation {
    /// Finds the document and what it costs. No work has been done yet for what is refused here.
    pub(super) fn parse(self, server: &Server) -> Result<Parsed, Body> {
        let admitted = self.admit(&server.documents, &server.costs)?;
        let kind = kind(&admitted.document, admitted.name.as_deref()).ok_or_else(|| {
            let message = "operationName must name one of the document's operations.";
            Body::refused(Error::new(ErrorCode::GraphqlValidationFailed, message))
        })?;
        let Admitted { text, document, id, name, variables } = admitted;
        if let Some(DocumentId::Hash(hash)) = id {
            server.documents.remember(hash, &text);
        }
        let mut request = Request::new(&*text).variables(variables);
        request.operation_name = name;
        request.set_parsed_query(document);
        Ok(Parsed { schema: server.schemas.of(&text).clone(), request, kind })
    }

    /// As far as its own text goes, without the schema.
    pub(super) fn admit(self, documents: &Documents, costs: &Costs) -> Result<Admitted, Body> {
        let text = documents.text(self.query, self.document.as_ref()).map_err(Body::refused)?;
        costs.check_text(&text).map_err(Body::refused)?;
        let document = parse_query(&*text).map_err(|error| Body::unparsed(error.into()))?;
        let variables = Variables::from_json(Value::Object(self.variables));
        costs.check(&document, &variables).map_err(Body::refused)?;
        Ok(Admitted { text, document, id: self.document, name: self.name, variables })
    }
}

impl Parsed {
    /// Runs a query or mutation in a task of its own, from now on: a transaction is finished whether or not its
    /// client waits. A query that takes too long is stopped.
    pub(super) fn execute(self, server: &Server, caller: Caller) -> impl Future<Output = Body> + Send + use<> {
        let batches = Batches::default();
        let loaders = Loaders::of_request(server.app.clone(), batches.clone());
        let request = self.request.data(caller).data(loaders);
        let (schema, limit) = (self.schema, server.config.operations.operation_timeout);
        let execution = async move { Body::new(batches.drive(schema.execute(request)).await) };
        let is_query = self.kind == OperationType::Query;
        let task = tokio::spawn(async move {
            if !is_query {
                return execution.await;
            }
            timeout(limit, execution).await.unwrap_or_else(|_| {
                let message = format!("This took more than {} s, and was stopped.", limit.as_secs());
                Body::refused(Error::new(ErrorCode::OperationTooComplex, message))
            })
        });
        async move {
            let finished = async { task.await.unwrap_or_else(|_| Body::crashed()) };
            if is_query {
                return finished.await;
            }
            timeout(limit, finished).await.unwrap_or_else(|_| {
                // It is neither stopped nor known to succeed; what has a clientId can be sent again.
                let message = format!("This takes more than {} s. It may still be done.", limit.as_secs());
                Body::refused(Error::new(ErrorCode::Unavailable, message))
            })
        }
    }

    /// Runs a subscription, as long as the stream is polled.
    pub(super) fn subscribe(self, server: &Server, caller: Caller) -> impl Stream<Item = Body> + Send + use<> {
        let request = self.request.data(caller).data(server.stream_loaders.clone());
        self.schema.execute_stream(request).map(Body::new)
    }
}

fn kind(document: &ExecutableDocument, name: Option<&str>) -> Option<OperationType> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name)?,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next()?,
        (DocumentOperations::Single(_), Some(_)) | (DocumentOperations::Multiple(_), None) => return None,
    };
    Some(operation.node.ty)
}
