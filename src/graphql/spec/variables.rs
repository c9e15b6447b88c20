//! The values of variables: CoerceVariableValues, section 6.1.2 of the specification.

use std::collections::HashSet;

use apollo_compiler::Schema as Types;
use apollo_compiler::ast;
use apollo_compiler::schema::{ExtendedType, InputObjectType};
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{
    BaseType, Directive, DocumentOperations, ExecutableDocument, OperationDefinition, Selection, SelectionSet, Type,
};
use async_graphql::{Name, Pos, Positioned, ScalarType as _, ServerError, Value, Variables};
use async_graphql_value::Value as Literal;

use super::MAX_ERRORS;
use super::convert::constant;
use super::violation::{Rule, violation};
use crate::graphql::scalars::DateTime;

/// Maximum characters of a wrong value in an error.
const MAX_SHOWN: usize = 60;

/// Returns the coerced values of the declared variables. A variable that is left out gets its default, and remains left
/// out if it has none.
pub(super) fn coerce(
    types: &Types,
    operation: &OperationDefinition,
    given: &Variables,
) -> Result<Variables, Vec<ServerError>> {
    let mut coercion = Coercion { types, errors: Vec::new(), pos: Pos::default() };
    let mut coerced = IndexMap::new();
    for Positioned { node: definition, pos } in &operation.variable_definitions {
        coercion.pos = *pos;
        let (name, kind) = (&definition.name.node, &definition.var_type.node);
        let value = match (given.get(name), &definition.default_value) {
            (Some(value), _) => value,
            (None, Some(default)) => &default.node,
            (None, None) if kind.nullable => continue,
            (None, None) => {
                coercion.refuse(format!("The variable `${name}` of the type {kind} is missing."));
                continue;
            }
        };
        if let Some(value) = coercion.value(value, &Expected::of(kind), &format!("${name}")) {
            coerced.insert(name.clone(), value);
        }
    }
    if coercion.errors.is_empty() { Ok(Variables::from_value(Value::Object(coerced))) } else { Err(coercion.errors) }
}

/// The type of a value, of which a variable definition and an input field have different representations.
enum Expected<'a> {
    List { of: Box<Expected<'a>>, nullable: bool },
    Named { name: &'a str, nullable: bool },
}

impl<'a> Expected<'a> {
    fn of(kind: &'a Type) -> Self {
        let nullable = kind.nullable;
        match &kind.base {
            BaseType::Named(name) => Self::Named { name, nullable },
            BaseType::List(of) => Self::List { of: Box::new(Self::of(of)), nullable },
        }
    }

    fn of_field(ty: &'a ast::Type) -> Self {
        let nullable = !ty.is_non_null();
        match ty {
            ast::Type::Named(name) | ast::Type::NonNullNamed(name) => Self::Named { name, nullable },
            ast::Type::List(of) | ast::Type::NonNullList(of) => {
                Self::List { of: Box::new(Self::of_field(of)), nullable }
            }
        }
    }

    const fn is_nullable(&self) -> bool {
        let (Self::List { nullable, .. } | Self::Named { nullable, .. }) = self;
        *nullable
    }
}

struct Coercion<'a> {
    types: &'a Types,
    errors: Vec<ServerError>,
    /// Position of the variable's definition.
    pos: Pos,
}

impl Coercion<'_> {
    fn refuse(&mut self, message: String) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(violation(Rule::VariableValues, message, Some(self.pos)));
        }
    }

    /// Refuses a value, and says what is allowed.
    fn wrong(&mut self, path: &str, value: &Value, allowed: &str) -> Option<Value> {
        self.refuse(format!("The variable `{path}` is {}, but it must be {allowed}.", shown(value)));
        None
    }

    /// Returns the coerced value. None if the value is wrong; the error is then added.
    fn value(&mut self, value: &Value, expected: &Expected<'_>, path: &str) -> Option<Value> {
        if *value == Value::Null {
            return if expected.is_nullable() { Some(Value::Null) } else { self.wrong(path, value, "not null") };
        }
        match (expected, value) {
            (Expected::List { of, .. }, Value::List(items)) => {
                let items: Vec<_> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.value(item, of, &format!("{path}.{index}")))
                    .collect();
                items.into_iter().collect::<Option<_>>().map(Value::List)
            }
            (Expected::List { of, .. }, value) => Some(Value::List(vec![self.value(value, of, path)?])),
            (Expected::Named { name, .. }, value) => self.named(value, name, path),
        }
    }

    fn named(&mut self, value: &Value, name: &str, path: &str) -> Option<Value> {
        match (name, value) {
            ("String", Value::String(_)) | ("ID", Value::String(_)) | ("Boolean", Value::Boolean(_)) => {
                Some(value.clone())
            }
            ("Int", Value::Number(number)) => match integer(number) {
                Some(number) if i32::try_from(number).is_ok() => Some(number.into()),
                _ => self.wrong(path, value, INT),
            },
            ("ID", Value::Number(number)) => match integer(number) {
                Some(number) => Some(Value::String(number.to_string())),
                None => self.wrong(path, value, ID),
            },
            ("Float", Value::Number(_)) => Some(value.clone()),
            ("String", _) => self.wrong(path, value, "a string"),
            ("ID", _) => self.wrong(path, value, ID),
            ("Boolean", _) => self.wrong(path, value, "true or false"),
            ("Int", _) => self.wrong(path, value, INT),
            ("Float", _) => self.wrong(path, value, "a number"),
            ("DateTime", _) if DateTime::parse(value.clone()).is_ok() => Some(value.clone()),
            ("DateTime", _) => self.wrong(path, value, "a date and time of RFC 3339, such as \"2026-11-20T09:30:00Z\""),
            _ => match self.types.types.get(name) {
                Some(ExtendedType::Enum(known)) => {
                    let (Value::String(_) | Value::Enum(_)) = value else {
                        return self.wrong(path, value, &one_of(known.values.keys()));
                    };
                    let text = if let Value::Enum(name) = value { name.as_str() } else { text(value) };
                    if known.values.contains_key(text) {
                        return Some(Value::String(text.to_owned()));
                    }
                    self.wrong(path, value, &one_of(known.values.keys()))
                }
                Some(ExtendedType::InputObject(object)) => match value {
                    Value::Object(members) => self.object(members, object, path),
                    _ => self.wrong(path, value, &format!("an object of the type {name}")),
                },
                _ => Some(value.clone()),
            },
        }
    }

    fn object(&mut self, members: &IndexMap<Name, Value>, object: &InputObjectType, path: &str) -> Option<Value> {
        let before = self.errors.len();
        for name in members.keys() {
            if !object.fields.contains_key(name.as_str()) {
                let fields = one_of(object.fields.keys());
                self.refuse(format!("The variable `{path}` has an unknown field `{name}`. Its fields are {fields}."));
            }
        }
        let mut coerced = IndexMap::new();
        for (name, field) in &object.fields {
            let (expected, path) = (Expected::of_field(&field.ty), format!("{path}.{name}"));
            match (members.get(name.as_str()), &field.default_value) {
                (Some(value), _) => {
                    if let Some(value) = self.value(value, &expected, &path) {
                        coerced.insert(Name::new(name.as_str()), value);
                    }
                }
                (None, Some(default)) => {
                    if let Some(value) = self.value(&constant(default), &expected, &path) {
                        coerced.insert(Name::new(name.as_str()), value);
                    }
                }
                (None, None) if expected.is_nullable() => {}
                (None, None) => self.refuse(format!("The variable `{path}` of the type {} is missing.", field.ty)),
            }
        }
        let is_one_of = object.directives.iter().any(|directive| directive.name == "oneOf");
        if is_one_of && (members.len() != 1 || members.values().any(|value| *value == Value::Null)) {
            let fields = one_of(object.fields.keys());
            self.refuse(format!("The variable `{path}` must have exactly one field that is not null, {fields}."));
        }
        (self.errors.len() == before).then_some(Value::Object(coerced))
    }
}

const INT: &str = "an integer from -2147483648 to 2147483647";
const ID: &str = "a string or an integer";

/// Returns an integer, which JSON may write with a fraction of zero, such as 1.0.
fn integer(number: &async_graphql_value::Number) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "the number has no fraction and is in the range")]
    let whole = |float: f64| (float.fract() == 0.0 && float.abs() <= 9_007_199_254_740_991.0).then_some(float as i64);
    number.as_i64().or_else(|| whole(number.as_f64()?))
}

const fn text(value: &Value) -> &str {
    if let Value::String(text) = value { text.as_str() } else { "" }
}

fn one_of<'a>(names: impl Iterator<Item = &'a ast::NamedType>) -> String {
    format!("one of {}", names.map(|name| name.as_str()).collect::<Vec<_>>().join(", "))
}

/// Returns a value as JSON, shortened.
fn shown(value: &Value) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Removes the arguments and input fields whose value is a variable that is left out and has no default, so that their
/// own defaults apply (CoerceArgumentValues, section 6.4.1). async-graphql would pass null. Returns None if there are
/// none. `variables` are coerced.
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
