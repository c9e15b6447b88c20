//! Errors of documents. Each violation has its rule in `extensions.rule`, so that clients can translate the error.

use std::collections::HashSet;
use std::fmt::{self, Write as _};

use apollo_compiler::Schema as Types;
use apollo_compiler::diagnostic::{Diagnostic, ToCliReport as _};
use apollo_compiler::parser::{SourceMap, SourceSpan};
use apollo_compiler::schema::ExtendedType;
use apollo_compiler::validation::{DiagnosticData, DiagnosticList};
use async_graphql::{Pos, ServerError};

use super::MAX_ERRORS;
use crate::graphql::error::{Error, ErrorCode};
use crate::graphql::rule::Rule;

/// Maximum number of names that an error suggests.
const MAX_SUGGESTIONS: usize = 3;
/// Maximum number of errors in a response that suggest names. A suggestion compares a name with all fields of a type.
const MAX_SUGGESTING: usize = 10;
/// Maximum length in bytes of a name for which similar names are suggested. Names of the schema are shorter.
const MAX_MISSPELT_NAME: usize = 40;
/// Minimum similarity of a suggested name, from 0 (nothing in common) to 1 (equal).
const MIN_SIMILARITY: f64 = 0.5;
/// Maximum size of a text of apollo-compiler in bytes. Some texts quote values of the document, which can be long.
const MAX_TEXT: usize = 2000;

/// Names of errors that the omission of a selection can cause: the rest of the document lacks a selection set, or does
/// not use a variable.
const FOLLOWING: [&str; 2] = ["MissingSubselection", "UnusedVariable"];

/// The next step in an error about fields that conflict.
pub(super) const ALIAS: &str = " Give one of the fields a different alias.";

/// Maximum characters of a name or value of the client in an error.
pub(super) const MAX_SHOWN: usize = 60;

/// Formats the first MAX_SHOWN characters of a text.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_SHOWN) {
            Some((end, _)) => write!(f, "{}…", &self.0[..end]),
            None => f.write_str(self.0),
        }
    }
}

/// Returns the error for a violation of a rule.
pub(super) fn violation(rule: Rule, message: impl Into<String>, pos: Option<Pos>) -> ServerError {
    at(Error::violation(rule, message), pos)
}

/// Returns an error with a position.
pub(super) fn at(error: Error, pos: Option<Pos>) -> ServerError {
    let mut error = ServerError::from(error);
    error.locations = pos.into_iter().collect();
    error
}

/// Returns the line and column at which a part of a document begins.
pub(super) fn pos_of(span: Option<SourceSpan>, sources: &SourceMap) -> Option<Pos> {
    let span = span?;
    let source = sources.get(&span.file_id())?;
    Some(super::position::position(source.source_text(), span.offset()))
}

/// Returns the first syntax error of a document that apollo-parser refuses and `grammar` accepts, as one sentence.
pub(super) fn syntax(errors: &DiagnosticList) -> ServerError {
    let Some(first) = errors.iter().next() else {
        return at(Error::new(ErrorCode::GraphqlParseFailed, "The document has a syntax error."), None);
    };
    let text = shortened(&first.error);
    let text = text.trim_start_matches("syntax error: ").trim_end_matches('.');
    let pos = pos_of(first.error.location(), first.sources);
    let place = pos.map(|Pos { line, column }| format!(" at line {line}, column {column}")).unwrap_or_default();
    at(Error::new(ErrorCode::GraphqlParseFailed, format!("Syntax error{place}: {text}.")), pos)
}

/// Returns the violations that apollo-compiler found, except violations of the rules that other files check.
/// `is_partial` says whether apollo-compiler has omitted a selection with an error. If `types` are given, errors may
/// name types, arguments and input fields that the document does not name, and suggest similar fields.
pub(super) fn all(errors: &DiagnosticList, is_partial: bool, types: Option<&Types>) -> Vec<ServerError> {
    let name = |found: &Diagnostic<'_, DiagnosticData>| found.error.unstable_error_name().unwrap_or_default();
    // apollo-compiler does not validate the selections of a fragment on such a type.
    let is_partial = is_partial || errors.iter().any(|found| name(&found) == "InvalidFragmentTarget");
    // apollo-compiler finds an error in a fragment again for each operation.
    let mut seen = HashSet::new();
    errors
        .iter()
        .filter(|found| !is_partial || !FOLLOWING.contains(&name(found)))
        .filter_map(|found| Some((rule(name(&found))?, found)))
        .filter(|(_, found)| seen.insert((found.error.location(), shortened(&found.error))))
        .take(MAX_ERRORS)
        .enumerate()
        .map(|(index, (rule, found))| {
            let mut message = message_of(&found, types.is_some());
            if rule == Rule::FieldsOnCorrectType
                && index < MAX_SUGGESTING
                && let Some(types) = types
                && let Some(similar) = similar_fields(&found, types)
            {
                message.push_str(&similar);
            }
            violation(rule, message, pos_of(found.error.location(), found.sources))
        })
        .collect()
}

/// Returns the rule of a diagnostic. None if `subscriptions` or `values` checks the rule.
fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        name if name.starts_with("SubscriptionUses") => return None,
        "UnusedFragment" => return None,
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
        "DisallowedVariableUsage" => Rule::VariablesInAllowedPosition,
        "RecursiveFragmentDefinition" => Rule::NoFragmentCycles,
        "DeeplyNestedType" | "RecursionError" | "RecursionLimitError" => Rule::MaxNesting,
        // All other diagnostics are about values, such as UnsupportedValueType, UndefinedEnumValue and RequiredField.
        _ => Rule::ValuesOfCorrectType,
    })
}

/// Collects the first MAX_TEXT bytes of a text. The write of further bytes fails, so that the rest is not formatted.
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
    // The write fails only if the text is longer than MAX_TEXT.
    let _ = write!(beginning, "{text}");
    beginning.0
}

/// Returns the message for a diagnostic. Some texts of apollo-compiler lack a name or the next step.
fn message_of(found: &Diagnostic<'_, DiagnosticData>, may_name_schema: bool) -> String {
    let name = found.error.unstable_error_name().unwrap_or_default();
    let text = shortened(&found.error);
    if !may_name_schema && let Some(message) = without_names_of_schema(name, &text) {
        return message;
    }
    match name {
        // The document only names types and directives. The schema defines them.
        "UndefinedDefinition" | "UndefinedDirective" => sentence(&text.replace(" in this document", " in the schema")),
        // The text begins with the name of the directive.
        "UnsupportedLocation" => format!("The @{}.", text.trim_end_matches('.')),
        "ConflictingFieldType" => sentence(&text) + ALIAS,
        "MissingSubselection" => {
            let field = first_in_quotes(found);
            let field = Shown(&field);
            format!("The field `{field}` returns an object, so it must have a selection set: `{field} {{ … }}`.")
        }
        "SubselectionOnScalarType" | "SubselectionOnEnumType" => {
            let field = first_in_quotes(found);
            format!("The field `{}` returns no object, so it cannot have a selection set.", Shown(&field))
        }
        "IntCoercionError" => "The integer must be from -2147483648 to 2147483647.".to_owned(),
        "DeeplyNestedType" | "RecursionError" | "RecursionLimitError" => {
            "The fragments of the document are nested too deeply. Use fewer levels.".to_owned()
        }
        _ => sentence(&text),
    }
}

/// Returns the first name in another text of a diagnostic, such as x in: Field "x" of type "T" must have a selection of
/// subfields. The name is not accessible otherwise.
fn first_in_quotes(found: &Diagnostic<'_, DiagnosticData>) -> String {
    let text = found.error.unstable_compat_message().unwrap_or_default();
    text.split('"').nth(1).unwrap_or_default().to_owned()
}

/// Returns the message for an error whose text names types, arguments or input fields that the document does not name.
/// Returns None if the text has only names of the document.
fn without_names_of_schema(name: &str, text: &str) -> Option<String> {
    let quoted = |index: usize| Shown(text.split('`').nth(2 * index + 1).unwrap_or_default());
    Some(match name {
        // Type `T` does not have a field `x`.
        "UndefinedField" => format!("The field `{}` does not exist here.", quoted(1)),
        // The argument `x` is not supported by `T.f`.
        "UndefinedArgument" => format!("The argument `{}` does not exist here.", quoted(0)),
        // Value `X` does not exist on `T`.
        "UndefinedEnumValue" => format!("The value `{}` does not exist here.", quoted(0)),
        // Field `x` does not exist on `T`.
        "UndefinedInputValue" => format!("The input field `{}` does not exist here.", quoted(0)),
        "RequiredArgument" => "A required argument is missing.".to_owned(),
        "RequiredField" => "A required field of the input object is missing.".to_owned(),
        // Expected value of type T, found a string.
        "UnsupportedValueType" => match text.rsplit_once(", found ") {
            Some((_, "a variable")) | None => {
                "The type of the value does not match its argument or input field.".to_owned()
            }
            Some((_, kind)) => format!("The value cannot be {kind} here."),
        },
        // Variable `$x` of type `X` cannot be used for argument `a` of type `T`.
        "DisallowedVariableUsage" => {
            format!("The variable `{}` of the type `{}` cannot be used for this argument.", quoted(0), quoted(1))
        }
        // Inline fragment with type condition `X` cannot be applied to `T`.
        "InvalidFragmentSpread" => {
            let fragment = text.split(" cannot be applied to ").next().unwrap_or_default();
            sentence(&format!("{fragment} cannot be applied here"))
        }
        _ => return None,
    })
}

/// Returns a text with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", characters.as_str().trim_end_matches('.'))
}

/// Returns a sentence that suggests the fields that are similar to an unknown field. None if no field is similar.
fn similar_fields(found: &Diagnostic<'_, DiagnosticData>, types: &Types) -> Option<String> {
    // The names are only accessible in the text of the diagnostic: Cannot query field "x" on type "T".
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
