//! Converts a parsed document to the types of async-graphql, which executes the document.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use apollo_compiler::ast::{self, Definition, Document};
use apollo_compiler::parser::SourceSpan;
use async_graphql::parser::types::{
    BaseType, Directive, DocumentOperations, ExecutableDocument, Field, FragmentDefinition, FragmentSpread,
    InlineFragment, OperationDefinition, OperationType, Selection, SelectionSet, Type, TypeCondition,
    VariableDefinition,
};
use async_graphql::{Name, Pos, Positioned, ServerError, Value as ConstValue};
use async_graphql_value::{Number, Value};

use super::position::position;
use super::violation::violation;
use crate::graphql::rule::Rule;

/// Converts the operations and fragments of a document. Refuses two definitions with the same name, because
/// async-graphql's type cannot hold them.
pub(super) fn document(ast: &Document, text: &str) -> Result<ExecutableDocument, ServerError> {
    let mut converter = Converter { text, offset: 0, pos: Pos { line: 1, column: 1 } };
    let mut anonymous = None;
    let mut named = HashMap::new();
    let mut fragments = HashMap::new();
    for definition in &ast.definitions {
        match definition {
            Definition::OperationDefinition(node) => {
                let pos = converter.pos(node.location());
                let operation = Positioned::new(converter.operation(node, pos), pos);
                let Some(name) = &node.name else {
                    if anonymous.replace(operation).is_some() {
                        return Err(lone_anonymous(pos));
                    }
                    continue;
                };
                add(&mut named, name, operation, Rule::UniqueOperationNames)?;
            }
            Definition::FragmentDefinition(node) => {
                let pos = converter.pos(node.location());
                let fragment = Positioned::new(converter.fragment(node, pos), pos);
                add(&mut fragments, &node.name, fragment, Rule::UniqueFragmentNames)?;
            }
            other => return Err(not_executable(converter.pos(other.location()))),
        }
    }
    let operations = match anonymous {
        Some(operation) if named.is_empty() => DocumentOperations::Single(operation),
        Some(operation) => return Err(lone_anonymous(operation.pos)),
        None => DocumentOperations::Multiple(named),
    };
    Ok(ExecutableDocument { operations, fragments })
}

/// Returns the error for a definition of a type, a directive or a schema.
pub(super) fn not_executable(pos: Pos) -> ServerError {
    let message = "A document may contain only operations and fragments. Remove definitions of types, directives and \
        schemas.";
    violation(Rule::ExecutableDefinitions, message, Some(pos))
}

fn lone_anonymous(pos: Pos) -> ServerError {
    let message = "An operation without a name must be the only operation in its document. Name each operation.";
    violation(Rule::LoneAnonymousOperation, message, Some(pos))
}

fn add<T>(
    all: &mut HashMap<Name, Positioned<T>>,
    name: &ast::NamedType,
    definition: Positioned<T>,
    rule: Rule,
) -> Result<(), ServerError> {
    match all.entry(Name::new(name.as_str())) {
        Entry::Occupied(_) => {
            let kind = if rule == Rule::UniqueFragmentNames { "fragment" } else { "operation" };
            let message = format!("The document has more than one {kind} with the name `{name}`. Rename one of them.");
            Err(violation(rule, message, Some(definition.pos)))
        }
        Entry::Vacant(free) => {
            free.insert(definition);
            Ok(())
        }
    }
}

struct Converter<'a> {
    text: &'a str,
    /// Offset of `pos` in the text, in bytes. `pos` only advances, because nodes are visited in the order of the text.
    offset: usize,
    pos: Pos,
}

impl Converter<'_> {
    /// Returns the line and column of a node. A node that begins before the previous one gets the previous position.
    fn pos(&mut self, span: Option<SourceSpan>) -> Pos {
        let Some(skipped) = span.and_then(|span| self.text.get(self.offset..span.offset())) else { return self.pos };
        let Pos { line, column } = position(skipped, skipped.len());
        self.pos = match line {
            1 => Pos { line: self.pos.line, column: self.pos.column + column - 1 },
            _ => Pos { line: self.pos.line + line - 1, column },
        };
        self.offset += skipped.len();
        self.pos
    }

    fn operation(&mut self, node: &ast::OperationDefinition, pos: Pos) -> OperationDefinition {
        OperationDefinition {
            ty: match node.operation_type {
                ast::OperationType::Query => OperationType::Query,
                ast::OperationType::Mutation => OperationType::Mutation,
                ast::OperationType::Subscription => OperationType::Subscription,
            },
            variable_definitions: node.variables.iter().map(|variable| self.variable(variable)).collect(),
            directives: self.directives(&node.directives),
            selection_set: self.selections(&node.selection_set, pos),
        }
    }

    fn variable(&mut self, node: &apollo_compiler::Node<ast::VariableDefinition>) -> Positioned<VariableDefinition> {
        let pos = self.pos(node.location());
        let definition = VariableDefinition {
            name: name(&node.name, pos),
            var_type: Positioned::new(kind(&node.ty), pos),
            // The validation refuses a default value that contains a variable.
            default_value: node.default_value.as_ref().map(|value| Positioned::new(constant(value), pos)),
            directives: self.directives(&node.directives),
        };
        Positioned::new(definition, pos)
    }

    fn fragment(&mut self, node: &ast::FragmentDefinition, pos: Pos) -> FragmentDefinition {
        FragmentDefinition {
            type_condition: condition(&node.type_condition, pos),
            directives: self.directives(&node.directives),
            selection_set: self.selections(&node.selection_set, pos),
        }
    }

    fn selections(&mut self, selections: &[ast::Selection], pos: Pos) -> Positioned<SelectionSet> {
        let items = selections.iter().map(|selection| self.selection(selection)).collect();
        Positioned::new(SelectionSet { items }, pos)
    }

    fn selection(&mut self, selection: &ast::Selection) -> Positioned<Selection> {
        match selection {
            ast::Selection::Field(node) => {
                let pos = self.pos(node.location());
                let field = Field {
                    alias: node.alias.as_ref().map(|alias| name(alias, pos)),
                    name: name(&node.name, pos),
                    arguments: self.arguments(&node.arguments),
                    directives: self.directives(&node.directives),
                    selection_set: self.selections(&node.selection_set, pos),
                };
                Positioned::new(Selection::Field(Positioned::new(field, pos)), pos)
            }
            ast::Selection::FragmentSpread(node) => {
                let pos = self.pos(node.location());
                let fragment_name = name(&node.fragment_name, pos);
                let spread = FragmentSpread { fragment_name, directives: self.directives(&node.directives) };
                Positioned::new(Selection::FragmentSpread(Positioned::new(spread, pos)), pos)
            }
            ast::Selection::InlineFragment(node) => {
                let pos = self.pos(node.location());
                let fragment = InlineFragment {
                    type_condition: node.type_condition.as_ref().map(|on| condition(on, pos)),
                    directives: self.directives(&node.directives),
                    selection_set: self.selections(&node.selection_set, pos),
                };
                Positioned::new(Selection::InlineFragment(Positioned::new(fragment, pos)), pos)
            }
        }
    }

    fn directives(&mut self, directives: &ast::DirectiveList) -> Vec<Positioned<Directive>> {
        let convert = |node: &apollo_compiler::Node<ast::Directive>| {
            let pos = self.pos(node.location());
            Positioned::new(Directive { name: name(&node.name, pos), arguments: self.arguments(&node.arguments) }, pos)
        };
        directives.iter().map(convert).collect()
    }

    fn arguments(
        &mut self,
        arguments: &[apollo_compiler::Node<ast::Argument>],
    ) -> Vec<(Positioned<Name>, Positioned<Value>)> {
        let convert = |node: &apollo_compiler::Node<ast::Argument>| {
            let pos = self.pos(node.location());
            (name(&node.name, pos), Positioned::new(value(&node.value), pos))
        };
        arguments.iter().map(convert).collect()
    }
}

fn name(name: &ast::NamedType, pos: Pos) -> Positioned<Name> {
    Positioned::new(Name::new(name.as_str()), pos)
}

fn condition(on: &ast::NamedType, pos: Pos) -> Positioned<TypeCondition> {
    Positioned::new(TypeCondition { on: name(on, pos) }, pos)
}

fn kind(ty: &ast::Type) -> Type {
    let base = match ty {
        ast::Type::Named(name) | ast::Type::NonNullNamed(name) => BaseType::Named(Name::new(name.as_str())),
        ast::Type::List(of) | ast::Type::NonNullList(of) => BaseType::List(Box::new(kind(of))),
    };
    Type { base, nullable: !ty.is_non_null() }
}

/// Converts a value without variables.
pub(super) fn constant(node: &ast::Value) -> ConstValue {
    value(node).into_const_with(|_| Ok::<_, std::convert::Infallible>(ConstValue::Null)).unwrap_or_default()
}

/// Converts a value. A Float that is too large becomes null here, and the validation refuses the document.
fn value(node: &ast::Value) -> Value {
    match node {
        ast::Value::Null => Value::Null,
        ast::Value::Enum(name) => Value::Enum(Name::new(name.as_str())),
        ast::Value::Variable(name) => Value::Variable(Name::new(name.as_str())),
        ast::Value::String(text) => Value::String(text.clone()),
        ast::Value::Boolean(value) => Value::Boolean(*value),
        ast::Value::Int(int) => integer(int.as_str()),
        ast::Value::Float(float) => float.as_str().parse::<Number>().map_or(Value::Null, Value::Number),
        ast::Value::List(items) => Value::List(items.iter().map(|item| value(item)).collect()),
        ast::Value::Object(members) => {
            Value::Object(members.iter().map(|(name, of)| (Name::new(name.as_str()), value(of))).collect())
        }
    }
}

/// Converts an integer. An integer of more than 64 bits is valid only as an ID, and becomes a string of its digits.
fn integer(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| Value::String(text.to_owned()), |integer| Value::Number(integer.into()))
}
