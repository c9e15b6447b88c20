//! Every test that docs/guarantees.md names must exist.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn each_guarantee_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/guarantees.md")).unwrap();
    let tests = tests();
    let rows: Vec<_> = document.lines().filter_map(|line| line.strip_prefix("| ")).collect();
    let mut guarantees = 0;
    for row in rows.into_iter().filter(|row| !row.ends_with("| held by |")) {
        let (_, held_by) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        let names: Vec<_> = held_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "this guarantee names no test: {row}");
        for name in names {
            let exists = match name.split_once(": ") {
                Some((file, title)) => {
                    fs::read_to_string(root.join(file)).unwrap().contains(&format!("test('{title}'"))
                }
                None => tests.iter().any(|test| test == name),
            };
            assert!(exists, "the test {name} does not exist");
        }
        guarantees += 1;
    }
    assert!(guarantees > 15, "only {guarantees} rows were found");
}

/// Lists the names of all tests of this program. A test that runs over memory and over Redis has one name.
fn tests() -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    names.map(|name| name.replace("::over_memory::", "::").replace("::over_redis::", "::")).collect()
}
