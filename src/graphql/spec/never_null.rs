//! Variables that must not be null although their types are nullable.

use std::collections::HashSet;

use apollo_compiler::Name;
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition};

/// The variables of a document that have a nullable type and a default, and stand where null is not allowed. The
/// specification raises an error if such a variable is null. async-graphql takes null as false in `@skip` and
/// `@include`.
#[derive(Default)]
pub struct NeverNull(HashSet<(Option<Name>, Name)>);

impl NeverNull {
    pub(super) fn add(&mut self, operation: Option<&Name>, variable: &Name) {
        self.0.insert((operation.cloned(), variable.clone()));
    }

    /// Makes the types of these variables non-null in the converted document, so that `Spec::coerce` refuses null for
    /// them. An omitted variable still gets its default.
    pub fn apply(&self, document: &mut ExecutableDocument) {
        let names = self.0.iter().map(|(operation, variable)| (operation.as_deref(), variable.as_str()));
        let names: HashSet<(Option<&str>, &str)> = names.collect();
        let apply_to = |name: Option<&str>, operation: &mut OperationDefinition| {
            for variable in &mut operation.variable_definitions {
                if names.contains(&(name, variable.node.name.node.as_str())) {
                    variable.node.var_type.node.nullable = false;
                }
            }
        };
        match &mut document.operations {
            DocumentOperations::Single(operation) => apply_to(None, &mut operation.node),
            DocumentOperations::Multiple(operations) => {
                for (name, operation) in operations {
                    apply_to(Some(name.as_str()), &mut operation.node);
                }
            }
        }
    }
}
