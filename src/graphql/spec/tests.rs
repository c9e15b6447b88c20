//! Tests of limits that a response does not show. The other tests are in tests/api/specification.rs.

use async_graphql::{Pos, ServerError, Value, Variables};
use serde_json::json;

use super::position::position;
use super::{MAX_ERRORS, Spec};
use crate::graphql::sdl;

fn spec() -> Spec {
    Spec::new(&sdl(), 64, true)
}

fn errors(query: &str) -> Vec<ServerError> {
    let spec = spec();
    let (syntax, _) = spec.parse(query).unwrap();
    spec.validate(&syntax).err().unwrap_or_default()
}

fn rule(error: &ServerError) -> &str {
    match error.extensions.as_ref().and_then(|extensions| extensions.get("rule")) {
        Some(Value::String(rule)) => rule,
        other => panic!("the rule is {other:?}"),
    }
}

fn joined(count: usize, piece: impl Fn(usize) -> String) -> String {
    (0..count).map(piece).collect::<Vec<_>>().concat()
}

#[test]
fn the_search_for_conflicts_stops_after_the_first_errors() {
    let long = "x".repeat(100_000);
    let list = joined(1000, |_| "1 ".to_owned());
    let others = joined(150, |i| format!("node(id: \"{i}\") {{ id }} "));
    let operations = joined(100, |i| format!("query Q{i} {{ ...F ... {{ node(id: \"q{i}\") {{ id }} }} }} "));
    for value in [format!("\"{long}\""), format!("[{list}]"), format!("{{a: [{list}]}}")] {
        let found = errors(&format!("fragment F on Query {{ node(id: {value}) {{ id }} {others} }} {operations}"));
        assert_eq!(found.len(), MAX_ERRORS);
        assert!(found.iter().all(|error| rule(error) == "OverlappingFieldsCanBeMerged" && error.message.len() < 200));
    }
}

#[test]
fn an_error_in_a_fragment_is_reported_once() {
    let values = joined(200, |_| "true ".to_owned());
    let operations = joined(400, |i| format!("query Q{i} {{ ...F }} "));
    let found = errors(&format!("fragment F on Query {{ nodes(ids: [{values}]) {{ id }} }} {operations}"));
    assert_eq!(found.len(), MAX_ERRORS);
    let mut columns: Vec<_> = found.iter().map(|error| error.locations[0].column).collect();
    columns.dedup();
    assert_eq!(columns.len(), MAX_ERRORS);
}

#[test]
fn each_operation_is_validated_and_each_fragment_must_be_used() {
    let operations = joined(40, |i| format!("query Q{i} {{ serverInfo {{ version }} }} "));
    let fragment = "fragment F on Query { serverInfo { version } }";
    assert!(errors(&format!("{operations} query Last {{ ...F }} {fragment}")).is_empty());
    let unused = errors(&format!("{operations} {fragment}"));
    assert_eq!(unused.iter().map(rule).collect::<Vec<_>>(), ["NoUnusedFragments"]);
    let wrong = errors(&format!("{operations} query Last {{ node {{ id }} }}"));
    assert_eq!(wrong.iter().map(rule).collect::<Vec<_>>(), ["ProvidedRequiredArguments"]);
}

#[test]
fn messages_show_only_the_beginning_of_long_names_and_values() {
    let long = "x".repeat(50_000);
    for query in [
        format!("{{ {long}: viewer {{ id }} {long}: serverInfo {{ version }} }}"),
        format!("{{ {long}: viewer {{ id {{ x }} }} }}"),
        format!("query (${long}: [ID!]!) {{ nodes(ids: [${long}]) {{ id }} }}"),
        format!("query {{ user(by: {{{long}: 1}}) {{ id }} }}"),
        format!("{{ viewer {{ id }} }} fragment {long} on Viewer {{ id }}"),
        format!("mutation {{ scheduleMessage(input: {{conversationId: 1, sendAt: \"{long}\"}}) {{ __typename }} }}"),
    ] {
        let found = errors(&query);
        assert!(!found.is_empty(), "{query:.100}");
        assert!(found.iter().all(|error| error.message.len() < 2500), "{query:.100}");
    }
}

#[test]
fn a_variable_with_a_default_is_not_null_where_null_is_not_allowed() {
    let spec = spec();
    for (query, is_allowed) in [
        ("query ($v: Boolean = true) { viewer { id @skip(if: $v) } }", false),
        ("query ($v: ID = \"1\") { node(id: $v) { id } }", false),
        ("query ($v: ID = \"1\") { nodes(ids: [$v]) { id } }", false),
        ("query ($v: ID = \"1\") { user(by: {id: $v}) { id } }", false),
        ("query A($v: ID = \"1\") { ...F } fragment F on Query { node(id: $v) { id } }", false),
        ("query ($v: Int = 20) { searchUsers(query: \"a\", first: $v) { nodes { id } } }", true),
    ] {
        let (syntax, mut document) = spec.parse(query).unwrap();
        let Ok(never_null) = spec.validate(&syntax) else { panic!("{query} is invalid") };
        never_null.apply(&mut document);
        let (_, operation) = document.operations.iter().next().unwrap();
        let coerce = |variables| spec.coerce(&operation.node, &Variables::from_json(variables));
        assert!(coerce(json!({})).is_ok(), "{query}");
        assert_eq!(coerce(json!({"v": null})).is_ok(), is_allowed, "{query}");
    }
}

#[test]
fn lines_end_at_lf_cr_and_crlf_and_columns_count_characters() {
    for (text, offset, line, column) in [
        ("ab", 0, 1, 1),
        ("ab", 2, 1, 3),
        ("a\nb", 2, 2, 1),
        ("a\rb", 2, 2, 1),
        ("a\r\nb", 3, 2, 1),
        ("a\n\r\nb", 4, 3, 1),
        ("é😀x", 6, 1, 3),
        ("\u{2028}\u{85}\u{b}\u{c}x", 7, 1, 5),
    ] {
        assert_eq!(position(text, offset), Pos { line, column }, "{text:?}");
    }
}
