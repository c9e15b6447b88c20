//! The root of subscriptions. A subscription has exactly one root field, which may be in fragments.

use std::collections::{HashMap, HashSet};

use apollo_compiler::ast::Value;
use apollo_compiler::executable::{Operation, Selection, SelectionSet};
use apollo_compiler::{ExecutableDocument, Name};
use async_graphql::parser::types as tree;
use async_graphql::{Positioned, ServerError};

use super::violation::violation;
use crate::graphql::rule::Rule;

/// Returns the violations of the rule SingleFieldSubscriptions. apollo-compiler refuses every `@skip` and `@include` at
/// the root. This function, like graphql-js, refuses only directives whose condition is a variable.
pub(super) fn errors(document: &ExecutableDocument) -> Vec<ServerError> {
    let subscriptions = document.operations.iter().filter(|operation| operation.is_subscription());
    subscriptions.filter_map(|operation| error(document, operation)).collect()
}

fn error(document: &ExecutableDocument, operation: &Operation) -> Option<ServerError> {
    let mut root = Root { document, keys: HashSet::new(), fragments: HashSet::new(), problem: None };
    root.collect(&operation.selection_set);
    let message = match root.problem {
        Some(problem) => problem,
        None if root.keys.len() > 1 => {
            "A subscription must have exactly one field at its root. Send a separate subscription for each field."
        }
        None => return None,
    };
    Some(violation(Rule::SingleFieldSubscriptions, message, None))
}

struct Root<'a> {
    document: &'a ExecutableDocument,
    /// The response keys of the root fields.
    keys: HashSet<&'a Name>,
    fragments: HashSet<&'a Name>,
    problem: Option<&'static str>,
}

impl<'a> Root<'a> {
    fn collect(&mut self, set: &'a SelectionSet) {
        for selection in &set.selections {
            if self.is_left_out(selection) {
                continue;
            }
            match selection {
                Selection::Field(field) => {
                    if field.name.starts_with("__") {
                        self.problem = Some(
                            "A subscription cannot select `__typename` at its root. Select it within the root field.",
                        );
                    }
                    self.keys.insert(field.alias.as_ref().unwrap_or(&field.name));
                }
                Selection::InlineFragment(fragment) => self.collect(&fragment.selection_set),
                Selection::FragmentSpread(spread) => {
                    if self.fragments.insert(&spread.fragment_name)
                        && let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                    {
                        self.collect(&fragment.selection_set);
                    }
                }
            }
        }
    }

    /// Whether `@skip` or `@include` excludes the selection. A condition that is a variable is recorded as a problem.
    fn is_left_out(&mut self, selection: &Selection) -> bool {
        let mut left_out = false;
        for (name, leaves_out) in [("skip", true), ("include", false)] {
            let condition =
                selection.directives().get(name).and_then(|directive| directive.specified_argument_by_name("if"));
            match condition.map(AsRef::as_ref) {
                Some(Value::Variable(_)) => {
                    self.problem =
                        Some("`@skip` and `@include` at the root of a subscription cannot use variables. Remove them.");
                }
                Some(Value::Boolean(value)) => left_out |= *value == leaves_out,
                _ => {}
            }
        }
        left_out
    }
}

/// Replaces the fragments at the root of each subscription with their fields, and merges fields with the same response
/// key. async-graphql executes only fields at the root of a subscription. The document must be valid.
pub fn merge_root_fields(document: &mut tree::ExecutableDocument) {
    let fragments = &document.fragments;
    let operations: Vec<_> = match &mut document.operations {
        tree::DocumentOperations::Single(operation) => vec![operation],
        tree::DocumentOperations::Multiple(operations) => operations.values_mut().collect(),
    };
    for operation in operations {
        if operation.node.ty != tree::OperationType::Subscription {
            continue;
        }
        let root = &mut operation.node.selection_set.node;
        if matches!(root.items.as_slice(), [Positioned { node: tree::Selection::Field(_), .. }]) {
            continue;
        }
        let mut merged = Merged { fragments, fields: Vec::new(), visited: HashSet::new() };
        merged.add(&root.items, &[]);
        root.items = merged.into_items();
    }
}

struct Merged<'a> {
    fragments: &'a HashMap<async_graphql::Name, Positioned<tree::FragmentDefinition>>,
    fields: Vec<Positioned<tree::Field>>,
    visited: HashSet<&'a str>,
}

impl Merged<'_> {
    /// Adds the fields of selections. `conditions` are the directives of the enclosing fragments.
    fn add(&mut self, items: &[Positioned<tree::Selection>], conditions: &[Positioned<tree::Directive>]) {
        for item in items {
            let all = [conditions, item.node.directives().as_slice()].concat();
            if all.iter().any(leaves_out) {
                continue;
            }
            match &item.node {
                tree::Selection::Field(field) => self.add_field(field.clone()),
                tree::Selection::InlineFragment(fragment) => self.add(&fragment.node.selection_set.node.items, &all),
                tree::Selection::FragmentSpread(spread) => {
                    let known = self.fragments.get_key_value(&spread.node.fragment_name.node);
                    if let Some((name, fragment)) = known
                        && self.visited.insert(name)
                    {
                        self.add(&fragment.node.selection_set.node.items, &all);
                    }
                }
            }
        }
    }

    fn add_field(&mut self, mut field: Positioned<tree::Field>) {
        field.node.directives.clear();
        let key = field.node.response_key().node.clone();
        match self.fields.iter_mut().find(|known| known.node.response_key().node == key) {
            Some(known) => {
                known.node.selection_set.node.items.append(&mut field.node.selection_set.node.items);
            }
            None => self.fields.push(field),
        }
    }

    fn into_items(self) -> Vec<Positioned<tree::Selection>> {
        let item = |field: Positioned<tree::Field>| {
            let pos = field.pos;
            Positioned::new(tree::Selection::Field(field), pos)
        };
        self.fields.into_iter().map(item).collect()
    }
}

/// Whether a directive excludes its selection. At the root of a valid subscription, the condition is a literal.
fn leaves_out(directive: &Positioned<tree::Directive>) -> bool {
    let condition = directive.node.get_argument("if").map(|condition| &condition.node);
    match directive.node.name.node.as_str() {
        "skip" => condition == Some(&async_graphql_value::Value::Boolean(true)),
        "include" => condition == Some(&async_graphql_value::Value::Boolean(false)),
        _ => false,
    }
}
