//! GraphQL to the letter of the specification. apollo-compiler parses and validates documents, and this module coerces
//! variables. async-graphql then executes the document without a validation of its own. See docs/decisions/0020.

mod convert;
mod lists;
mod omissions;
mod subscriptions;
mod values;
mod variables;
mod violation;

use apollo_compiler::ast::{DirectiveList, Document, FieldDefinition, Type};
use apollo_compiler::parser::Parser;
use apollo_compiler::schema::{Component, ExtendedType};
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument as Checked, Schema as Types, name};
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};
use async_graphql::{ServerError, Variables};

pub use omissions::omit_arguments;
pub use subscriptions::merge_root_fields;

/// Maximum number of errors of one document or of its variables in a response.
const MAX_ERRORS: usize = 100;

/// The parser counts each selection set and each field in it as a level.
const PARSER_LEVELS: usize = 2;

/// The rules of the specification, with the types of our schema.
pub struct Spec {
    types: Valid<Types>,
    /// Maximum levels of nesting in a document, for the parser, which recurses.
    max_nesting: usize,
    /// Whether introspection is allowed. Otherwise errors do not name parts of the schema that the client has not named.
    introspection: bool,
}

/// Adds the field `isOneOf` of `__Type`, which apollo-compiler lacks.
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
        let types = Types::parse(sdl, "schema.graphql").and_then(|mut types| {
            add_is_one_of(&mut types);
            types.validate()
        });
        let types = match types {
            Ok(types) => types,
            Err(invalid) => unreachable!("the SDL that async-graphql writes is valid: {}", invalid.errors),
        };
        Self { types, max_nesting, introspection }
    }

    /// Parses a document. The first syntax error is returned as one sentence with its line and column.
    pub fn parse(&self, text: &str) -> Result<(Syntax, ExecutableDocument), ServerError> {
        let mut parser = Parser::new().recursion_limit(PARSER_LEVELS * self.max_nesting);
        let ast = parser.parse_ast(text, "document").map_err(|invalid| violation::syntax(&invalid.errors))?;
        let document = convert::document(&ast, text)?;
        Ok((Syntax(ast), document))
    }

    /// Validates a document against the schema (section 5 of the specification). The document must be within the limits
    /// of its cost: the time of the validation is bounded by the number of fields and fragments of all operations.
    pub fn validate(&self, Syntax(ast): &Syntax) -> Result<(), Vec<ServerError>> {
        let (checked, mut errors) = match ast.to_executable_validate(&self.types) {
            Ok(checked) => (checked.into_inner(), Vec::new()),
            Err(invalid) => {
                let found = violation::all(&invalid.errors, self.introspection.then_some(&*self.types));
                (invalid.partial, found)
            }
        };
        if errors.is_empty() {
            errors.extend(self.further_errors(&checked));
        }
        // Two fields can conflict in several ways.
        errors.dedup_by(|one, other| one.locations == other.locations && one.extensions == other.extensions);
        errors.truncate(MAX_ERRORS);
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Returns the errors of the rules that apollo-compiler lacks or judges differently.
    fn further_errors(&self, document: &Checked) -> Vec<ServerError> {
        let mut errors = values::errors(&self.types, document, self.introspection);
        errors.extend(subscriptions::errors(document));
        errors.extend(lists::errors(document));
        errors
    }

    /// Returns the values of the variables that the operation declares (CoerceVariableValues, section 6.1.2).
    pub fn coerce(&self, operation: &OperationDefinition, given: &Variables) -> Result<Variables, Vec<ServerError>> {
        variables::coerce(&self.types, self.introspection, operation, given)
    }
}
