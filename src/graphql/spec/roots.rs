//! The root fields of mutations and subscriptions.

use std::collections::{HashMap, HashSet};

use async_graphql::parser::types::{
    Directive, ExecutableDocument, Field, FragmentDefinition, OperationDefinition, OperationType, Selection,
};
use async_graphql::{Name, Positioned, Value, Variables};
use async_graphql_value::Value as Literal;

/// Whether async-graphql executes the root of the operation as the specification demands (CollectFields, section
/// 6.3.2). It ignores fragments at the root of a subscription, and executes a mutation once for each selection of its
/// field. Queries have no effects, so their root needs no merge.
pub(super) fn are_merged(operation: &OperationDefinition) -> bool {
    let items = operation.selection_set.node.items.as_slice();
    match operation.ty {
        OperationType::Query => true,
        OperationType::Subscription => matches!(items, [Positioned { node: Selection::Field(_), .. }]),
        OperationType::Mutation => {
            let mut keys = HashSet::new();
            items.iter().all(|item| match &item.node {
                Selection::Field(field) => keys.insert(&field.node.response_key().node),
                Selection::FragmentSpread(_) | Selection::InlineFragment(_) => false,
            })
        }
    }
}

/// Returns the root of an operation without fragments, without selections that `@skip` or `@include` leaves out, and
/// with one field for each response key. The document must be valid, and `variables` coerced.
pub(super) fn merge(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
    variables: &Variables,
) -> Vec<Positioned<Selection>> {
    let mut merged = Merged { fragments: &document.fragments, variables, fields: Vec::new(), visited: HashSet::new() };
    merged.add(&operation.selection_set.node.items);
    let item = |field: Positioned<Field>| {
        let pos = field.pos;
        Positioned::new(Selection::Field(field), pos)
    };
    merged.fields.into_iter().map(item).collect()
}

struct Merged<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    variables: &'a Variables,
    fields: Vec<Positioned<Field>>,
    visited: HashSet<&'a str>,
}

impl<'a> Merged<'a> {
    fn add(&mut self, items: &'a [Positioned<Selection>]) {
        for item in items {
            if item.node.directives().iter().any(|directive| self.leaves_out(directive)) {
                continue;
            }
            match &item.node {
                Selection::Field(field) => self.add_field(field.clone()),
                Selection::InlineFragment(fragment) => self.add(&fragment.node.selection_set.node.items),
                Selection::FragmentSpread(spread) => {
                    let name = spread.node.fragment_name.node.as_str();
                    if let Some(fragment) = self.fragments.get(name)
                        && self.visited.insert(name)
                    {
                        self.add(&fragment.node.selection_set.node.items);
                    }
                }
            }
        }
    }

    fn add_field(&mut self, mut field: Positioned<Field>) {
        field.node.directives.clear();
        let key = field.node.response_key().node.clone();
        match self.fields.iter_mut().find(|known| known.node.response_key().node == key) {
            Some(known) => {
                known.node.selection_set.node.items.append(&mut field.node.selection_set.node.items);
            }
            None => self.fields.push(field),
        }
    }

    /// Whether a directive leaves its selection out.
    fn leaves_out(&self, directive: &Positioned<Directive>) -> bool {
        let condition = match directive.node.get_argument("if").map(|condition| &condition.node) {
            Some(Literal::Boolean(condition)) => *condition,
            Some(Literal::Variable(name)) => matches!(self.variables.get(name), Some(Value::Boolean(true))),
            _ => return false,
        };
        match directive.node.name.node.as_str() {
            "skip" => condition,
            "include" => !condition,
            _ => false,
        }
    }
}
