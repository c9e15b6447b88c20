//! The root of subscriptions. A subscription has exactly one root field, which may be in fragments.

use std::collections::HashSet;

use apollo_compiler::ast::Value;
use apollo_compiler::executable::{Operation, Selection, SelectionSet};
use apollo_compiler::{ExecutableDocument, Name};
use async_graphql::ServerError;

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
