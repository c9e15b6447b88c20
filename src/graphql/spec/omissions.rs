//! Arguments whose variable is left out.

use std::collections::HashSet;

use async_graphql::parser::types::{ExecutableDocument, OperationDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned, Variables};
use async_graphql_value::Value as Literal;

/// Arguments whose own default applies, because their value is a variable that is left out and has no default
/// (CoerceArgumentValues, section 6.4.1). async-graphql would pass null.
pub(super) struct Omissions<'a> {
    /// The names of all arguments of the schema that have a default.
    with_default: &'a HashSet<String>,
    /// The variables that are left out.
    absent: HashSet<&'a Name>,
}

impl<'a> Omissions<'a> {
    /// `variables` are coerced.
    pub(super) fn new(
        with_default: &'a HashSet<String>,
        operation: &'a OperationDefinition,
        variables: &Variables,
    ) -> Self {
        let declared = operation.variable_definitions.iter().map(|definition| &definition.node.name.node);
        Self { with_default, absent: declared.filter(|name| !variables.contains_key(*name)).collect() }
    }

    /// Whether the document has such an argument.
    pub(super) fn are_in(&self, document: &ExecutableDocument) -> bool {
        let operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
        let fragments = document.fragments.values().map(|fragment| &fragment.node.selection_set.node);
        !self.absent.is_empty() && operations.chain(fragments).any(|set| self.are_in_set(set))
    }

    fn are_in_set(&self, set: &SelectionSet) -> bool {
        set.items.iter().any(|item| match &item.node {
            Selection::Field(field) => {
                field.node.arguments.iter().any(|argument| self.has(argument))
                    || self.are_in_set(&field.node.selection_set.node)
            }
            Selection::InlineFragment(fragment) => self.are_in_set(&fragment.node.selection_set.node),
            Selection::FragmentSpread(_) => false,
        })
    }

    /// Removes such arguments.
    pub(super) fn remove_from(&self, set: &mut SelectionSet) {
        for item in &mut set.items {
            match &mut item.node {
                Selection::Field(field) => {
                    field.node.arguments.retain(|argument| !self.has(argument));
                    self.remove_from(&mut field.node.selection_set.node);
                }
                Selection::InlineFragment(fragment) => self.remove_from(&mut fragment.node.selection_set.node),
                Selection::FragmentSpread(_) => {}
            }
        }
    }

    fn has(&self, (name, value): &(Positioned<Name>, Positioned<Literal>)) -> bool {
        matches!(&value.node, Literal::Variable(variable) if self.absent.contains(variable))
            && self.with_default.contains(name.node.as_str())
    }
}
