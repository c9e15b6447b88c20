//! Fragments on unions. async-graphql applies a fragment to an object only if the type of the fragment is the type of
//! the object or one of its interfaces, and ignores the unions of the object.

use std::collections::HashMap;

use apollo_compiler::Schema as Types;
use apollo_compiler::schema::ExtendedType;
use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, FragmentDefinition, InlineFragment, OperationDefinition, OperationType,
    Selection, SelectionSet, TypeCondition,
};
use async_graphql::{Name, Pos, Positioned};

/// Rewrites the fragments on unions that stand in a selection on another type, so that async-graphql applies them. Such
/// a fragment is put in the place of its spread. Its type condition is dropped if all objects at that place belong to
/// the union, and is otherwise replaced by each object type of the union that is possible there. Returns the number of
/// selections that were copied. The document must be valid. The number of copies is below the complexity of the
/// document, which counts each spread of a fragment.
pub(super) fn rewrite(types: &Types, document: &mut ExecutableDocument) -> usize {
    let mut unions = Unions { types, fragments: HashMap::new(), copied: 0 };
    if !unions.are_in(document) {
        return 0;
    }
    unions.fragments.clone_from(&document.fragments);
    let operations: Vec<_> = match &mut document.operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(operations) => operations.values_mut().collect(),
    };
    for operation in operations {
        unions.operation(&mut operation.node);
    }
    for fragment in document.fragments.values_mut() {
        let on = fragment.node.type_condition.node.on.node.clone();
        unions.set(&on, &mut fragment.node.selection_set.node);
    }
    unions.copied
}

struct Unions<'a> {
    types: &'a Types,
    /// The fragments of the document, before the rewrite.
    fragments: HashMap<Name, Positioned<FragmentDefinition>>,
    copied: usize,
}

impl Unions<'_> {
    fn is_union(&self, name: &str) -> bool {
        matches!(self.types.types.get(name), Some(ExtendedType::Union(_)))
    }

    /// Whether the document has a fragment on a union.
    fn are_in(&self, document: &ExecutableDocument) -> bool {
        let mut operations = document.operations.iter().map(|(_, operation)| &operation.node.selection_set.node);
        document.fragments.values().any(|fragment| {
            self.is_union(&fragment.node.type_condition.node.on.node)
                || self.are_in_set(&fragment.node.selection_set.node)
        }) || operations.any(|set| self.are_in_set(set))
    }

    fn are_in_set(&self, set: &SelectionSet) -> bool {
        set.items.iter().any(|item| match &item.node {
            Selection::Field(field) => self.are_in_set(&field.node.selection_set.node),
            Selection::FragmentSpread(_) => false,
            Selection::InlineFragment(fragment) => {
                let condition = fragment.node.type_condition.as_ref();
                condition.is_some_and(|condition| self.is_union(&condition.node.on.node))
                    || self.are_in_set(&fragment.node.selection_set.node)
            }
        })
    }

    fn operation(&mut self, operation: &mut OperationDefinition) {
        let root = match operation.ty {
            OperationType::Query => "Query",
            OperationType::Mutation => "Mutation",
            OperationType::Subscription => "Subscription",
        };
        self.set(root, &mut operation.selection_set.node);
    }

    /// Rewrites a selection on the type `parent`.
    fn set(&mut self, parent: &str, set: &mut SelectionSet) {
        for Positioned { node: selection, pos } in std::mem::take(&mut set.items) {
            match selection {
                Selection::Field(mut field) => {
                    let types = self.types;
                    if let Ok(definition) = types.type_field(parent, &field.node.name.node) {
                        self.set(definition.ty.inner_named_type(), &mut field.node.selection_set.node);
                    }
                    set.items.push(Positioned::new(Selection::Field(field), pos));
                }
                Selection::InlineFragment(fragment) => self.inline(parent, fragment.node, pos, &mut set.items),
                Selection::FragmentSpread(spread) => match self.fragments.get(&spread.node.fragment_name.node) {
                    Some(fragment) if self.is_foreign(&fragment.node.type_condition.node.on.node, parent) => {
                        let fragment = InlineFragment {
                            type_condition: Some(fragment.node.type_condition.clone()),
                            directives: spread.node.directives,
                            selection_set: fragment.node.selection_set.clone(),
                        };
                        self.copied += size(&fragment.selection_set.node);
                        self.inline(parent, fragment, pos, &mut set.items);
                    }
                    _ => set.items.push(Positioned::new(Selection::FragmentSpread(spread), pos)),
                },
            }
        }
    }

    /// Whether a type condition is a union other than the type around it.
    fn is_foreign(&self, condition: &str, parent: &str) -> bool {
        condition != parent && self.is_union(condition)
    }

    /// Adds an inline fragment in a selection on the type `parent`.
    fn inline(&mut self, parent: &str, mut fragment: InlineFragment, pos: Pos, items: &mut Vec<Positioned<Selection>>) {
        let mut add = |fragment| {
            items.push(Positioned::new(Selection::InlineFragment(Positioned::new(fragment, pos)), pos));
        };
        let condition = fragment.type_condition.as_ref().map(|condition| condition.node.on.node.clone());
        let on = condition.as_deref().unwrap_or(parent);
        if !self.is_foreign(on, parent) {
            self.set(on, &mut fragment.selection_set.node);
            return add(fragment);
        }
        let objects = self.objects_of(parent);
        let (within, outside): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|object| self.types.is_subtype(on, object));
        if outside.is_empty() {
            fragment.type_condition = None;
            self.set(parent, &mut fragment.selection_set.node);
            return add(fragment);
        }
        for object in within {
            let mut copy = fragment.clone();
            self.copied += size(&copy.selection_set.node);
            let condition = TypeCondition { on: Positioned::new(Name::new(object), pos) };
            copy.type_condition = Some(Positioned::new(condition, pos));
            self.set(object, &mut copy.selection_set.node);
            add(copy);
        }
    }
}

impl<'a> Unions<'a> {
    /// Returns the object types that a value of the type can have.
    fn objects_of(&self, name: &str) -> Vec<&'a str> {
        let objects =
            self.types.types.iter().filter(|(object, ty)| {
                ty.is_object() && (object.as_str() == name || self.types.is_subtype(name, object))
            });
        objects.map(|(object, _)| object.as_str()).collect()
    }
}

/// Returns the number of selections in a set, at all levels.
fn size(set: &SelectionSet) -> usize {
    let with_inner = |item: &Positioned<Selection>| match &item.node {
        Selection::Field(field) => 1 + size(&field.node.selection_set.node),
        Selection::InlineFragment(fragment) => 1 + size(&fragment.node.selection_set.node),
        Selection::FragmentSpread(_) => 1,
    };
    set.items.iter().map(with_inner).sum()
}
