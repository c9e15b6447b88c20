//! Files that follow from the code. `make generate` rewrites them, and here they are held to it.

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
fn generated_schema() {
    generated("schema.graphql", &parlance::graphql::sdl());
}

#[test]
fn generated_env_example() {
    generated(".env.example", &parlance::config::env_example());
}

#[test]
fn generated_settings_table() {
    generated("docs/configuration.md", &parlance::config::settings_table());
}

#[test]
fn generated_limits_table() {
    generated("docs/limits.md", &parlance::config::limits_table());
}

#[test]
fn generated_error_table() {
    generated("docs/errors.md", &ErrorCode::table());
}

#[test]
fn generated_metrics_table() {
    generated("docs/metrics.md", &Metrics::table());
}
