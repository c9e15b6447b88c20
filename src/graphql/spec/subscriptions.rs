//! The root of subscriptions. A subscription has exactly one root field, which may be in fragments.

use std::collections::HashSet;

use apollo_compiler::ast::Value;
use apollo_compiler::executable::{Operation, Selection, SelectionSet};
use apollo_compiler::parser::SourceSpan;
use apollo_compiler::{ExecutableDocument, Name, Node};
use async_graphql::ServerError;

use super::MAX_ERRORS;
use super::violation::{pos_of, violation};
use crate::graphql::rule::Rule;

const SEVERAL_FIELDS: &str =
    "A subscription must have exactly one field at its root. Send a separate subscription for each field.";
const NO_FIELD: &str =
    "A subscription must have exactly one field at its root, but `@skip` and `@include` exclude all fields.";
const TYPENAME: &str = "A subscription cannot select `__typename` at its root. Select it within the root field.";
const CONDITION: &str = "`@skip` and `@include` at the root of a subscription cannot use variables. Remove them.";

/// Returns the violations of the rule SingleFieldSubscriptions. apollo-compiler refuses every `@skip` and `@include` at
/// the root. This function, like graphql-js, refuses only directives whose condition is a variable. It also refuses a
/// subscription whose directives exclude all fields, because such a subscription would complete without an event.
pub(super) fn errors(document: &ExecutableDocument) -> Vec<ServerError> {
    let subscriptions = document.operations.iter().filter(|operation| operation.is_subscription());
    let found = subscriptions.flat_map(|operation| problems(document, operation)).take(MAX_ERRORS);
    found
        .map(|(message, span)| violation(Rule::SingleFieldSubscriptions, message, pos_of(span, &document.sources)))
        .collect()
}

/// The message of an error, and the selection that is wrong.
type Problem = (&'static str, Option<SourceSpan>);

fn problems(document: &ExecutableDocument, operation: &Node<Operation>) -> Vec<Problem> {
    let mut root = Root { document, key: None, fragments: HashSet::new(), problems: Vec::new() };
    root.collect(&operation.selection_set);
    if root.key.is_none() && root.problems.is_empty() {
        root.problems.push((NO_FIELD, operation.location()));
    }
    root.problems
}

struct Root<'a> {
    document: &'a ExecutableDocument,
    /// The response key of the first root field.
    key: Option<&'a Name>,
    fragments: HashSet<&'a Name>,
    problems: Vec<Problem>,
}

impl<'a> Root<'a> {
    /// Records a problem, only once for each message.
    fn problem(&mut self, message: &'static str, span: Option<SourceSpan>) {
        if self.problems.iter().all(|(known, _)| *known != message) {
            self.problems.push((message, span));
        }
    }

    fn collect(&mut self, set: &'a SelectionSet) {
        for selection in &set.selections {
            if self.is_left_out(selection) {
                continue;
            }
            match selection {
                Selection::Field(field) if field.name.starts_with("__") => self.problem(TYPENAME, field.location()),
                Selection::Field(field) => {
                    let key = field.response_key();
                    if *self.key.get_or_insert(key) != key {
                        self.problem(SEVERAL_FIELDS, field.location());
                    }
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
                Some(Value::Variable(_)) => self.problem(CONDITION, span_of(selection)),
                Some(Value::Boolean(value)) => left_out |= *value == leaves_out,
                _ => {}
            }
        }
        left_out
    }
}

fn span_of(selection: &Selection) -> Option<SourceSpan> {
    match selection {
        Selection::Field(field) => field.location(),
        Selection::FragmentSpread(spread) => spread.location(),
        Selection::InlineFragment(fragment) => fragment.location(),
    }
}
