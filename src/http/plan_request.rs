//! The plan that a subscription asks for, before the subscription is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_graphql::parser::types::{Directive, Field, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned, Value, Variables};
use async_graphql_value::Value as Literal;

use super::documents::{Digest, Validated};
use crate::graphql::LogRequest;

/// Identifies a plan. Subscribers with the same key get the same response for an event, unless the response depends on
/// the viewer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PlanKey {
    document: Digest,
    pub(super) operation: Option<String>,
    /// The variables as JSON, without the variables that only select what the client subscribes to.
    variables: String,
}

/// The plan for a subscription that has not been opened yet.
pub(super) struct PlanRequest {
    /// The field that opens the subscription.
    pub(super) log_request: LogRequest,
    pub(super) key: PlanKey,
    pub(super) document: Arc<Validated>,
    /// The variables that the operation declares.
    pub(super) variables: Variables,
    /// The cost of one event, in the unit of OPERATION_MAX_COMPLEXITY.
    pub(super) cost: u64,
}

impl PlanRequest {
    /// Returns the plan that a subscription asks for. Returns None if the operation is not a single field that
    /// subscribes to the log. The operation is then executed for its subscriber alone.
    pub(super) fn new(
        document: &Arc<Validated>,
        operation: &OperationDefinition,
        name: Option<&str>,
        variables: &Variables,
        cost: u64,
    ) -> Option<Self> {
        let root = single_field(operation)?;
        let log_request = LogRequest::new(root, operation, variables)?;
        let root = &root.node;
        let mut used = Used::default();
        used.set(&root.selection_set.node);
        used.directives(&operation.directives);
        used.directives(&root.directives);
        for fragment in document.document.fragments.values() {
            used.directives(&fragment.node.directives);
            used.set(&fragment.node.selection_set.node);
        }
        // A null variable differs from a variable that is left out, because the latter has its default value.
        let relevant: BTreeMap<_, _> =
            used.0.into_iter().filter_map(|name| Some((name, variables.get(name)?))).collect();
        let key = PlanKey {
            document: document.digest,
            operation: name.map(str::to_owned),
            variables: serde_json::to_string(&relevant).ok()?,
        };
        let declared = operation.variable_definitions.iter().map(|definition| &definition.node.name.node);
        let declared = declared.filter_map(|name| Some((name.clone(), variables.get(name)?.clone())));
        let variables = Variables::from_value(Value::Object(declared.collect()));
        Some(Self { log_request, key, document: Arc::clone(document), variables, cost })
    }
}

/// Returns the root field. Returns None if the operation has several root fields or a fragment at the root.
fn single_field(operation: &OperationDefinition) -> Option<&Positioned<Field>> {
    match operation.selection_set.node.items.as_slice() {
        [Positioned { node: Selection::Field(field), .. }] => Some(field),
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
