//! The allowed imports between layers, between rooms and between files of `src`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, ItemMod, ItemUse, UseTree};

/// The layers of `src`, one row for each. A module may import only from its own top-level module and from lower rows.
const LAYERS: [&[&str]; 7] = [
    &["http"],
    &["graphql"],
    &["domain"],
    &["log", "live", "limiter", "blobs", "media", "scanner", "embedded", "notices", "issuers", "push"],
    &["store", "redis"],
    &["ids", "task", "config", "outbound"],
    &["address", "error", "clock", "random", "metrics", "secret_file", "text", "tls", "fair", "watchdog"],
];
/// Modules that assemble the program. These modules may import from all layers.
const PROGRAM: [&str; 3] = ["main", "lib", "cli"];
/// The rooms in the order of imports: each room may import only from the rooms after it.
const ROOMS: [&str; 6] = ["push", "conversations", "calls", "messaging", "people", "files"];
/// Files of `domain` that concern several rooms. These files may import from all rooms.
const ABOVE_ROOMS: [&str; 5] = ["app", "account_deletion", "blocks", "inbox", "seed"];

/// The path of a module below `src`, such as `["domain", "files", "sweeper"]`.
type Module = Vec<String>;

/// The modules of `src`, and for each module the modules that occur in its imports and paths. Leaves out test modules,
/// and paths to the parents of a module.
struct Imports(BTreeMap<Module, BTreeSet<Module>>);

/// Visitor that collects the paths in one file.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl Visit<'_> for Paths {
    fn visit_item_use(&mut self, item: &ItemUse) {
        self.add_tree(&mut Vec::new(), &item.tree);
    }

    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !item.attrs.iter().any(is_test) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// Skips visibilities, because the path in `pub(in crate::domain)` is not an import.
    fn visit_visibility(&mut self, _: &syn::Visibility) {}
}

impl Paths {
    fn add_tree(&mut self, prefix: &mut Vec<String>, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.add_tree(prefix, &path.tree);
                prefix.pop();
            }
            UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(prefix, item)),
            UseTree::Name(name) => self.0.push([prefix.as_slice(), &[name.ident.to_string()]].concat()),
            UseTree::Rename(rename) => self.0.push([prefix.as_slice(), &[rename.ident.to_string()]].concat()),
            UseTree::Glob(_) => self.0.push(prefix.clone()),
        }
    }
}

fn is_test(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|condition| condition == "test")
}

impl Imports {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let files: BTreeMap<Module, PathBuf> =
            sources(&root).into_iter().map(|path| (module(path.strip_prefix(&root).unwrap()), path)).collect();
        let imports = files.iter().map(|(module, path)| {
            let file = syn::parse_file(&fs::read_to_string(path).unwrap()).unwrap();
            let mut paths = Paths::default();
            paths.visit_file(&file);
            let named = paths.0.iter().filter_map(|path| resolve(path, module)).map(|path| nearest(path, &files));
            (module.clone(), named.filter(|other| !module.starts_with(other)).collect())
        });
        Self(imports.collect())
    }

    /// Returns all pairs of a module and a module that it imports.
    fn pairs(&self) -> impl Iterator<Item = (&Module, &Module)> {
        self.0.iter().flat_map(|(module, others)| others.iter().map(move |other| (module, other)))
    }

    /// Returns the modules that the module imports directly or indirectly.
    fn reachable<'a>(&'a self, module: &'a Module) -> BTreeSet<&'a Module> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![module]);
        while let Some(module) = next.pop() {
            next.extend(self.0[module].iter().filter(|other| seen.insert(*other)));
        }
        seen
    }
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let paths = entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] });
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

fn module(path: &Path) -> Module {
    let path = path.with_extension("");
    let mut parts: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

/// Converts a path in a module to a path from the root of the crate. Returns None for a path to another crate, or to a
/// name that the file has imported.
fn resolve(path: &[String], module: &Module) -> Option<Module> {
    match path.first().map(String::as_str) {
        Some("crate") => Some(path[1..].to_vec()),
        Some("self") => Some([module.as_slice(), &path[1..]].concat()),
        Some("super") => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            Some([&module[..module.len().saturating_sub(ups)], &path[ups..]].concat())
        }
        _ => None,
    }
}

/// Returns the module that defines the item with this path.
fn nearest(mut path: Module, files: &BTreeMap<Module, PathBuf>) -> Module {
    while !path.is_empty() && !files.contains_key(&path) {
        path.pop();
    }
    path
}

fn path_of(module: &Module) -> String {
    module.join("::")
}

#[test]
fn layers_import_only_from_lower_layers() {
    let row = |module: &Module| LAYERS.iter().position(|layer| layer.contains(&module[0].as_str()));
    let imports = Imports::read();
    let mut seen = 0;
    for (module, other) in imports.pairs() {
        // A path with no module leads to a macro at the root of the crate.
        if PROGRAM.contains(&module[0].as_str()) || other.is_empty() {
            continue;
        }
        let own = row(module).unwrap_or_else(|| panic!("src/{} has no row in this test", module[0]));
        let theirs = row(other).unwrap_or_else(|| panic!("src/{} has no row in this test", other[0]));
        assert!(module[0] == other[0] || theirs > own, "{} imports {}", path_of(module), path_of(other));
        seen += 1;
    }
    assert!(seen > 500, "only {seen} imports were seen");
}

/// The rooms of `graphql` have no order, because its types refer to each other in both directions, as in the schema.
#[test]
fn rooms_import_only_from_lower_rooms() {
    let room = |module: &Module| ROOMS.iter().position(|room| module.get(1).is_some_and(|name| name == room));
    let imports = Imports::read();
    let mut seen = 0;
    for (module, other) in imports.pairs().filter(|(module, other)| module[0] == other[0]) {
        if !["domain", "store"].contains(&module[0].as_str()) {
            continue;
        }
        let is_above = |module: &Module| module.get(1).is_some_and(|name| ABOVE_ROOMS.contains(&name.as_str()));
        match (room(module), room(other)) {
            (Some(own), Some(theirs)) => assert!(own <= theirs, "{} imports {}", path_of(module), path_of(other)),
            (Some(_), None) => assert!(!is_above(other), "{} imports {}", path_of(module), path_of(other)),
            (None, Some(_)) => assert!(
                is_above(module) || module.len() == 1 || path_of(module) == "store::export",
                "{} imports {}",
                path_of(module),
                path_of(other)
            ),
            (None, None) => {}
        }
        seen += 1;
    }
    assert!(seen > 200, "only {seen} imports were seen");
}

#[test]
fn layers_have_the_same_rooms() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for layer in ["src/domain", "src/graphql", "src/store", "tests/api"] {
        for room in ROOMS {
            assert!(root.join(layer).join(room).join("mod.rs").exists(), "{layer} has no room {room}");
        }
    }
}

/// The types of `graphql` are exempt, because the schema has circles: a message has a conversation, which has messages.
#[test]
fn files_do_not_import_each_other_in_circles() {
    let imports = Imports::read();
    for module in imports.0.keys().filter(|module| !module.is_empty() && module[0] != "graphql") {
        let circle = imports.reachable(module);
        assert!(!circle.contains(module), "{} imports itself through others: {circle:?}", path_of(module));
    }
}

#[test]
fn only_main_uses_anyhow_and_the_domain_uses_no_transport() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for path in sources(&root) {
        let place = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = fs::read_to_string(&path).unwrap();
        let main = place.starts_with("main") || place.starts_with("cli");
        assert!(main || !text.contains("anyhow"), "{place} knows anyhow");
        for foreign in ["async_graphql", "axum", "redis::"] {
            assert!(!place.starts_with("domain") || !text.contains(foreign), "{place} knows {foreign}");
        }
    }
}
