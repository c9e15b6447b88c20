//! Removes arguments whose variable is omitted.

use std::collections::HashSet;

use async_graphql::parser::types::{
    Directive, DocumentOperations, ExecutableDocument, OperationDefinition, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned, Variables};
use async_graphql_value::Value as Literal;

/// Removes each argument and input field whose value is an omitted variable without a default, so that the default of
/// the argument or input field applies (CoerceArgumentValues, section 6.4.1). async-graphql would pass null instead.
/// `variables` must be coerced. Returns None if no variable is omitted.
pub fn omit_arguments(
    document: &ExecutableDocument,
    operation: &OperationDefinition,
    variables: &Variables,
) -> Option<ExecutableDocument> {
    let declared = operation.variable_definitions.iter().map(|definition| &definition.node.name.node);
    let absent: HashSet<_> = declared.filter(|name| !variables.contains_key(*name)).cloned().collect();
    if absent.is_empty() {
        return None;
    }
    let mut document = document.clone();
    match &mut document.operations {
        DocumentOperations::Single(operation) => omit_in_set(&mut operation.node.selection_set.node, &absent),
        DocumentOperations::Multiple(operations) => {
            operations.values_mut().for_each(|one| omit_in_set(&mut one.node.selection_set.node, &absent));
        }
    }
    document.fragments.values_mut().for_each(|one| omit_in_set(&mut one.node.selection_set.node, &absent));
    Some(document)
}

fn omit_in_set(set: &mut SelectionSet, absent: &HashSet<Name>) {
    for item in &mut set.items {
        omit_in_directives(item.node.directives_mut(), absent);
        match &mut item.node {
            Selection::Field(field) => {
                omit_in_arguments(&mut field.node.arguments, absent);
                omit_in_set(&mut field.node.selection_set.node, absent);
            }
            Selection::InlineFragment(fragment) => omit_in_set(&mut fragment.node.selection_set.node, absent),
            Selection::FragmentSpread(_) => {}
        }
    }
}

fn omit_in_directives(directives: &mut [Positioned<Directive>], absent: &HashSet<Name>) {
    directives.iter_mut().for_each(|directive| omit_in_arguments(&mut directive.node.arguments, absent));
}

fn omit_in_arguments(arguments: &mut Vec<(Positioned<Name>, Positioned<Literal>)>, absent: &HashSet<Name>) {
    arguments.retain(|(_, value)| !is_absent(&value.node, absent));
    arguments.iter_mut().for_each(|(_, value)| omit_in_value(&mut value.node, absent));
}

fn omit_in_value(value: &mut Literal, absent: &HashSet<Name>) {
    match value {
        Literal::List(items) => items.iter_mut().for_each(|item| omit_in_value(item, absent)),
        Literal::Object(members) => {
            members.retain(|_, member| !is_absent(member, absent));
            members.values_mut().for_each(|member| omit_in_value(member, absent));
        }
        _ => {}
    }
}

fn is_absent(value: &Literal, absent: &HashSet<Name>) -> bool {
    matches!(value, Literal::Variable(name) if absent.contains(name))
}
