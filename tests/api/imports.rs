//! Modules import in one direction only, as docs/ARCHITECTURE.md shows.

use std::fs;
use std::path::{Path, PathBuf};

/// A module may import only modules of later rows. Modules of the last row may also import each other.
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
fn modules_import_only_modules_of_later_rows() {
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
                // Macros must be imported by their module too, because an item of the crate's root has no row.
                let Some(theirs) = row(other) else { panic!("{}: unknown crate::{other}", place.display()) };
                assert!(module == other || theirs > own || own == 5, "{} imports crate::{other}", place.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "only {seen} imports were found: check that the test still parses them");
}

#[test]
fn only_the_command_line_uses_anyhow_and_the_domain_uses_no_transport() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&root) {
        let place = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let main = place.starts_with("main") || place.starts_with("cli") || place.starts_with("bin");
        assert!(main || !text.contains("anyhow"), "{place} uses anyhow");
        for foreign in ["async_graphql", "axum", "redis::"] {
            assert!(!place.starts_with("domain") || !text.contains(foreign), "{place} uses {foreign}");
        }
    }
}
