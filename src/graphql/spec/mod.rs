//! Validation of documents and coercion of variables as the GraphQL specification requires. This module checks the
//! syntax of documents, apollo-compiler parses and validates them, and this module coerces variables. async-graphql then
//! executes the document without another validation. See docs/decisions/0020.

mod conflicts;
mod convert;
mod grammar;
mod lexer;
mod never_null;
mod omissions;
mod position;
mod roots;
mod subscriptions;
#[cfg(test)]
mod tests;
mod unions;
mod values;
mod variables;
mod violation;

use std::collections::HashSet;

use apollo_compiler::ast::{DirectiveList, Document, FieldDefinition, Type};
use apollo_compiler::executable::OperationMap;
use apollo_compiler::parser::Parser;
use apollo_compiler::schema::{Component, ExtendedType};
use apollo_compiler::validation::{Valid, WithErrors};
use apollo_compiler::{ExecutableDocument as Checked, Schema as Types, name};
use async_graphql::parser::types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType};
use async_graphql::{Name, Positioned, ServerError, Variables};

use omissions::Omissions;

pub use grammar::too_nested;
pub use lexer::tokens;
pub use never_null::NeverNull;

/// Maximum number of errors in a response. A document can have an error in each of its fields.
pub const MAX_ERRORS: usize = 100;

/// Number of operations that apollo-compiler validates together. It finds an error in a fragment again for each
/// operation, and returns only after it has found all errors. So this number limits the memory that errors take.
const OPERATIONS_AT_ONCE: usize = 16;

/// Parses and validates documents and coerces variables, by the types of the schema.
pub struct Spec {
    types: Valid<Types>,
    /// The names of all arguments that have a default.
    arguments_with_default: HashSet<String>,
    /// Maximum levels of nesting in a document. The parser recurses, so deeper documents could overflow the stack.
    max_nesting: usize,
    /// Whether introspection is allowed. If not, errors name nothing of the schema that the client has not named.
    introspection: bool,
}

/// Adds the field `isOneOf` to `__Type`. apollo-compiler does not define the field.
fn add_is_one_of(types: &mut Types) {
    if let Some(ExtendedType::Object(object)) = types.types.get_mut("__Type") {
        let field = FieldDefinition {
            description: None,
            name: name!("isOneOf"),
            arguments: Vec::new(),
            ty: Type::Named(name!("Boolean")),
            directives: DirectiveList::default(),
        };
        object.make_mut().fields.insert(name!("isOneOf"), Component::new(field));
    }
}

/// A document whose syntax is correct.
pub struct Syntax(Document);

impl Spec {
    pub fn new(sdl: &str, max_nesting: usize, introspection: bool) -> Self {
        let types = Types::parse(sdl, "schema.graphql").map_err(|invalid| invalid.errors).and_then(|mut types| {
            add_is_one_of(&mut types);
            types.validate().map_err(|invalid| invalid.errors)
        });
        let types = match types {
            Ok(types) => types,
            Err(errors) => unreachable!("the SDL that async-graphql writes is valid: {errors}"),
        };
        let arguments_with_default = arguments_with_default(&types);
        Self { types, arguments_with_default, max_nesting, introspection }
    }

    /// Parses a document. The error describes the first syntax error in one sentence, with line and column.
    pub fn parse(&self, text: &str) -> Result<(Syntax, ExecutableDocument), ServerError> {
        let text = grammar::check(text, self.max_nesting)?;
        let mut parser = Parser::new().recursion_limit(self.max_nesting);
        let ast = parser.parse_ast(&*text, "document").map_err(|invalid| violation::syntax(&invalid.errors))?;
        let document = convert::document(&ast, &text)?;
        Ok((Syntax(ast), document))
    }

    /// Validates a document against the schema (section 5 of the specification). The cost of the document must be
    /// within the limits, because the time of the validation depends on the number of fields and fragments in all
    /// operations. Apply the result to the converted document before `coerce`.
    pub fn validate(&self, Syntax(ast): &Syntax) -> Result<NeverNull, Vec<ServerError>> {
        let (document, mut errors) = match ast.to_executable(&self.types) {
            Ok(document) => (document, Vec::new()),
            Err(WithErrors { partial, errors }) => (partial, violation::all(&errors, true, self.shown_types())),
        };
        let conflicts = conflicts::errors(&self.types, &document);
        if conflicts.is_empty() {
            errors.extend(self.validate_operations(&document, !errors.is_empty()));
        }
        errors.extend(conflicts);
        let mut never_null = NeverNull::default();
        if errors.is_empty() {
            // The rules that apollo-compiler does not implement or implements differently.
            (errors, never_null) = values::check(&self.types, &document, self.introspection);
            errors.extend(subscriptions::errors(&document));
        }
        // An error in a fragment is found again for each operation that spreads the fragment.
        errors.sort_by_cached_key(|error| (error.locations.first().copied(), error.message.clone()));
        errors.dedup_by(|one, other| one.locations == other.locations && one.message == other.message);
        errors.truncate(MAX_ERRORS);
        if errors.is_empty() { Ok(never_null) } else { Err(errors) }
    }

    /// Returns the violations that apollo-compiler finds in the operations. Does not validate further operations if
    /// there are MAX_ERRORS errors. `is_partial` says whether selections with errors were omitted from the document.
    fn validate_operations(&self, document: &Checked, is_partial: bool) -> Vec<ServerError> {
        let mut errors = Vec::new();
        let operations: Vec<_> = document.operations.iter().collect();
        for group in operations.chunks(OPERATIONS_AT_ONCE) {
            let (sources, fragments) = (document.sources.clone(), document.fragments.clone());
            let mut part = Checked { sources, operations: OperationMap::default(), fragments };
            for &operation in group {
                part.operations.insert(operation.clone());
            }
            if let Err(invalid) = part.validate(&self.types) {
                errors.extend(violation::all(&invalid.errors, is_partial, self.shown_types()));
            }
            if errors.len() >= MAX_ERRORS {
                break;
            }
        }
        errors
    }

    /// Returns the types that errors may name. None if introspection is not allowed.
    fn shown_types(&self) -> Option<&Types> {
        self.introspection.then_some(&*self.types)
    }

    /// Returns the coerced values of the variables that the operation defines (CoerceVariableValues, section 6.1.2).
    pub fn coerce(&self, operation: &OperationDefinition, given: &Variables) -> Result<Variables, Vec<ServerError>> {
        variables::coerce(&self.types, self.introspection, operation, given)
    }

    /// Returns a valid document in a form in which async-graphql applies all its fragments, and the number of selections
    /// that were added. None if the document already has this form.
    pub fn rewrite_unions(&self, document: &ExecutableDocument) -> Option<(ExecutableDocument, usize)> {
        unions::rewrite(&self.types, document)
    }

    /// Returns the document that async-graphql executes for an operation, if it must differ from the valid document.
    /// `variables` are coerced.
    pub fn executable(
        &self,
        document: &ExecutableDocument,
        operation: &Positioned<OperationDefinition>,
        name: Option<&str>,
        variables: &Variables,
    ) -> Option<ExecutableDocument> {
        let omissions = Omissions::new(&self.arguments_with_default, &operation.node, variables);
        let (has_omissions, is_merged) = (omissions.are_in(document), roots::are_merged(&operation.node));
        // The document of a subscription is copied for each event, so it has only one operation.
        let is_alone = operation.node.ty != OperationType::Subscription || document.operations.iter().count() == 1;
        if is_merged && is_alone && !has_omissions {
            return None;
        }
        let mut operation = operation.clone();
        let mut fragments = document.fragments.clone();
        if !is_merged {
            operation.node.selection_set.node.items = roots::merge(&operation.node, document, variables);
        }
        if has_omissions {
            omissions.remove_from(&mut operation.node.selection_set.node);
            for fragment in fragments.values_mut() {
                omissions.remove_from(&mut fragment.node.selection_set.node);
            }
        }
        let operations = match name {
            Some(name) => DocumentOperations::Multiple([(Name::new(name), operation)].into()),
            None => DocumentOperations::Single(operation),
        };
        Some(ExecutableDocument { operations, fragments })
    }
}

/// Returns the operation of a valid document that a request executes (GetOperation, section 6.1). None if the name is
/// wrong, or is missing although there are several operations.
pub fn selected_operation<'a>(
    document: &'a ExecutableDocument,
    name: Option<&str>,
) -> Option<&'a Positioned<OperationDefinition>> {
    let operation = match (&document.operations, name) {
        (DocumentOperations::Single(operation), None) => operation,
        (DocumentOperations::Multiple(operations), Some(name)) => operations.get(name)?,
        (DocumentOperations::Multiple(operations), None) if operations.len() == 1 => operations.values().next()?,
        (DocumentOperations::Single(_), Some(_)) | (DocumentOperations::Multiple(_), None) => return None,
    };
    Some(operation)
}

fn arguments_with_default(types: &Types) -> HashSet<String> {
    let fields = types.types.values().filter_map(|ty| match ty {
        ExtendedType::Object(object) => Some(&object.fields),
        ExtendedType::Interface(interface) => Some(&interface.fields),
        _ => None,
    });
    let arguments = fields.flat_map(|fields| fields.values()).flat_map(|field| &field.arguments);
    arguments.filter(|argument| argument.default_value.is_some()).map(|argument| argument.name.to_string()).collect()
}
