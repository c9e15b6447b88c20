//! Errors of documents. Each names its rule in `extensions.rule`, so that clients can translate it.

use std::fmt::{self, Write as _};

use apollo_compiler::Schema as Types;
use apollo_compiler::diagnostic::Diagnostic;
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::{DiagnosticData, DiagnosticList};
use async_graphql::{Pos, ServerError};

use super::MAX_ERRORS;
use crate::graphql::error::{Error, ErrorCode};
use crate::graphql::rule::Rule;

/// Maximum number of names that an error suggests.
const MAX_SUGGESTIONS: usize = 3;
/// Maximum number of errors of a document that suggest names, because a name is compared with all fields of its type.
const MAX_SUGGESTING: usize = 10;
/// Maximum length in bytes of a name for which similar names are suggested. Names of the schema are shorter.
const MAX_MISSPELT_NAME: usize = 40;
/// How similar a name must be to be suggested, from 0 (nothing in common) to 1 (the same).
const MIN_SIMILARITY: f64 = 0.5;
/// Maximum bytes of a text of apollo-compiler. Some quote values of the document, which may be long.
const MAX_TEXT: usize = 2000;

/// Errors of selections that apollo-compiler then leaves out of the document.
const LEFT_OUT: [&str; 7] = [
    "UndefinedField",
    "SubselectionOnScalarType",
    "SubselectionOnEnumType",
    "UndefinedTypeInNamedFragmentTypeCondition",
    "UndefinedTypeInInlineFragmentTypeCondition",
    "UndefinedRootOperation",
    "InvalidFragmentTarget",
];
/// Errors that can follow from such an omission: the rest has no selections, or does not use a variable or fragment.
const FOLLOWING: [&str; 3] = ["MissingSubselection", "UnusedVariable", "UnusedFragment"];

/// Returns the error for a violation of a rule.
pub(super) fn violation(rule: Rule, message: impl Into<String>, pos: Option<Pos>) -> ServerError {
    at(Error::violation(rule, message), pos)
}

fn at(error: Error, pos: Option<Pos>) -> ServerError {
    let mut error = ServerError::from(error);
    error.locations = pos.into_iter().collect();
    error
}

/// Returns the first syntax error of a document, as one sentence.
pub(super) fn syntax(errors: &DiagnosticList) -> ServerError {
    let Some(first) = errors.iter().next() else {
        return at(Error::new(ErrorCode::GraphqlParseFailed, "The document has a syntax error."), None);
    };
    let text = shortened(&first.error);
    let pos = position(&first);
    let place = pos.map(|Pos { line, column }| format!(" in line {line}, column {column}")).unwrap_or_default();
    let Some(text) = text.strip_prefix("syntax error: ") else {
        // The only other error of the parser is its limit.
        let message = format!("The document is nested too deeply{place}.");
        return at(Error::new(ErrorCode::OperationTooComplex, message), pos);
    };
    let text = text
        .trim_end_matches('.')
        .replace("R_CURLY", "`}`")
        .replace("R_PAREN", "`)`")
        .replace("R_BRACK", "`]`")
        .replace("<EOF>", "end of the document")
        .replace("got EOF", "found the end of the document")
        .replace(", got ", ", found ");
    at(Error::new(ErrorCode::GraphqlParseFailed, format!("Syntax error{place}: {text}.")), pos)
}

/// Returns the violations that apollo-compiler found, except those that `subscriptions` judges. `types` suggest similar
/// names.
pub(super) fn all(errors: &DiagnosticList, types: Option<&Types>) -> Vec<ServerError> {
    let name = |found: &Diagnostic<'_, DiagnosticData>| found.error.unstable_error_name().unwrap_or_default();
    let is_partial = errors.iter().any(|found| LEFT_OUT.contains(&name(&found)));
    errors
        .iter()
        .filter(|found| !is_partial || !FOLLOWING.contains(&name(found)))
        .filter_map(|found| Some((rule(name(&found))?, found)))
        .take(MAX_ERRORS)
        .enumerate()
        .map(|(index, (rule, found))| {
            let mut message = sentence(&shortened(&found.error));
            if rule == Rule::FieldsOnCorrectType
                && index < MAX_SUGGESTING
                && let Some(types) = types
                && let Some(similar) = similar_fields(&found, types)
            {
                message.push_str(&similar);
            }
            violation(rule, message, position(&found))
        })
        .collect()
}

/// Returns the rule of a diagnostic. None if `subscriptions` judges its case.
fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        name if name.starts_with("SubscriptionUses") => return None,
        "UndefinedField" => Rule::FieldsOnCorrectType,
        "TypeSystemDefinition" => Rule::ExecutableDefinitions,
        "AmbiguousAnonymousOperation" => Rule::LoneAnonymousOperation,
        "OperationNameCollision" => Rule::UniqueOperationNames,
        "FragmentNameCollision" => Rule::UniqueFragmentNames,
        "UndefinedTypeInNamedFragmentTypeCondition"
        | "UndefinedTypeInInlineFragmentTypeCondition"
        | "UndefinedDefinition"
        | "UndefinedRootOperation" => Rule::KnownTypeNames,
        "SubselectionOnScalarType" | "SubselectionOnEnumType" | "MissingSubselection" => Rule::ScalarLeafs,
        "ConflictingFieldType" | "ConflictingFieldName" | "ConflictingFieldArgument" => {
            Rule::OverlappingFieldsCanBeMerged
        }
        "UniqueVariable" => Rule::UniqueVariableNames,
        "UniqueArgument" => Rule::UniqueArgumentNames,
        "UndefinedArgument" => Rule::KnownArgumentNames,
        "UndefinedDirective" | "UnsupportedLocation" => Rule::KnownDirectives,
        "UndefinedVariable" => Rule::NoUndefinedVariables,
        "UndefinedFragment" => Rule::KnownFragmentNames,
        "RequiredArgument" => Rule::ProvidedRequiredArguments,
        "VariableInputType" => Rule::VariablesAreInputTypes,
        "UnusedVariable" => Rule::NoUnusedVariables,
        "UniqueDirective" => Rule::UniqueDirectivesPerLocation,
        "InvalidFragmentTarget" => Rule::FragmentsOnCompositeTypes,
        "InvalidFragmentSpread" => Rule::PossibleFragmentSpreads,
        "UnusedFragment" => Rule::NoUnusedFragments,
        "DisallowedVariableUsage" => Rule::VariablesInAllowedPosition,
        "RecursiveFragmentDefinition" => Rule::NoFragmentCycles,
        "DeeplyNestedType" | "RecursionError" | "RecursionLimitError" => Rule::MaxNesting,
        // UnsupportedValueType, UndefinedEnumValue, RequiredField and others: all are about values.
        _ => Rule::ValuesOfCorrectType,
    })
}

/// Collects the beginning of a text. A write after MAX_TEXT bytes fails, so that the rest is not formatted.
struct Beginning(String);

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let left = MAX_TEXT.saturating_sub(self.0.len());
        let end = text.floor_char_boundary(left.min(text.len()));
        self.0.push_str(&text[..end]);
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

fn shortened(text: &impl fmt::Display) -> String {
    let mut beginning = Beginning(String::new());
    // The only error is that the text is longer.
    let _ = write!(beginning, "{text}");
    beginning.0
}

/// Makes a sentence of apollo-compiler's text.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

fn position(found: &Diagnostic<'_, DiagnosticData>) -> Option<Pos> {
    found.line_column_range().map(|range| Pos { line: range.start.line, column: range.start.column })
}

/// Returns a sentence with the fields of the type that are similar to an unknown field. None if there are none.
fn similar_fields(found: &Diagnostic<'_, DiagnosticData>, types: &Types) -> Option<String> {
    // The diagnostic shows the names only in its text: Cannot query field "x" on type "T".
    let text = found.error.unstable_compat_message()?;
    let mut quoted = text.split('"').skip(1).step_by(2);
    let (field, of) = (quoted.next()?, quoted.next()?);
    let fields = match types.types.get(of)? {
        ExtendedType::Object(object) => &object.fields,
        ExtendedType::Interface(interface) => &interface.fields,
        _ => return None,
    };
    if field.len() > MAX_MISSPELT_NAME {
        return None;
    }
    let mut near: Vec<_> = fields
        .keys()
        .map(|name| (strsim::normalized_damerau_levenshtein(name, field), name))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let names: Vec<_> = near.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!(" Did you mean {}?", names.join(" or ")))
}
