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

/// Rewrites the fragments on unions that stand in a selection on another type, so that async-graphql applies them. The
/// type condition of such a fragment is replaced by the type of the selection if all its objects belong to the union,
/// and otherwise by each object type of the union that is possible there. Returns the new document and the number of
/// selections that were copied. None if the document has no fragments on unions. The document must be valid. A fragment is copied at most once for each type, so the size of the result is
/// linear in the size of the document.
pub(super) fn rewrite(types: &Types, document: &ExecutableDocument) -> Option<(ExecutableDocument, usize)> {
    let fragments = &document.fragments;
    let mut unions = Unions { types, fragments, copies: HashMap::new(), objects: HashMap::new(), copied: 0 };
    if !unions.are_in(document) {
        return None;
    }
    let mut rewritten = document.clone();
    let operations: Vec<_> = match &mut rewritten.operations {
        DocumentOperations::Single(operation) => vec![operation],
        DocumentOperations::Multiple(operations) => operations.values_mut().collect(),
    };
    for operation in operations {
        unions.operation(&mut operation.node);
    }
    for fragment in rewritten.fragments.values_mut() {
        let on = fragment.node.type_condition.node.on.node.clone();
        unions.set(&on, &mut fragment.node.selection_set.node);
    }
    rewritten.fragments.extend(unions.copies);
    Some((rewritten, unions.copied))
}

struct Unions<'a> {
    types: &'a Types,
    /// The fragments of the document, before the rewrite.
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// Copies of fragments for other types than their own. Their names contain spaces, so no document has them.
    copies: HashMap<Name, Positioned<FragmentDefinition>>,
    /// The object types that a value can have, by the name of its type.
    objects: HashMap<String, Vec<&'a str>>,
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
                Selection::InlineFragment(fragment) => self.inline(parent, &fragment, pos, &mut set.items),
                Selection::FragmentSpread(mut spread) => {
                    let name = spread.node.fragment_name.node.clone();
                    let condition =
                        self.fragments.get(&name).map(|known| known.node.type_condition.node.on.node.clone());
                    let Some(condition) = condition.filter(|condition| self.is_foreign(condition, parent)) else {
                        set.items.push(Positioned::new(Selection::FragmentSpread(spread), pos));
                        continue;
                    };
                    for target in self.targets(&condition, parent) {
                        spread.node.fragment_name.node = self.copy_for(&name, &target);
                        set.items.push(Positioned::new(Selection::FragmentSpread(spread.clone()), pos));
                    }
                }
            }
        }
        set.items.shrink_to_fit();
    }

    /// Adds an inline fragment in a selection on the type `parent`.
    fn inline(
        &mut self,
        parent: &str,
        fragment: &Positioned<InlineFragment>,
        pos: Pos,
        items: &mut Vec<Positioned<Selection>>,
    ) {
        let condition = fragment.node.type_condition.as_ref().map(|condition| condition.node.on.node.to_string());
        let is_foreign = condition.as_deref().is_some_and(|condition| self.is_foreign(condition, parent));
        let on = condition.unwrap_or_else(|| parent.to_owned());
        let targets = if is_foreign { self.targets(&on, parent) } else { vec![on] };
        for (index, target) in targets.into_iter().enumerate() {
            let mut copy = fragment.clone();
            if index > 0 {
                self.copied += size(&copy.node.selection_set.node);
            }
            if is_foreign {
                let on = TypeCondition { on: Positioned::new(Name::new(&target), pos) };
                copy.node.type_condition = Some(Positioned::new(on, pos));
            }
            self.set(&target, &mut copy.node.selection_set.node);
            items.push(Positioned::new(Selection::InlineFragment(copy), pos));
        }
    }

    /// Returns the name of a copy of a fragment whose type condition is `target`.
    fn copy_for(&mut self, name: &Name, target: &str) -> Name {
        let copy = Name::new(format!("{name} on {target}"));
        if !self.copies.contains_key(&copy)
            && let Some(mut fragment) = self.fragments.get(name).cloned()
        {
            fragment.node.type_condition.node.on.node = Name::new(target);
            self.copied += size(&fragment.node.selection_set.node);
            self.set(target, &mut fragment.node.selection_set.node);
            self.copies.insert(copy.clone(), fragment);
        }
        copy
    }

    /// Whether a type condition is a union other than the type around it.
    fn is_foreign(&self, condition: &str, parent: &str) -> bool {
        condition != parent && self.is_union(condition)
    }

    /// Returns the type conditions that replace a union in a selection on the type `parent`.
    fn targets(&mut self, union: &str, parent: &str) -> Vec<String> {
        let types = self.types;
        let objects = self.objects.entry(parent.to_owned()).or_insert_with(|| {
            let objects = types.types.iter().filter(|(object, ty)| {
                ty.is_object() && (object.as_str() == parent || types.is_subtype(parent, object))
            });
            objects.map(|(object, _)| object.as_str()).collect()
        });
        let within: Vec<_> = objects.iter().filter(|object| types.is_subtype(union, object)).collect();
        if within.len() == objects.len() {
            return vec![parent.to_owned()];
        }
        within.into_iter().map(|object| (*object).to_owned()).collect()
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
