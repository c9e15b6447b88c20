//! Rules about values that apollo-compiler does not check: variables in lists and objects, variables with the default
//! null where null is not allowed, `@oneOf` input objects, duplicate fields of input objects, and dates. Also the rules
//! NoSchemaIntrospection and NoUnusedFragments.

use std::collections::HashSet;
use std::fmt;

use apollo_compiler::ast::{self, Value};
use apollo_compiler::executable::{Field, Operation, Selection, SelectionSet};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::{ExecutableDocument, Name, Node, Schema as Types};
use async_graphql::{ScalarType as _, ServerError};

use super::MAX_ERRORS;
use super::never_null::NeverNull;
use super::violation::{Shown, pos_of, violation};
use crate::graphql::rule::Rule;
use crate::graphql::scalars::DateTime;

/// An example of a DateTime, for errors.
pub(super) const EXAMPLE: &str = "\"2026-11-20T09:30:00Z\"";

/// Returns the violations of these rules, and the variables that must not be null although their types are nullable.
/// `introspection` says whether the server allows introspection. apollo-compiler must have found the document valid.
pub(super) fn check(
    types: &Types,
    document: &ExecutableDocument,
    introspection: bool,
) -> (Vec<ServerError>, NeverNull) {
    let (mut errors, mut never_null, mut used) = (Vec::new(), NeverNull::default(), HashSet::new());
    for operation in document.operations.iter() {
        let mut walk = Walk {
            introspection,
            types,
            document,
            operation,
            fragments: HashSet::new(),
            errors: &mut errors,
            never_null: &mut never_null,
        };
        for variable in &operation.variables {
            if let Some(default) = &variable.default_value {
                walk.value(default, &variable.ty, Place { has_default: false, is_one_of: false });
            }
            walk.directives(&variable.directives);
        }
        walk.directives(&operation.directives);
        walk.selections(&operation.selection_set);
        used.extend(walk.fragments);
    }
    let unused = document.fragments.values().filter(|fragment| !used.contains(&fragment.name));
    let unused = unused.take(MAX_ERRORS.saturating_sub(errors.len())).map(|fragment| {
        let name = Shown(&fragment.name);
        let message = format!("The fragment `{name}` is not used. Spread it in an operation, or remove it.");
        violation(Rule::NoUnusedFragments, message, pos_of(fragment.location(), &document.sources))
    });
    errors.extend(unused);
    (errors, never_null)
}

struct Walk<'a, 'e> {
    introspection: bool,
    types: &'a Types,
    document: &'a ExecutableDocument,
    operation: &'a Operation,
    /// The fragments that were visited for this operation.
    fragments: HashSet<&'a Name>,
    errors: &'e mut Vec<ServerError>,
    never_null: &'e mut NeverNull,
}

/// The argument or input field that has a value.
#[derive(Clone, Copy)]
struct Place {
    /// Whether the argument or input field has a default value.
    has_default: bool,
    /// Whether the input field belongs to a `@oneOf` input object.
    is_one_of: bool,
}

impl<'a> Walk<'a, '_> {
    fn error<T>(&mut self, rule: Rule, message: fmt::Arguments<'_>, node: &Node<T>) {
        if self.errors.len() < MAX_ERRORS {
            let pos = pos_of(node.location(), &self.document.sources);
            self.errors.push(violation(rule, message.to_string(), pos));
        }
    }

    /// Refuses `__schema` and `__type` if the server does not allow introspection.
    fn introspection(&mut self, field: &Node<Field>) {
        if !self.introspection && matches!(field.name.as_str(), "__schema" | "__type") {
            self.error(
                Rule::NoSchemaIntrospection,
                format_args!("This server does not allow introspection, so it has no field `{}`.", field.name),
                field,
            );
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
        for directive in directives {
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
                for item in items {
                    self.value(item, of, inner);
                }
            }
            (_, ast::Type::List(of) | ast::Type::NonNullList(of)) => self.value(value, of, inner),
            (Value::Object(members), ast::Type::Named(name) | ast::Type::NonNullNamed(name)) => {
                self.object(value, members, name);
            }
            (Value::String(text), ast::Type::Named(name) | ast::Type::NonNullNamed(name))
                if name == "DateTime" && DateTime::parse(text.as_str().into()).is_err() =>
            {
                self.error(
                    Rule::ValuesOfCorrectType,
                    format_args!("A time must be a string like {EXAMPLE} (RFC 3339), not \"{}\".", Shown(text)),
                    value,
                );
            }
            (Value::String(_), _) => {}
            (_, ast::Type::Named(name) | ast::Type::NonNullNamed(name)) if name == "DateTime" => {
                self.error(
                    Rule::ValuesOfCorrectType,
                    format_args!("A time must be a string like {EXAMPLE} (RFC 3339)."),
                    value,
                );
            }
            _ => {}
        }
    }

    /// Checks whether a variable is allowed here (IsVariableUsageAllowed, section 5.8.5). In lists and objects,
    /// apollo-compiler compares only the names of the types. It treats the default null like other defaults.
    fn variable(&mut self, value: &Node<Value>, name: &Name, ty: &ast::Type, place: Place) {
        let Some(definition) = self.operation.variables.iter().find(|definition| definition.name == *name) else {
            return;
        };
        let (rule, shown, given) = (Rule::VariablesInAllowedPosition, Shown(name), &definition.ty);
        let mut expected = ty.clone();
        if (ty.is_non_null() || place.is_one_of) && !given.is_non_null() {
            let has_value = definition.default_value.as_ref().is_some_and(|default| !default.is_null());
            if !has_value && !place.has_default {
                self.error(
                    rule,
                    format_args!(
                        "The variable `${shown}` of the type {given} can be null, which is not allowed here. Declare \
                         it as {given}!."
                    ),
                    value,
                );
                return;
            }
            if has_value {
                self.never_null.add(self.operation.name.as_ref(), name);
            }
            expected = expected.nullable();
        }
        if given.is_assignable_to(&expected) {
            return;
        }
        if self.introspection {
            self.error(
                rule,
                format_args!("The variable `${shown}` of the type {given} cannot be used where the type is {ty}."),
                value,
            );
        } else {
            self.error(
                rule,
                format_args!("The variable `${shown}` of the type {given} cannot be used here: the type is different."),
                value,
            );
        }
    }

    fn object(&mut self, value: &'a Node<Value>, members: &'a [(Name, Node<Value>)], ty: &Name) {
        let Some(ExtendedType::InputObject(definition)) = self.types.types.get(ty) else {
            // No scalar of the schema accepts an object, and apollo-compiler refuses it for the built-in ones.
            if self.types.types.get(ty).is_some_and(|ty| matches!(ty, ExtendedType::Scalar(_))) {
                self.error(Rule::ValuesOfCorrectType, format_args!("The value cannot be an object here."), value);
            }
            return;
        };
        let mut names = HashSet::new();
        let is_one_of = definition.directives.iter().any(|directive| directive.name == "oneOf");
        for (name, member) in members {
            if !names.insert(name) {
                self.error(
                    Rule::UniqueInputFieldNames,
                    format_args!("The input field `{}` is given more than once. Give it once.", Shown(name)),
                    member,
                );
            }
            if let Some(field) = definition.fields.get(name) {
                let place = Place { has_default: field.default_value.is_some(), is_one_of };
                self.value(member, &field.ty, place);
            }
        }
        if is_one_of && (members.len() != 1 || members.iter().any(|(_, member)| member.is_null())) {
            self.error(
                Rule::ValuesOfCorrectType,
                format_args!("The input object must have exactly one field, and its value must not be null."),
                value,
            );
        }
    }
}
