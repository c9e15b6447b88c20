//! A part of the rule OverlappingFieldsCanBeMerged. apollo-compiler accepts two lists as equal arguments if the longer
//! list begins with the items of the shorter list.

use std::collections::HashSet;

use apollo_compiler::ast::{NamedType, Value};
use apollo_compiler::collections::IndexMap;
use apollo_compiler::executable::{Field, Selection, SelectionSet};
use apollo_compiler::{ExecutableDocument, Name, Node};
use async_graphql::{Pos, ServerError};

use super::violation::{ALIAS, violation};
use crate::graphql::rule::Rule;

/// Returns the errors for fields with the same response key and parent type whose arguments contain lists of different
/// lengths. The number of visited fields is at most the number that the cost of the document counts.
pub(super) fn errors(document: &ExecutableDocument) -> Vec<ServerError> {
    let mut errors = Vec::new();
    for operation in document.operations.iter() {
        check(document, &[&operation.selection_set], &mut errors);
    }
    errors
}

fn check(document: &ExecutableDocument, sets: &[&SelectionSet], errors: &mut Vec<ServerError>) {
    let mut fields = Fields { document, fragments: HashSet::new(), by_key: IndexMap::default() };
    sets.iter().for_each(|set| fields.add(set));
    for same in fields.by_key.values() {
        let [first, rest @ ..] = same.as_slice() else { continue };
        if let Some(other) = rest.iter().find(|other| differ_in_lists(first, other)) {
            let range = other.line_column_range(&document.sources);
            let pos = range.map(|range| Pos { line: range.start.line, column: range.start.column });
            let key = other.response_key();
            let message = format!("The field `{key}` is selected twice with different arguments.{ALIAS}");
            errors.push(violation(Rule::OverlappingFieldsCanBeMerged, message, pos));
        }
        let inner: Vec<_> =
            same.iter().map(|field| &field.selection_set).filter(|set| !set.selections.is_empty()).collect();
        if !inner.is_empty() {
            check(document, &inner, errors);
        }
    }
}

/// The fields of selection sets, by parent type and response key.
struct Fields<'a> {
    document: &'a ExecutableDocument,
    fragments: HashSet<&'a Name>,
    by_key: IndexMap<(&'a NamedType, &'a Name), Vec<&'a Node<Field>>>,
}

impl<'a> Fields<'a> {
    fn add(&mut self, set: &'a SelectionSet) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    self.by_key.entry((&set.ty, field.response_key())).or_default().push(field);
                }
                Selection::InlineFragment(fragment) => self.add(&fragment.selection_set),
                Selection::FragmentSpread(spread) => {
                    if self.fragments.insert(&spread.fragment_name)
                        && let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                    {
                        self.add(&fragment.selection_set);
                    }
                }
            }
        }
    }
}

fn differ_in_lists(one: &Field, other: &Field) -> bool {
    one.arguments.iter().any(|argument| {
        let same = other.arguments.iter().find(|known| known.name == argument.name);
        same.is_some_and(|same| lengths_differ(&argument.value, &same.value))
    })
}

fn lengths_differ(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one), Value::List(other)) => {
            one.len() != other.len() || one.iter().zip(other).any(|(one, other)| lengths_differ(one, other))
        }
        (Value::Object(one), Value::Object(other)) => one.iter().any(|(name, value)| {
            other.iter().find(|(known, _)| known == name).is_some_and(|(_, other)| lengths_differ(value, other))
        }),
        _ => false,
    }
}
