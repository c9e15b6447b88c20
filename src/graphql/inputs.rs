//! Checks variables against their definitions, for documents that were validated before.

use std::collections::HashMap;

use async_graphql::parser::types::{BaseType, InputObjectType, Type, TypeKind, VariableDefinition};
use async_graphql::{Name, Positioned, Value, Variables};

/// The types of the schema that arguments and variables can have, by name.
pub(super) struct Inputs(HashMap<String, Input>);

enum Input {
    Scalar,
    Enum(Vec<Name>),
    Object(InputObjectType),
    /// Input object of which exactly one member must be given, with a value that is not null.
    OneOf(InputObjectType),
}

impl Inputs {
    pub(super) fn new() -> Self {
        let inputs = super::type_definitions().filter_map(|definition| {
            let one_of = definition.directives.iter().any(|directive| directive.node.name.node == "oneOf");
            let input = match definition.kind {
                TypeKind::Scalar => Input::Scalar,
                TypeKind::Enum(values) => {
                    Input::Enum(values.values.into_iter().map(|value| value.node.value.node).collect())
                }
                TypeKind::InputObject(object) if one_of => Input::OneOf(object),
                TypeKind::InputObject(object) => Input::Object(object),
                _ => return None,
            };
            Some((definition.name.node.to_string(), input))
        });
        Self(inputs.collect())
    }

    /// Returns the first required variable that is missing or null. None if all required variables are given.
    pub(super) fn missing<'a>(
        definitions: &'a [Positioned<VariableDefinition>],
        variables: &Variables,
    ) -> Option<&'a VariableDefinition> {
        definitions.iter().map(|definition| &definition.node).find(|definition| {
            !definition.var_type.node.nullable
                && match variables.get(&definition.name.node) {
                    Some(value) => *value == Value::Null,
                    None => definition.default_value.is_none(),
                }
        })
    }

    /// Returns whether the variables match their definitions, by section 6.1.2 of the GraphQL specification. Returns
    /// false also for a value that needs coercion, such as a single value for a list. The validation then decides.
    pub(super) fn variables_match(
        &self,
        definitions: &[Positioned<VariableDefinition>],
        variables: &Variables,
    ) -> bool {
        definitions.iter().all(|definition| {
            let definition = &definition.node;
            let kind = &definition.var_type.node;
            match variables.get(&definition.name.node) {
                Some(value) => self.is(kind, value),
                None => kind.nullable || definition.default_value.is_some(),
            }
        })
    }

    fn is(&self, kind: &Type, value: &Value) -> bool {
        match (&kind.base, value) {
            (_, Value::Null) => kind.nullable,
            (BaseType::List(of), Value::List(items)) => items.iter().all(|item| self.is(of, item)),
            (BaseType::List(_), _) => false,
            (BaseType::Named(name), value) => self.is_named(name, value),
        }
    }

    fn is_named(&self, name: &str, value: &Value) -> bool {
        match (name, value) {
            ("String" | "ID", Value::String(_)) | ("Boolean", Value::Boolean(_)) | ("Float", Value::Number(_)) => true,
            ("Int", Value::Number(number)) => number.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
            ("String" | "ID" | "Boolean" | "Float" | "Int", _) => false,
            _ => match (self.0.get(name), value) {
                (Some(Input::Scalar), Value::String(_)) => true,
                (Some(Input::Enum(values)), Value::String(value)) => values.iter().any(|known| known == value.as_str()),
                (Some(Input::Object(object)), Value::Object(members)) => {
                    let known = |name: &Name| object.fields.iter().any(|field| field.node.name.node == *name);
                    members.keys().all(known)
                        && object.fields.iter().all(|Positioned { node: field, .. }| {
                            match members.get(&field.name.node) {
                                Some(value) => self.is(&field.ty.node, value),
                                None => field.ty.node.nullable || field.default_value.is_some(),
                            }
                        })
                }
                (Some(Input::OneOf(object)), Value::Object(members)) => {
                    members.len() == 1
                        && members.iter().all(|(name, value)| {
                            let field = object.fields.iter().find(|field| field.node.name.node == *name);
                            *value != Value::Null && field.is_some_and(|field| self.is(&field.node.ty.node, value))
                        })
                }
                _ => false,
            },
        }
    }
}
