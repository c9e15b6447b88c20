//! Files that are generated from the code must be up to date. `make generate` rewrites them.

use std::fs;
use std::path::Path;

use parlance::graphql::ErrorCode;
use parlance::metrics::Metrics;

fn generated(place: &str, content: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(place);
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        fs::write(path, content).unwrap();
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == content, "{place} is out of date: run `make generate` and commit the result");
}

#[test]
fn schema_graphql_is_up_to_date() {
    generated("schema.graphql", &parlance::graphql::sdl());
}

#[test]
fn env_example_is_up_to_date() {
    generated(".env.example", &parlance::config::env_example());
}

#[test]
fn settings_table_is_up_to_date() {
    generated("docs/configuration.md", &parlance::config::settings_table());
}

#[test]
fn limits_table_is_up_to_date() {
    generated("docs/limits.md", &parlance::config::limits_table());
}

#[test]
fn error_table_is_up_to_date() {
    generated("docs/errors.md", &ErrorCode::table());
}

#[test]
fn metrics_table_is_up_to_date() {
    generated("docs/metrics.md", &Metrics::table());
}
