//! A part of the rule OverlappingFieldsCanBeMerged: fields with the same response key must be the same field with the
//! same arguments. apollo-compiler also checks this, but accepts two lists as equal arguments if the longer list begins
//! with the items of the shorter list. For each conflict it copies the arguments, and it does not stop after any number
//! of conflicts. So this check comes first, and apollo-compiler does not validate a document that has such a conflict.

use std::collections::{HashMap, HashSet};
use std::ptr;

use apollo_compiler::ast::{NamedType, Value};
use apollo_compiler::collections::IndexMap;
use apollo_compiler::executable::{Field, Selection, SelectionSet};
use apollo_compiler::{ExecutableDocument, Name, Node, Schema as Types};
use async_graphql::ServerError;

use super::MAX_ERRORS;
use super::violation::{ALIAS, Shown, pos_of, violation};
use crate::graphql::rule::Rule;

/// Returns the first conflicts, at most one for each field.
pub(super) fn errors(types: &Types, document: &ExecutableDocument) -> Vec<ServerError> {
    Walk::new(types, document).errors
}

/// A field and the type to which it belongs.
type Selected<'a> = (&'a NamedType, &'a Node<Field>);

struct Walk<'a> {
    types: &'a Types,
    document: &'a ExecutableDocument,
    /// The addresses of selection sets that were checked together. If fragments are spread in many places, the same
    /// sets are found again on many paths, and are checked once. In a document without conflicts, the number of checks
    /// is usually the number of selection sets. It is never larger than the number of fields that the cost of the
    /// document counts, because the fields of interfaces in the schema return no objects.
    checked: HashSet<Vec<*const SelectionSet>>,
    /// The addresses of the fields that have an error.
    wrong: HashSet<*const Node<Field>>,
    errors: Vec<ServerError>,
}

impl<'a> Walk<'a> {
    /// Checks all operations of a document.
    fn new(types: &'a Types, document: &'a ExecutableDocument) -> Self {
        let mut walk = Self { types, document, checked: HashSet::new(), wrong: HashSet::new(), errors: Vec::new() };
        for operation in document.operations.iter() {
            walk.check(&[&operation.selection_set]);
        }
        walk
    }

    /// Checks selection sets whose fields are merged into one object of the response.
    fn check(&mut self, sets: &[&'a SelectionSet]) {
        let mut addresses: Vec<_> = sets.iter().copied().map(ptr::from_ref).collect();
        addresses.sort_unstable();
        if self.errors.len() >= MAX_ERRORS || !self.checked.insert(addresses) {
            return;
        }
        let mut fields = Fields { document: self.document, fragments: HashSet::new(), by_key: IndexMap::default() };
        for &set in sets {
            fields.add(set);
        }
        for same_key in fields.by_key.into_values() {
            for group in self.groups(same_key) {
                self.compare(&group);
            }
        }
    }

    /// Groups fields by the object types to which they belong. A field of an interface or union can be selected on each
    /// of these objects, so it is in each group.
    fn groups(&self, fields: Vec<Selected<'a>>) -> Vec<Vec<&'a Node<Field>>> {
        let mut by_object: IndexMap<_, Vec<_>> = IndexMap::default();
        let mut of_any_object = Vec::new();
        for (parent, field) in fields {
            if self.types.get_object(parent).is_some() {
                by_object.entry(parent).or_default().push(field);
            } else {
                of_any_object.push(field);
            }
        }
        if by_object.is_empty() {
            return vec![of_any_object];
        }
        let complete = |group: Vec<_>| [group.as_slice(), of_any_object.as_slice()].concat();
        by_object.into_values().map(complete).collect()
    }

    /// Compares fields that have the same response key and can belong to the same object, and checks their selections.
    /// Whether two fields are the same is transitive, so a comparison with the first field is enough.
    fn compare(&mut self, group: &[&'a Node<Field>]) {
        let [first, rest @ ..] = group else { return };
        for &other in rest {
            if self.errors.len() >= MAX_ERRORS {
                return;
            }
            if let Some(message) = conflict(first, other)
                && self.wrong.insert(ptr::from_ref(other))
            {
                let pos = pos_of(other.location(), &self.document.sources);
                self.errors.push(violation(Rule::OverlappingFieldsCanBeMerged, message, pos));
            }
        }
        let sets = group.iter().copied().map(|field| &field.selection_set);
        let inner: Vec<_> = sets.filter(|set| !set.selections.is_empty()).collect();
        if !inner.is_empty() {
            self.check(&inner);
        }
    }
}

/// The fields of selection sets, by response key. Selections of fragments belong to the set that spreads the fragment.
struct Fields<'a> {
    document: &'a ExecutableDocument,
    fragments: HashSet<&'a Name>,
    by_key: IndexMap<&'a Name, Vec<Selected<'a>>>,
}

impl<'a> Fields<'a> {
    fn add(&mut self, set: &'a SelectionSet) {
        for selection in &set.selections {
            match selection {
                Selection::Field(field) => {
                    self.by_key.entry(field.response_key()).or_default().push((&set.ty, field));
                }
                Selection::InlineFragment(fragment) => self.add(&fragment.selection_set),
                Selection::FragmentSpread(spread) => {
                    if self.fragments.insert(&spread.fragment_name)
                        && let Some(fragment) = self.document.fragments.get(&spread.fragment_name)
                    {
                        self.add(&fragment.selection_set);
                    }
                }
            }
        }
    }
}

/// Returns the error for two fields with the same response key. None if they are the same field with the same
/// arguments.
fn conflict(first: &Field, other: &Field) -> Option<String> {
    let key = Shown(other.response_key());
    if first.name != other.name {
        let names = format!("`{}` and `{}`", first.name, other.name);
        return Some(format!("The fields {names} have the same response key `{key}`.{ALIAS}"));
    }
    let same = same_members(
        first.arguments.iter().map(|argument| (&argument.name, &argument.value)),
        other.arguments.iter().map(|argument| (&argument.name, &argument.value)),
    );
    (!same).then(|| format!("The field `{key}` is selected twice with different arguments.{ALIAS}"))
}

/// Whether two lists of arguments or of input fields have the same names and values, in any order.
fn same_members<'a>(
    mut one: impl ExactSizeIterator<Item = (&'a Name, &'a Node<Value>)>,
    other: impl ExactSizeIterator<Item = (&'a Name, &'a Node<Value>)>,
) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let other: HashMap<_, _> = other.collect();
    one.all(|(name, value)| other.get(name).is_some_and(|other| same_value(value, other)))
}

fn same_value(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other))
        }
        (Value::Object(one), Value::Object(other)) => same_members(
            one.iter().map(|member| (&member.0, &member.1)),
            other.iter().map(|member| (&member.0, &member.1)),
        ),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use apollo_compiler::validation::Valid;

    use super::{ExecutableDocument, Types, Walk};
    use crate::graphql::sdl;

    fn types() -> Valid<Types> {
        Types::parse_and_validate(sdl(), "schema.graphql").unwrap()
    }

    #[test]
    fn selection_sets_that_occur_on_many_paths_are_checked_once() {
        const FRAGMENTS: usize = 40;
        let fragment = |i: usize| {
            let reply = format!("replyTo {{ ...F{} }}", i + 1);
            format!("fragment F{i} on Message {{ {reply} conversation {{ lastMessage {{ ...F{} }} }} }} ", i + 2)
        };
        let fragments = (0..FRAGMENTS).map(fragment).collect::<Vec<_>>().concat();
        let last = |i| format!("fragment F{i} on Message {{ id }} ");
        let text = [fragments, last(FRAGMENTS), last(FRAGMENTS + 1), "{ node(id: 1) { ...F0 } }".to_owned()].concat();
        let types = types();
        let document = ExecutableDocument::parse(&types, text, "document").unwrap();
        let walk = Walk::new(&types, &document);
        assert!(walk.errors.is_empty(), "{:?}", walk.errors);
        // The selection sets of the operation, of `node`, and three of each fragment.
        assert_eq!(walk.checked.len(), 2 + 3 * FRAGMENTS);
    }

    #[test]
    fn values_are_compared_completely_and_in_any_order() {
        let types = types();
        for (one, other, is_same) in [
            ("1", "1", true),
            ("1", "1.0", false),
            ("\"a\"", "\"\"\"a\"\"\"", true),
            ("\"1\"", "1", false),
            ("null", "false", false),
            ("$v", "$v", true),
            ("$v", "$w", false),
            ("[1, 2]", "[1, 2]", true),
            ("[1, 2]", "[1]", false),
            ("[1, 2]", "[2, 1]", false),
            ("{a: 1, b: 2}", "{b: 2, a: 1}", true),
            ("{a: 1, b: 2}", "{a: 1}", false),
            ("{a: 1}", "{b: 1}", false),
            ("[{a: [1]}]", "[{a: [1, 2]}]", false),
        ] {
            let text = format!("{{ node(id: {one}, a: 1) {{ id }} node(a: 1, id: {other}) {{ id }} }}");
            let document = ExecutableDocument::parse(&types, text, "document").unwrap();
            assert_eq!(Walk::new(&types, &document).errors.is_empty(), is_same, "{one} {other}");
        }
    }

    #[test]
    fn fields_of_different_objects_do_not_conflict() {
        let types = types();
        for (selections, is_valid) in [
            ("... on User { a: username } ... on Conversation { a: title }", true),
            ("... on User { a: username } ... on User { a: displayName }", false),
            ("a: id ... on User { a: username }", false),
            ("... on User { a: id } ... on Conversation { a: id }", true),
        ] {
            let text = format!("{{ node(id: 1) {{ {selections} }} }}");
            let document = ExecutableDocument::parse(&types, text, "document").unwrap();
            assert_eq!(Walk::new(&types, &document).errors.is_empty(), is_valid, "{selections}");
        }
    }
}
