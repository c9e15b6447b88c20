//! Errors of documents. Each names its rule in `extensions.rule`, so that clients can translate it.

use apollo_compiler::Schema as Types;
use apollo_compiler::diagnostic::Diagnostic;
use apollo_compiler::validation::{DiagnosticData, DiagnosticList};
use async_graphql::{ErrorExtensionValues, Pos, ServerError};

use super::MAX_ERRORS;
use crate::graphql::ErrorCode;

/// Maximum number of names that an error suggests.
const MAX_SUGGESTIONS: usize = 3;
/// How similar a name must be to be suggested, from 0 (nothing in common) to 1 (the same).
const MIN_SIMILARITY: f64 = 0.5;

macro_rules! rules {
    ($($rule:ident),* $(,)?) => {
        /// A rule of the specification, with the name that graphql-js and its documentation use.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Rule { $($rule),* }

        impl Rule {
            pub(super) const fn name(self) -> &'static str {
                match self { $(Self::$rule => stringify!($rule)),* }
            }
        }
    };
}

rules! {
    ExecutableDefinitions,
    FieldsOnCorrectType,
    FragmentsOnCompositeTypes,
    KnownArgumentNames,
    KnownDirectives,
    KnownFragmentNames,
    KnownTypeNames,
    LoneAnonymousOperation,
    MaxNesting,
    NoFragmentCycles,
    NoUndefinedVariables,
    NoUnusedFragments,
    NoUnusedVariables,
    OverlappingFieldsCanBeMerged,
    PossibleFragmentSpreads,
    ProvidedRequiredArguments,
    ScalarLeafs,
    SingleFieldSubscriptions,
    UniqueArgumentNames,
    UniqueDirectivesPerLocation,
    UniqueFragmentNames,
    UniqueInputFieldNames,
    UniqueOperationNames,
    UniqueVariableNames,
    ValuesOfCorrectType,
    VariableValues,
    VariablesAreInputTypes,
    VariablesInAllowedPosition,
}

/// Returns the error for a violation of a rule.
pub(super) fn violation(rule: Rule, message: impl Into<String>, pos: Option<Pos>) -> ServerError {
    let mut error = ServerError::new(message.into(), pos);
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", ErrorCode::GraphqlValidationFailed.as_str());
    extensions.set("rule", rule.name());
    error.extensions = Some(extensions);
    error
}

/// Returns the first syntax error of a document, as one sentence.
pub(super) fn syntax(errors: &DiagnosticList) -> ServerError {
    let Some(first) = errors.iter().next() else { return ServerError::new("The document has a syntax error.", None) };
    let text = first.error.to_string();
    let (code, text) = match text.strip_prefix("syntax error: ") {
        Some(text) => (ErrorCode::GraphqlParseFailed, text.trim_end_matches('.')),
        None => (ErrorCode::OperationTooComplex, text.as_str()),
    };
    let pos = position(&first);
    let place = pos.map(|Pos { line, column }| format!(" in line {line}, column {column}")).unwrap_or_default();
    let text = text
        .replace("R_CURLY", "`}`")
        .replace("R_PAREN", "`)`")
        .replace("R_BRACK", "`]`")
        .replace("<EOF>", "end of the document")
        .replace("got EOF", "found the end of the document")
        .replace(", got ", ", found ");
    let mut error = ServerError::new(format!("Syntax error{place}: {text}."), pos);
    let mut extensions = ErrorExtensionValues::default();
    extensions.set("code", code.as_str());
    error.extensions = Some(extensions);
    error
}

/// Returns the violations that apollo-compiler found, except those that `subscriptions` judges. `types` suggest similar
/// names.
pub(super) fn all(errors: &DiagnosticList, types: Option<&Types>) -> Vec<ServerError> {
    let known = errors.iter().filter_map(|found| Some((rule(found.error.unstable_error_name())?, found)));
    known
        .take(MAX_ERRORS)
        .map(|(rule, found)| {
            let mut message = sentence(&found.error.to_string());
            if rule == Rule::FieldsOnCorrectType
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
fn rule(name: Option<&str>) -> Option<Rule> {
    Some(match name.unwrap_or_default() {
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
        "RecursionError" | "RecursionLimitError" => Rule::MaxNesting,
        // UnsupportedValueType, UndefinedEnumValue, RequiredField and others: all are about values.
        _ => Rule::ValuesOfCorrectType,
    })
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
        apollo_compiler::schema::ExtendedType::Object(object) => &object.fields,
        apollo_compiler::schema::ExtendedType::Interface(interface) => &interface.fields,
        _ => return None,
    };
    let mut near: Vec<_> = fields
        .keys()
        .map(|name| (strsim::normalized_damerau_levenshtein(name, field), name))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .collect();
    near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    let names: Vec<_> = near.into_iter().take(MAX_SUGGESTIONS).map(|(_, name)| format!("`{name}`")).collect();
    (!names.is_empty()).then(|| format!(" Did you mean {}?", names.join(" or ")))
}
