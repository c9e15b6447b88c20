//! What a document may cost before it is even validated.

use std::collections::HashMap;

use async_graphql::Name;
use async_graphql::Positioned;
use async_graphql::parser::types::{ExecutableDocument, FragmentDefinition, Selection, SelectionSet};

use crate::graphql::{Error, ErrorCode};

/// Fields of a document with its fragments spread out. GraphiQL's introspection query has about 200.
const MAX_FIELDS: u64 = 10_000;

/// A few fragments that spread each other twice are exponentially many fields, which the library would walk.
/// Here each fragment is counted once.
pub(super) fn check(document: &ExecutableDocument) -> Result<(), Error> {
    let mut count = Count { fragments: &document.fragments, known: HashMap::new() };
    let fields: u64 =
        document.operations.iter().map(|(_, operation)| count.fields(&operation.node.selection_set.node)).sum();
    if fields <= MAX_FIELDS {
        return Ok(());
    }
    let message = format!("A document has at most {MAX_FIELDS} fields, with its fragments spread out.");
    Err(Error::new(ErrorCode::OperationTooComplex, message))
}

struct Count<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// The fields of each fragment met so far; one that is being counted spreads itself and counts as none,
    /// for the validation to refuse.
    known: HashMap<&'a Name, u64>,
}

impl<'a> Count<'a> {
    fn fields(&mut self, set: &'a SelectionSet) -> u64 {
        set.items.iter().fold(0, |sum: u64, selection| {
            sum.saturating_add(match &selection.node {
                Selection::Field(field) => self.fields(&field.node.selection_set.node).saturating_add(1),
                Selection::InlineFragment(fragment) => self.fields(&fragment.node.selection_set.node),
                // Walking a spread costs something, too, whatever is in it.
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node).saturating_add(1),
            })
        })
    }

    fn fragment(&mut self, name: &'a Name) -> u64 {
        if let Some(&fields) = self.known.get(name) {
            return fields;
        }
        let Some(fragment) = self.fragments.get(name) else { return 0 };
        self.known.insert(name, 0);
        let fields = self.fields(&fragment.node.selection_set.node);
        self.known.insert(name, fields);
        fields
    }
}
