//! The schema: every member has a description, and operations are executed as the GraphQL specification requires.
//! `generated.rs` compares the schema with the committed `schema.graphql`, so each change of the schema appears in a
//! commit.

use async_graphql::Positioned;
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{InterfaceType, ObjectType, TypeKind, TypeSystemDefinition};
use serde_json::json;

use crate::support::Node;

/// Returns the names of the types, fields, arguments, input fields and enum values without a description. The SDL
/// contains neither the introspection types nor the built-in scalars. Directives are skipped, because the GraphQL
/// specification defines them.
fn undescribed(sdl: &str) -> Vec<String> {
    let mut missing = Vec::new();
    let mut check = |name: String, description: Option<Positioned<String>>| {
        if description.is_none_or(|text| text.node.trim().is_empty()) {
            missing.push(name);
        }
    };
    for definition in parse_schema(sdl).unwrap().definitions {
        let TypeSystemDefinition::Type(definition) = definition else { continue };
        let name = definition.node.name.node;
        check(name.to_string(), definition.node.description);
        match definition.node.kind {
            TypeKind::Scalar | TypeKind::Union(_) => {}
            TypeKind::Object(ObjectType { fields, .. }) | TypeKind::Interface(InterfaceType { fields, .. }) => {
                for field in fields {
                    let field = field.node;
                    let place = format!("{name}.{}", field.name.node);
                    for argument in field.arguments {
                        check(format!("{place}({})", argument.node.name.node), argument.node.description);
                    }
                    check(place, field.description);
                }
            }
            TypeKind::Enum(values) => {
                for value in values.values {
                    check(format!("{name}.{}", value.node.value.node), value.node.description);
                }
            }
            TypeKind::InputObject(input) => {
                for field in input.fields {
                    check(format!("{name}.{}", field.node.name.node), field.node.description);
                }
            }
        }
    }
    missing
}

#[test]
fn every_member_of_the_schema_has_a_description() {
    let missing = undescribed(&parlance::graphql::sdl());
    assert!(missing.is_empty(), "{} members have no description: {}", missing.len(), missing.join(", "));
}

#[test]
fn the_check_of_descriptions_finds_schema_members_without_one() {
    let sdl = r#"
        "Described." type Query { "Described." a("Described." b: Int): Int, c(d: Int): Int, " " e: Int }
        interface F { "Described." g: Int }
        union H = Query
        enum I { J, "Described." K }
        input L { m: Int, "Described." n: Int }
        scalar O
    "#;
    let expected = ["Query.c(d)", "Query.c", "Query.e", "F", "H", "I", "I.J", "L", "L.m", "O"];
    assert_eq!(undescribed(sdl), expected);
}

/// A nullable field that fails is null. A non-nullable field that fails makes its parent null. See section 6.4.4 of
/// the GraphQL specification.
#[tokio::test]
async fn nulls_propagate_as_the_graphql_specification_requires() {
    let node = Node::start().await;
    let answer = node.call(None, "{ a: conversation(id: \"x\") { id } serverInfo { maxPageSize } }", json!({})).await;
    assert_eq!(answer.body["data"], json!({"a": null, "serverInfo": {"maxPageSize": 100}}));
    assert_eq!(answer.body["errors"][0]["path"], json!(["a"]));
    let answer = node.call(None, "{ viewer { id } serverInfo { maxPageSize } }", json!({})).await;
    assert_eq!(answer.body["data"], json!(null));

    let ada = node.register("ada").await;
    let group = ada.create_group("Nulls", &[]).await;
    let query = "query ($id: ID!) { conversation(id: $id) { id messages(first: 0) { nodes { id } } } }";
    let answer = ada.call(query, json!({"id": group})).await;
    assert_eq!(answer.body["data"], json!({"conversation": null}), "messages is not nullable, conversation is");
    assert_eq!(answer.body["errors"][0]["path"], json!(["conversation", "messages"]));
}

/// The tabs of the explorers are the operations of the tour. As one document they are all validated at once.
#[tokio::test]
async fn the_tour_of_the_readme_fits_the_schema() {
    let node = Node::start().await;
    let (_, tour) = include_str!("../../README.md").split_once("## A tour").unwrap();
    let (tour, _) = tour.split_once("\n## ").unwrap_or((tour, ""));
    let operations = tour.split("```graphql\n").skip(1).filter_map(|text| Some(text.split_once("```")?.0));
    let body = json!({"query": operations.collect::<String>(), "operationName": "Find"});
    let answer = node.http.post(node.url("/graphql")).json(&body).send().await.unwrap();
    let answer: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{answer:#}");
}

/// GraphiQL and code generators begin with an introspection query, and have no account.
#[tokio::test]
async fn introspection_needs_no_account() {
    let node = Node::start().await;
    let query = "{ __schema { types { name fields(includeDeprecated: true) { name args { name type {
        kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }";
    let data = node.call(None, query, json!({})).await.data();
    assert!(data["__schema"]["types"].as_array().unwrap().len() > 50);
}
