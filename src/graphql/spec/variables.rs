//! Coerces the values of variables (CoerceVariableValues, section 6.1.2 of the specification).

use std::fmt;

use apollo_compiler::Schema as Types;
use apollo_compiler::ast;
use apollo_compiler::schema::{EnumType, ExtendedType, InputObjectType};
use async_graphql::indexmap::IndexMap;
use async_graphql::parser::types::{BaseType, OperationDefinition, Type};
use async_graphql::{Name, Pos, Positioned, ScalarType as _, ServerError, Value, Variables};
use async_graphql_value::Number;

use super::MAX_ERRORS;
use super::convert::constant;
use super::values::EXAMPLE;
use super::violation::{MAX_SHOWN, violation};
use crate::graphql::rule::Rule;
use crate::graphql::scalars::DateTime;

/// Returns the coerced values of the variables that the operation defines. An omitted variable gets its default. If it
/// has no default, it stays omitted. If `names_schema` is false, errors name no types, fields and values of the schema
/// that the client has not named.
pub(super) fn coerce(
    types: &Types,
    names_schema: bool,
    operation: &OperationDefinition,
    given: &Variables,
) -> Result<Variables, Vec<ServerError>> {
    let mut coercion = Coercion { types, names_schema, errors: Vec::new(), pos: Pos::default() };
    let mut coerced = IndexMap::new();
    for Positioned { node: definition, pos } in &operation.variable_definitions {
        coercion.pos = *pos;
        let (name, kind) = (&definition.name.node, &definition.var_type.node);
        let value = match (given.get(name), &definition.default_value) {
            (Some(value), _) => value,
            (None, Some(default)) => &default.node,
            (None, None) if kind.nullable => continue,
            (None, None) => {
                coercion.refuse(format_args!(
                    "The variable `${name}` of the type {kind} is missing. Add it to `variables`."
                ));
                continue;
            }
        };
        if let Some(value) = coercion.value(value, &Expected::of(kind), &Path::Variable(name)) {
            coerced.insert(name.clone(), value);
        }
    }
    if coercion.errors.is_empty() { Ok(Variables::from_value(Value::Object(coerced))) } else { Err(coercion.errors) }
}

/// The place of a value in the variables, such as `$input.participantIds.3`.
enum Path<'a> {
    Variable(&'a str),
    Field(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "${name}"),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}.{index}"),
        }
    }
}

/// The type of a value. Variable definitions and input fields have different representations of a type, so both are
/// converted to this one.
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
    names_schema: bool,
    errors: Vec<ServerError>,
    /// Position of the variable's definition.
    pos: Pos,
}

impl Coercion<'_> {
    const fn has_enough_errors(&self) -> bool {
        self.errors.len() >= MAX_ERRORS
    }

    fn refuse(&mut self, message: fmt::Arguments<'_>) {
        if !self.has_enough_errors() {
            self.errors.push(violation(Rule::VariableValues, message.to_string(), Some(self.pos)));
        }
    }

    /// Adds the error for a wrong value. `allowed` describes the allowed values.
    fn wrong(&mut self, path: &Path<'_>, value: &Value, allowed: impl fmt::Display) -> Option<Value> {
        if !self.has_enough_errors() {
            self.refuse(format_args!("The variable `{path}` is {}, but it must be {allowed}.", shown(value)));
        }
        None
    }

    /// Returns the coerced value. If the value is wrong, adds an error and returns None.
    fn value(&mut self, value: &Value, expected: &Expected<'_>, path: &Path<'_>) -> Option<Value> {
        if *value == Value::Null {
            return if expected.is_nullable() {
                Some(Value::Null)
            } else {
                self.wrong(path, value, "a value other than null")
            };
        }
        match (expected, value) {
            (Expected::List { of, .. }, Value::List(items)) => self.list(items, of, path),
            (Expected::List { of, .. }, value) => Some(Value::List(vec![self.value(value, of, path)?])),
            (Expected::Named { name, .. }, value) => self.named(value, name, path),
        }
    }

    fn list(&mut self, items: &[Value], of: &Expected<'_>, path: &Path<'_>) -> Option<Value> {
        let before = self.errors.len();
        let mut coerced = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            if self.has_enough_errors() {
                return None;
            }
            coerced.extend(self.value(item, of, &Path::Item(path, index)));
        }
        (self.errors.len() == before).then_some(Value::List(coerced))
    }

    fn named(&mut self, value: &Value, name: &str, path: &Path<'_>) -> Option<Value> {
        match (name, value) {
            ("String" | "ID", Value::String(_)) | ("Boolean", Value::Boolean(_)) | ("Float", Value::Number(_)) => {
                Some(value.clone())
            }
            ("Int", Value::Number(number)) => match int(number) {
                Some(int) => Some(int.into()),
                None => self.wrong(path, value, INT),
            },
            ("ID", Value::Number(number)) => match id(number) {
                Some(id) => Some(Value::String(id)),
                None => self.wrong(path, value, ID),
            },
            ("String", _) => self.wrong(path, value, "a string"),
            ("ID", _) => self.wrong(path, value, ID),
            ("Boolean", _) => self.wrong(path, value, "true or false"),
            ("Int", _) => self.wrong(path, value, INT),
            ("Float", _) => self.wrong(path, value, "a number"),
            ("DateTime", _) if DateTime::parse(value.clone()).is_ok() => Some(value.clone()),
            ("DateTime", _) => self.wrong(path, value, format_args!("a string like {EXAMPLE} (RFC 3339)")),
            _ => match (self.types.types.get(name), value) {
                (Some(ExtendedType::Enum(known)), _) => self.enum_value(value, known, path),
                (Some(ExtendedType::InputObject(object)), Value::Object(members)) => self.object(members, object, path),
                _ if self.names_schema => self.wrong(path, value, format_args!("an object of the type {name}")),
                _ => self.wrong(path, value, "an object"),
            },
        }
    }

    /// Returns the coerced value of an enum: a string in JSON, or an enum value in the default of a variable.
    fn enum_value(&mut self, value: &Value, known: &EnumType, path: &Path<'_>) -> Option<Value> {
        let name = match value {
            Value::String(text) => text.as_str(),
            Value::Enum(name) => name.as_str(),
            _ => "",
        };
        if known.values.contains_key(name) {
            return Some(Value::String(name.to_owned()));
        }
        if self.names_schema {
            self.wrong(path, value, OneOf(known.values.keys()))
        } else {
            self.wrong(path, value, "a value of its enum")
        }
    }

    fn object(&mut self, members: &IndexMap<Name, Value>, object: &InputObjectType, path: &Path<'_>) -> Option<Value> {
        let before = self.errors.len();
        for name in members.keys().map(Name::as_str).filter(|name| !object.fields.contains_key(*name)) {
            if self.names_schema {
                let fields = OneOf(object.fields.keys());
                self.refuse(format_args!(
                    "The variable `{path}` has an unknown field `{name:.MAX_SHOWN$}`. A field must be {fields}."
                ));
            } else {
                self.refuse(format_args!("The variable `{path}` has an unknown field `{name:.MAX_SHOWN$}`."));
            }
        }
        let mut coerced = IndexMap::new();
        let mut is_complete = true;
        for (name, field) in &object.fields {
            let (expected, path) = (Expected::of_field(&field.ty), Path::Field(path, name));
            let value = match (members.get(name.as_str()), &field.default_value) {
                (Some(value), _) => self.value(value, &expected, &path),
                (None, Some(default)) => self.value(&constant(default), &expected, &path),
                (None, None) if expected.is_nullable() => None,
                (None, None) => {
                    is_complete = false;
                    if self.names_schema {
                        self.refuse(format_args!("The field `{path}` of the type {} is missing.", field.ty));
                    }
                    None
                }
            };
            coerced.extend(value.map(|value| (Name::new(name.as_str()), value)));
        }
        if !is_complete && !self.names_schema {
            self.refuse(format_args!("A required field of the variable `{path}` is missing."));
        }
        let is_one_of = object.directives.iter().any(|directive| directive.name == "oneOf");
        if is_one_of && (members.len() != 1 || members.values().any(|value| *value == Value::Null)) {
            if self.names_schema {
                let fields = OneOf(object.fields.keys());
                self.refuse(format_args!(
                    "The variable `{path}` must have exactly one field, and its value must not be null. \
                     The field must be {fields}."
                ));
            } else {
                self.refuse(format_args!(
                    "The variable `{path}` must have exactly one field, and its value must not be null."
                ));
            }
        }
        (self.errors.len() == before).then_some(Value::Object(coerced))
    }
}

const INT: &str = "an integer from -2147483648 to 2147483647";
const ID: &str = "a string or an integer";

/// Returns the value of an Int. JSON can write an integer with a fraction of zero, such as 1.0.
fn int(number: &Number) -> Option<i32> {
    #[expect(clippy::cast_possible_truncation, reason = "the number has no fraction and is in the range")]
    let whole = |float: f64| (float.fract() == 0.0 && float.abs() <= f64::from(i32::MAX) + 1.0).then_some(float as i64);
    let integer = number.as_i64().or_else(|| whole(number.as_f64()?))?;
    i32::try_from(integer).ok()
}

/// Returns the text of an ID that is given as an integer. A number that is too large for 64 bits is formatted as
/// JavaScript formats it.
fn id(number: &Number) -> Option<String> {
    /// From this number on, JavaScript writes an exponent.
    const EXPONENT: f64 = 1e21;
    if let Some(integer) = number.as_i64() {
        return Some(integer.to_string());
    }
    if let Some(integer) = number.as_u64() {
        return Some(integer.to_string());
    }
    let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
    // The addition of zero changes -0 to 0, as JavaScript formats it.
    Some(if float.abs() < EXPONENT { (float + 0.0).to_string() } else { format!("{float:e}").replace('e', "e+") })
}

/// Formats a list of names for an error, such as `one of INCOMING, OUTGOING`.
struct OneOf<I>(I);

impl<I: Iterator<Item = T> + Clone, T: fmt::Display> fmt::Display for OneOf<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of ")?;
        for (index, name) in self.0.clone().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

/// Returns a value as JSON, shortened to MAX_SHOWN characters.
fn shown(value: &Value) -> String {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}
