//! Rules about values that apollo-compiler does not check: `@oneOf` input objects, duplicate fields of input objects,
//! dates, and variables with the default null where null is not allowed. Also the rule NoSchemaIntrospection.

use std::collections::HashSet;

use apollo_compiler::ast::{self, Value};
use apollo_compiler::executable::{Field, Operation, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{ExecutableDocument, Name, Node, Schema as Types};
use async_graphql::{Pos, ScalarType as _, ServerError};

use super::MAX_ERRORS;
use super::violation::violation;
use crate::graphql::rule::Rule;
use crate::graphql::scalars::DateTime;

/// An example of a DateTime, for errors.
pub(super) const EXAMPLE: &str = "\"2026-11-20T09:30:00Z\"";

/// Returns the violations of these rules. `introspection` says whether the server allows introspection.
pub(super) fn errors(types: &Types, document: &ExecutableDocument, introspection: bool) -> Vec<ServerError> {
    let mut errors = Vec::new();
    for operation in document.operations.iter() {
        let mut walk =
            Walk { introspection, types, document, operation, fragments: HashSet::new(), errors: &mut errors };
        for variable in &operation.variables {
            if let Some(default) = &variable.default_value {
                walk.value(default, &variable.ty, Place { has_default: false, is_one_of: false });
            }
            walk.directives(&variable.directives);
        }
        walk.directives(&operation.directives);
        walk.selections(&operation.selection_set);
    }
    errors
}

struct Walk<'a> {
    introspection: bool,
    types: &'a Types,
    document: &'a ExecutableDocument,
    operation: &'a Operation,
    /// The fragments that were visited for this operation.
    fragments: HashSet<&'a Name>,
    errors: &'a mut Vec<ServerError>,
}

/// The argument or input field that has a value.
#[derive(Clone, Copy)]
struct Place {
    /// Whether the argument or input field has a default value.
    has_default: bool,
    /// Whether the input field belongs to a `@oneOf` input object.
    is_one_of: bool,
}

impl<'a> Walk<'a> {
    fn error<T>(&mut self, rule: Rule, message: String, node: &Node<T>) {
        if self.errors.len() < MAX_ERRORS {
            let range = node.line_column_range(&self.document.sources);
            let pos = range.map(|range| Pos { line: range.start.line, column: range.start.column });
            self.errors.push(violation(rule, message, pos));
        }
    }

    /// Refuses `__schema` and `__type` if the server does not allow introspection.
    fn introspection(&mut self, field: &Node<Field>) {
        if !self.introspection && matches!(field.name.as_str(), "__schema" | "__type") {
            let message = format!("This server does not allow introspection, so it has no field `{}`.", field.name);
            self.error(Rule::NoSchemaIntrospection, message, field);
        }
    }

    fn selections(&mut self, set: &'a SelectionSet) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    self.introspection(field);
                    self.arguments(&field.arguments, &field.definition.arguments);
                    self.directives(&field.directives);
                    self.selections(&field.selection_set);
                }
                Selection::InlineFragment(fragment) => {
                    self.directives(&fragment.directives);
                    self.selections(&fragment.selection_set);
                }
                Selection::FragmentSpread(spread) => {
                    self.directives(&spread.directives);
                    if self.fragments.insert(&spread.fragment_name)
                        && let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                    {
                        self.directives(&fragment.directives);
                        self.selections(&fragment.selection_set);
                    }
                }
            }
        }
    }

    fn directives(&mut self, directives: &'a ast::DirectiveList) {
        for directive in directives.iter() {
            if let Some(definition) = self.types.directive_definitions.get(&directive.name) {
                self.arguments(&directive.arguments, &definition.arguments);
            }
        }
    }

    fn arguments(&mut self, given: &'a [Node<ast::Argument>], defined: &'a [Node<ast::InputValueDefinition>]) {
        for argument in given {
            if let Some(definition) = defined.iter().find(|definition| definition.name == argument.name) {
                let place = Place { has_default: definition.default_value.is_some(), is_one_of: false };
                self.value(&argument.value, &definition.ty, place);
            }
        }
    }

    fn value(&mut self, value: &'a Node<Value>, ty: &'a ast::Type, place: Place) {
        let inner = Place { has_default: false, is_one_of: false };
        match (value.as_ref(), ty) {
            (Value::Variable(name), _) => self.variable(value, name, ty, place),
            (Value::Null, _) => {}
            (Value::List(items), ast::Type::List(of) | ast::Type::NonNullList(of)) => {
                items.iter().for_each(|item| self.value(item, of, inner));
            }
            (_, ast::Type::List(of) | ast::Type::NonNullList(of)) => self.value(value, of, inner),
            (Value::Object(members), ast::Type::Named(name) | ast::Type::NonNullNamed(name)) => {
                self.object(value, members, name);
            }
            (Value::String(text), ast::Type::Named(name) | ast::Type::NonNullNamed(name)) => {
                if name == "DateTime" && DateTime::parse(text.as_str().into()).is_err() {
                    let message = format!("A DateTime must be a string like {EXAMPLE} (RFC 3339), not \"{text}\".");
                    self.error(Rule::ValuesOfCorrectType, message, value);
                }
            }
            (_, ast::Type::Named(name) | ast::Type::NonNullNamed(name)) if name == "DateTime" => {
                let message = format!("A DateTime must be a string like {EXAMPLE} (RFC 3339).");
                self.error(Rule::ValuesOfCorrectType, message, value);
            }
            _ => {}
        }
    }

    /// Checks whether a nullable variable is allowed here. apollo-compiler treats the default null like other defaults.
    fn variable(&mut self, value: &Node<Value>, name: &Name, ty: &ast::Type, place: Place) {
        let Some(definition) = self.operation.variables.iter().find(|definition| definition.name == *name) else {
            return;
        };
        if definition.ty.is_non_null() {
            return;
        }
        let has_value = definition.default_value.as_ref().is_some_and(|default| !default.is_null());
        if (place.is_one_of || ty.is_non_null()) && !has_value && !place.has_default {
            let message = format!(
                "The variable `${name}` of the type {0} can be null, which is not allowed here. Declare it as {0}!.",
                definition.ty
            );
            self.error(Rule::VariablesInAllowedPosition, message, value);
        }
    }

    fn object(&mut self, value: &'a Node<Value>, members: &'a [(Name, Node<Value>)], ty: &Name) {
        let Some(ExtendedType::InputObject(definition)) = self.types.types.get(ty) else {
            // No scalar of the schema accepts an object, and apollo-compiler refuses it for the built-in ones.
            if self.types.types.get(ty).is_some_and(|ty| matches!(ty, ExtendedType::Scalar(_))) {
                self.error(Rule::ValuesOfCorrectType, format!("A value of the type {ty} cannot be an object."), value);
            }
            return;
        };
        let mut names = HashSet::new();
        let is_one_of = definition.directives.iter().any(|directive| directive.name == "oneOf");
        for (name, member) in members {
            if !names.insert(name) {
                let message = format!("The input field `{name}` is given more than once. Give it once.");
                self.error(Rule::UniqueInputFieldNames, message, member);
            }
            if let Some(field) = definition.fields.get(name) {
                let place = Place { has_default: field.default_value.is_some(), is_one_of };
                self.value(member, &field.ty, place);
            }
        }
        if is_one_of && (members.len() != 1 || members.iter().any(|(_, member)| member.is_null())) {
            let message = format!("A {ty} must have exactly one field, and the value of the field must not be null.");
            self.error(Rule::ValuesOfCorrectType, message, value);
        }
    }
}
