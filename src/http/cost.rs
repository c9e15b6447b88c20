//! What a document may cost before it is even validated.

use std::collections::HashMap;

use async_graphql::parser::types::{ExecutableDocument, FragmentDefinition, Selection, SelectionSet};
use async_graphql::{Name, Positioned};

use crate::graphql::{Error, ErrorCode};

/// Fields of a document with its fragments spread out. GraphiQL's introspection query has about 200.
const MAX_FIELDS: u64 = 10_000;
/// Brackets that stand open at once, and selections within selections with the fragments spread out. The parser
/// and the library's checks recurse, and a stack that overflows takes the whole node with it.
const MAX_NESTING: usize = 64;

/// Refuses a text whose brackets nest too deep, before it is parsed.
pub(super) fn check_text(text: &str) -> Result<(), Error> {
    let mut open = 0_usize;
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            b'"' => after_string(rest),
            b'#' => after.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(&[], |end| &after[end..]),
            _ => after,
        };
        match byte {
            b'{' | b'[' | b'(' => open += 1,
            b'}' | b']' | b')' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > MAX_NESTING {
            return Err(too_deep());
        }
    }
    Ok(())
}

/// What follows the string, or block string, that the bytes begin with.
fn after_string(bytes: &[u8]) -> &[u8] {
    const BLOCK: &[u8] = b"\"\"\"";
    let (quote, mut rest) = match bytes.strip_prefix(BLOCK) {
        Some(rest) => (BLOCK, rest),
        None => (&BLOCK[..1], &bytes[1..]),
    };
    while !rest.is_empty() && !rest.starts_with(quote) {
        let escaped = if quote.len() == 1 { rest[0] == b'\\' } else { rest.starts_with(b"\\\"\"\"") };
        let skipped = match (escaped, quote.len()) {
            (true, 1) => 2,
            (true, _) => 4,
            (false, _) => 1,
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    rest.get(quote.len()..).unwrap_or_default()
}

/// A few fragments that spread each other twice are exponentially many fields, which the library would walk.
/// Here each fragment is counted once.
pub(super) fn check(document: &ExecutableDocument) -> Result<(), Error> {
    let mut count = Count { fragments: &document.fragments, known: HashMap::new() };
    let mut fields = 0_u64;
    for (_, operation) in document.operations.iter() {
        fields = fields.saturating_add(count.fields(&operation.node.selection_set.node, 0)?);
    }
    if fields <= MAX_FIELDS {
        return Ok(());
    }
    let message = format!("A document has at most {MAX_FIELDS} fields, with its fragments spread out.");
    Err(Error::new(ErrorCode::OperationTooComplex, message))
}

fn too_deep() -> Error {
    Error::new(ErrorCode::OperationTooComplex, format!("A document nests at most {MAX_NESTING} levels deep."))
}

struct Count<'a> {
    fragments: &'a HashMap<Name, Positioned<FragmentDefinition>>,
    /// The fields of each fragment met so far; one that is being counted spreads itself and counts as none,
    /// for the validation to refuse.
    known: HashMap<&'a Name, u64>,
}

impl<'a> Count<'a> {
    fn fields(&mut self, set: &'a SelectionSet, depth: usize) -> Result<u64, Error> {
        if depth > MAX_NESTING {
            return Err(too_deep());
        }
        let mut sum = 0_u64;
        for selection in &set.items {
            let within = match &selection.node {
                Selection::Field(field) => self.fields(&field.node.selection_set.node, depth + 1)?,
                Selection::InlineFragment(fragment) => self.fields(&fragment.node.selection_set.node, depth + 1)?,
                Selection::FragmentSpread(spread) => self.fragment(&spread.node.fragment_name.node, depth + 1)?,
            };
            // Walking a selection costs something, whatever is in it.
            sum = sum.saturating_add(within).saturating_add(1);
        }
        Ok(sum)
    }

    fn fragment(&mut self, name: &'a Name, depth: usize) -> Result<u64, Error> {
        if let Some(&fields) = self.known.get(name) {
            return Ok(fields);
        }
        let Some(fragment) = self.fragments.get(name) else { return Ok(0) };
        self.known.insert(name, 0);
        let fields = self.fields(&fragment.node.selection_set.node, depth)?;
        self.known.insert(name, fields);
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_comments_do_not_nest() {
        let many = "{[(".repeat(100);
        for text in [
            format!("{{ a(b: \"{many}\") }}"),
            format!("{{ a(b: \"\\\"{many}\") }}"),
            format!("{{ a(b: \"\"\"{many} \\\"\"\" {many}\"\"\") }}"),
            format!("# {many}\n{{ a }}"),
            "{ a } ".repeat(1000),
            format!("{{ a(b: \"{many}"),
            "\"\\".to_owned(),
            String::new(),
        ] {
            assert!(check_text(&text).is_ok(), "{text}");
        }
        for text in ["{a".repeat(65), format!("{{ a(b: {}", "[".repeat(70)), format!("\"\"\"\"\"\" {many}")] {
            assert!(check_text(&text).is_err(), "{text}");
        }
    }
}
