//! Imports run one way, as docs/ARCHITECTURE.md draws it.

use std::fs;
use std::path::{Path, PathBuf};

/// Each may import what stands in a later row, and nothing else.
const ROWS: [&[&str]; 6] = [
    &["http"],
    &["graphql"],
    &["domain"],
    &["log", "live", "limiter", "blobs", "media", "scanner", "embedded"],
    &["store", "redis"],
    &["address", "config", "error", "ids", "clock", "random", "metrics", "kept", "apart", "fair", "watchdog"],
];

fn row(module: &str) -> Option<usize> {
    ROWS.iter().position(|modules| modules.contains(&module))
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The modules of this crate that a line names.
fn imported(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap())
}

#[test]
fn every_module_imports_to_the_right_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut seen = 0;
    for path in sources(&root) {
        let place = path.strip_prefix(&root).unwrap();
        let module = place.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ["main", "lib", "cli", "bin"].contains(&module) {
            continue;
        }
        let own = row(module).unwrap_or_else(|| panic!("src/{module} has no row in this test"));
        for line in fs::read_to_string(&path).unwrap().lines() {
            for other in imported(line) {
                // Macros of the crate's root are exported under no module.
                let Some(theirs) = row(other) else { panic!("{}: unknown crate::{other}", place.display()) };
                assert!(module == other || theirs > own || own == 5, "{} imports crate::{other}", place.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were seen: does the test still read them?");
}

#[test]
fn only_main_knows_anyhow_and_the_domain_knows_no_transport() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&root) {
        let place = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let main = place.starts_with("main") || place.starts_with("cli") || place.starts_with("bin");
        assert!(main || !text.contains("anyhow"), "{place} knows anyhow");
        for foreign in ["async_graphql", "axum", "redis::"] {
            assert!(!place.starts_with("domain") || !text.contains(foreign), "{place} knows {foreign}");
        }
    }
}
